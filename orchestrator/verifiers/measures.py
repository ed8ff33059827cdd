"""Measures a verifier's scores: ranking (AUC, also within a problem) and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.verifiers.label import LabelledSolution

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


def auc(scores: Floats, good: Bools) -> float:
    """Returns the probability that a good one scores above a bad one; ties count half.

    It is NaN if all are good or none is.
    """
    above, bad = scores[good], np.sort(scores[~good])
    if len(above) == 0 or len(bad) == 0:
        return float("nan")
    below = np.searchsorted(bad, above, "left") + np.searchsorted(bad, above, "right")
    return float(below.mean() / 2 / len(bad))


def within_problem_auc(problems: Iterable[tuple[Floats, Bools]]) -> float:
    """Returns the mean AUC inside a problem, from each problem's scores and which of them are good.

    Problems with only good or only bad ones are left out. Scores that only tell hard problems from easy ones
    have a high pooled AUC, and 0.5 here.
    """
    values = [auc(scores, good) for scores, good in problems if good.any() and not good.all()]
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True, slots=True)
class Bin:
    """The scores in one interval."""

    count: int
    score: float
    """Mean score."""
    label: float
    """Mean label."""


def reliability(scores: Floats, labels: Floats, bins: int = 10) -> list[Bin]:
    """Returns the reliability table of scores in [0, 1]: ``bins`` equal intervals without the empty ones."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        Bin(int(here.sum()), float(scores[here].mean()), float(labels[here].mean()))
        for here in (place == b for b in range(bins))
        if here.any()
    ]


def calibration_error(table: Sequence[Bin]) -> float:
    """Returns the ECE: the mean over scores of |mean score - mean label| of the bin (Naeini et al. 2015)."""
    total = sum(row.count for row in table)
    return sum(row.count * abs(row.score - row.label) for row in table) / total


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures of a verifier on held-out problems.

    For an AUC, a step is good if its label is above 0 (the hard estimate of Wang et al. 2024, Math-Shepherd).
    An AUC is None where all steps are good or none is.
    """

    problems: int
    solutions: int
    bce: float
    """Binary cross-entropy, in nats a label."""
    bce_constant: float
    """The cross-entropy of scores that all are the mean label."""
    ece: float
    """Expected calibration error."""
    reliability: list[Bin]
    pooled_auc: list[float | None]
    """AUC over all problems at once, by step from the first."""
    within_auc: list[float | None]
    """Mean AUC inside a problem, by step from the first."""
    pooled_auc_last: float | None
    """The same at each solution's last step."""
    within_auc_last: float | None


def measure(rows: Sequence[LabelledSolution], scores: Sequence[Floats]) -> Measures:
    """Returns the measures of ``scores``, which are given for each row at its labelled positions."""
    all_scores, labels = flat(rows, scores)
    table = reliability(all_scores, labels)
    longest = max(len(row.labels) for row in rows)
    steps = [[i for i, row in enumerate(rows) if len(row.labels) > k] for k in range(longest)]
    everyone = list(range(len(rows)))
    return Measures(
        problems=len({row.problem for row in rows}),
        solutions=len(rows),
        bce=cross_entropy(all_scores, labels),
        bce_constant=cross_entropy(np.full_like(labels, labels.mean()), labels),
        ece=calibration_error(table),
        reliability=table,
        pooled_auc=[_pooled(rows, scores, which, k) for k, which in enumerate(steps)],
        within_auc=[_within(rows, scores, which, k) for k, which in enumerate(steps)],
        pooled_auc_last=_pooled(rows, scores, everyone, -1),
        within_auc_last=_within(rows, scores, everyone, -1),
    )


def describe(measures: Measures) -> str:
    """Returns the measures as text."""

    def numbers(values: Sequence[float | None], last: float | None) -> str:
        return " ".join("    -" if value is None else f"{value:.3f}" for value in [*values, last])

    bce = f"BCE {measures.bce:.4f} (always the mean label: {measures.bce_constant:.4f})"
    lines = [
        f"held out: {measures.problems} problems, {measures.solutions} solutions",
        f"{bce}, ECE {measures.ece:.4f}",
        "AUC by step, then of each solution's last step",
        f"  within a problem {numbers(measures.within_auc, measures.within_auc_last)}",
        f"  pooled           {numbers(measures.pooled_auc, measures.pooled_auc_last)}",
        "     n   score   label",
        *(f"{row.count:>6}{row.score:>8.3f}{row.label:>8.3f}" for row in measures.reliability),
    ]
    return "\n".join(lines)


def summary(measures: Measures) -> dict[str, float]:
    """Returns the measures as names and numbers, for metrics; an AUC that is None is left out."""
    values = {name: getattr(measures, name) for name in ("bce", "ece", "pooled_auc_last", "within_auc_last")}
    for name in ("pooled_auc", "within_auc"):
        values |= {f"{name}/{k + 1}": value for k, value in enumerate(getattr(measures, name))}
    return {name: value for name, value in values.items() if value is not None}


def flat(rows: Sequence[LabelledSolution], scores: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Returns the scores and the labels of all labelled positions, row by row."""
    return np.concatenate(scores), np.concatenate([np.array(row.labels) for row in rows])


def cross_entropy(scores: Floats, labels: Floats) -> float:
    """Returns the mean cross-entropy in nats; scores are kept 1e-7 away from 0 and 1."""
    p = scores.clip(1e-7, 1 - 1e-7)
    return float(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)).mean())


def _pooled(
    rows: Sequence[LabelledSolution], scores: Sequence[Floats], which: Sequence[int], step: int
) -> float | None:
    value = auc(*_at(rows, scores, which, step))
    return None if np.isnan(value) else value


def _within(
    rows: Sequence[LabelledSolution], scores: Sequence[Floats], which: Sequence[int], step: int
) -> float | None:
    by_problem = sorted(which, key=lambda i: rows[i].problem)
    groups = (list(group) for _, group in groupby(by_problem, key=lambda i: rows[i].problem))
    value = within_problem_auc(_at(rows, scores, group, step) for group in groups)
    return None if np.isnan(value) else value


def _at(
    rows: Sequence[LabelledSolution], scores: Sequence[Floats], which: Sequence[int], step: int
) -> tuple[Floats, Bools]:
    """Returns the scores of step ``step`` of the rows ``which``, and which of them are good."""
    return np.array([scores[i][step] for i in which]), np.array([rows[i].labels[step] > 0 for i in which])
