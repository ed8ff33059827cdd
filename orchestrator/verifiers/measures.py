"""How good a verifier's scores are: does it rank, within a problem too, and do its probabilities hold?"""

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
    """Probability that a good one scores above a bad one, ties counted half; NaN if one kind is absent."""
    above, bad = scores[good], np.sort(scores[~good])
    if len(above) == 0 or len(bad) == 0:
        return float("nan")
    below = np.searchsorted(bad, above, "left") + np.searchsorted(bad, above, "right")
    return float(below.mean() / 2 / len(bad))


def within_problem_auc(problems: Iterable[tuple[Floats, Bools]]) -> float:
    """Mean of the AUC inside each problem (its scores, and which are good); those with one kind only are
    left out. A pooled AUC can come from knowing which problems are hard; this one cannot."""
    values = [auc(scores, good) for scores, good in problems if good.any() and not good.all()]
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores in one interval: how many, their mean, and the mean of what they should have said."""

    count: int
    score: float
    label: float


def reliability(scores: Floats, labels: Floats, bins: int = 10) -> list[Bin]:
    """The reliability table of scores in [0, 1] over ``bins`` equal intervals; empty ones are left out."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        Bin(int(here.sum()), float(scores[here].mean()), float(labels[here].mean()))
        for here in (place == b for b in range(bins))
        if here.any()
    ]


def calibration_error(table: Sequence[Bin]) -> float:
    """ECE: the mean over scores of |mean score - mean label| of their bin (Naeini et al. 2015)."""
    total = sum(row.count for row in table)
    return sum(row.count * abs(row.score - row.label) for row in table) / total


@dataclass(frozen=True, slots=True)
class Measures:
    """A verifier on held-out problems. ``bce`` is in nats a label, ``bce_constant`` that of always saying the
    mean label. A step counts as good if its label is not 0 (Math-Shepherd's hard estimate). AUC by step, from
    the first, None where all are alike; ``*_last`` at each solution's own last step."""

    problems: int
    solutions: int
    bce: float
    bce_constant: float
    ece: float
    reliability: list[Bin]
    pooled_auc: list[float | None]
    within_auc: list[float | None]
    pooled_auc_last: float | None
    within_auc_last: float | None


def measure(rows: Sequence[LabelledSolution], said: Sequence[Floats]) -> Measures:
    """How ``said``, the scores at each row's labelled positions, fit the labels."""
    scores, labels = flat(rows, said)
    table = reliability(scores, labels)
    longest = max(len(row.labels) for row in rows)
    steps = [[i for i, row in enumerate(rows) if len(row.labels) > k] for k in range(longest)]
    everyone = list(range(len(rows)))
    return Measures(
        problems=len({row.problem for row in rows}),
        solutions=len(rows),
        bce=cross_entropy(scores, labels),
        bce_constant=cross_entropy(np.full_like(labels, labels.mean()), labels),
        ece=calibration_error(table),
        reliability=table,
        pooled_auc=[_pooled(rows, said, which, k) for k, which in enumerate(steps)],
        within_auc=[_within(rows, said, which, k) for k, which in enumerate(steps)],
        pooled_auc_last=_pooled(rows, said, everyone, -1),
        within_auc_last=_within(rows, said, everyone, -1),
    )


def describe(measures: Measures) -> str:
    """The measures as text."""

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
    """The measures as flat names and numbers; what does not exist is left out."""
    values = {name: getattr(measures, name) for name in ("bce", "ece", "pooled_auc_last", "within_auc_last")}
    for name in ("pooled_auc", "within_auc"):
        values |= {f"{name}/{k + 1}": value for k, value in enumerate(getattr(measures, name))}
    return {name: value for name, value in values.items() if value is not None}


def flat(rows: Sequence[LabelledSolution], said: Sequence[Floats]) -> tuple[Floats, Floats]:
    """(scores, labels) of all labelled positions, row by row."""
    return np.concatenate(said), np.concatenate([np.array(row.labels) for row in rows])


def cross_entropy(scores: Floats, labels: Floats) -> float:
    """Mean cross-entropy in nats; scores are kept 1e-7 away from 0 and 1."""
    p = scores.clip(1e-7, 1 - 1e-7)
    return float(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)).mean())


def _pooled(
    rows: Sequence[LabelledSolution], said: Sequence[Floats], which: Sequence[int], step: int
) -> float | None:
    value = auc(*_at(rows, said, which, step))
    return None if np.isnan(value) else value


def _within(
    rows: Sequence[LabelledSolution], said: Sequence[Floats], which: Sequence[int], step: int
) -> float | None:
    by_problem = sorted(which, key=lambda i: rows[i].problem)
    groups = (list(group) for _, group in groupby(by_problem, key=lambda i: rows[i].problem))
    value = within_problem_auc(_at(rows, said, group, step) for group in groups)
    return None if np.isnan(value) else value


def _at(
    rows: Sequence[LabelledSolution], said: Sequence[Floats], which: Sequence[int], step: int
) -> tuple[Floats, Bools]:
    """(scores, whether they are good) of step ``step`` of the rows ``which``."""
    return np.array([said[i][step] for i in which]), np.array([rows[i].labels[step] > 0 for i in which])
