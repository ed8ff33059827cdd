"""What is reached without a search: the baselines that tables and figures show beside the strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.baseline import BaselineByProblem
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.difficulty import estimate_flops, pass_at_1
from orchestrator.analysis.estimators import (
    Estimate,
    Floats,
    independent_difference,
    mean_difference,
    mean_known,
    mean_over_problems,
    wilson,
)
from orchestrator.analysis.options import Option
from orchestrator.report.evidence import Evidence, Group

MOST_SAMPLES = 1_000_000
"""The most samples that are read to tell what one is worth."""
ONE, GREEDY, MAJORITY = "one sample", "greedy", "majority"


@dataclass(frozen=True, eq=False)
class Reference:
    """A baseline: an answer without any search."""

    kind: str
    """``ONE``, ``GREEDY`` or ``MAJORITY``."""
    name: str
    flops: float
    """FLOPs a problem, without a verifier."""
    overall: Estimate
    """Accuracy over all problems."""
    source: str
    """The runs that it was measured in, in words."""
    right: Floats | None = None
    """Accuracy on each problem; None where only the whole was stored."""
    failed: int = 0
    """Searches that broke in the runs that it was measured in."""

    def accuracy(self, inside: npt.ArrayLike | None = None) -> Estimate | None:
        """Returns the accuracy over all problems or those ``inside`` (``bool[problems]``); None where it is
        not known."""
        if inside is None:
            return self.overall
        return None if self.right is None else mean_over_problems(self.right[np.asarray(inside, dtype=bool)])

    def gain(self, option: Option, rule: str) -> Estimate:
        """Returns by how much an option is more accurate: paired by problem where that is known, otherwise as
        if the two were independent, which gives a wider interval."""
        if self.right is None:
            return independent_difference(option.accuracy(rule), self.overall)
        return mean_difference(option.correct(rule) - self.right)


@lru_cache(maxsize=8)  # tables, figures and the headline show them
def references(evidence: Evidence) -> Sequence[Reference]:
    """Returns the baselines of the main group that were run, or that its samples tell: one sample, a greedy
    answer, and the majority of the samples that a run took beside its search."""
    one = _of_best_of_n(evidence.main) or _of_difficulty(evidence)
    beside = max(
        (cell for option in evidence.main.options for cell in option.cells if cell.baseline is not None),
        key=lambda cell: cell.baseline.samples if cell.baseline else 0,
        default=None,
    )
    problems = evidence.main.problems
    found = [one or _one_beside(beside, problems), _greedy(evidence), _majority_beside(beside, problems)]
    return [reference for reference in found if reference is not None]


def one_sample(evidence: Evidence) -> Reference | None:
    """Returns what one sample reaches; None where nothing tells it."""
    return next((found for found in references(evidence) if found.kind == ONE), None)


def _of_best_of_n(group: Group) -> Reference | None:
    """One sample, by the samples of the largest best-of-N that has no more than ``MOST_SAMPLES``."""
    by_n = group.by_n(SAMPLES)
    few = [n for n in by_n if n * len(group.problems) <= MOST_SAMPLES]
    if not by_n:
        return None
    option = by_n[max(few, default=min(by_n))]
    if any(cell.results is None and "solutions" not in cell.__dict__ for cell in option.cells):
        return None
    right = option.mean(pass_at_1)
    flops = option.mean(lambda cell: estimate_flops(cell, 1, "generator_flops"))
    source = f"each problem's share of right samples in {option.label}"
    cost = float(mean_known(flops))
    return Reference(ONE, ONE, cost, mean_over_problems(right), source, right, option.failed)


def _of_difficulty(evidence: Evidence) -> Reference | None:
    """One sample, by those of the difficulty run, where its generator is used as the main group's is."""
    run, group = evidence.difficulty, evidence.main
    if run is None or set(run.problems) != set(group.problems) or not _same_generator(run.models, group):
        return None
    place = {problem: index for index, problem in enumerate(run.problems)}
    order = [place[problem] for problem in group.problems]
    right = pass_at_1(run)[order]
    flops = float(np.mean(estimate_flops(run, 1, "generator_flops")))
    source = "each problem's share of right samples in the difficulty run"
    return Reference(ONE, ONE, flops, mean_over_problems(right), source, right)


def _one_beside(cell: Cell | None, problems: Sequence[str]) -> Reference | None:
    if cell is None or cell.baseline is None:
        return None
    found, known = cell.baseline, _by_problem(cell, problems)
    source = f"the {found.samples} samples a problem beside the search"
    if known is None:
        return Reference(ONE, ONE, found.one_flops, found.one, source)
    return Reference(ONE, ONE, found.one_flops, mean_over_problems(known.one), source, known.one)


def _majority_beside(cell: Cell | None, problems: Sequence[str]) -> Reference | None:
    if cell is None or cell.baseline is None:
        return None
    found, known = cell.baseline, _by_problem(cell, problems)
    name, source = f"majority of {found.samples}", "the samples beside the search"
    if known is None:
        return Reference(MAJORITY, name, found.majority_flops, found.majority, source)
    right = known.majority.astype(float)
    whole = wilson(int(right.sum()), len(right))
    return Reference(MAJORITY, name, found.majority_flops, whole, source, right)


def _by_problem(cell: Cell, problems: Sequence[str]) -> BaselineByProblem | None:
    """What the samples beside a search reach on these problems; None where that was not kept."""
    return cell.baseline_by_problem if tuple(problems) == cell.problems else None


def _greedy(evidence: Evidence) -> Reference | None:
    """The greedy answer of the main group's generator: a run of one sample at temperature 0."""
    for group in evidence.groups:
        if group.problems != evidence.main.problems or group.models["generator.temperature"] != 0:
            continue
        if not _same_generator(group.models, evidence.main, "generator.temperature"):
            continue
        for option in group.options:
            if option.strategy.get("n", 1) == 1:
                right = option.correct(evidence.rule_of(group))
                flops = float(mean_known(option.cost("generator_flops")))
                source = f"{option.label} at temperature 0"
                whole = mean_over_problems(right)
                return Reference(GREEDY, GREEDY, flops, whole, source, right, option.failed)
    return None


def _same_generator(models: Mapping[str, Any], group: Group, *but: str) -> bool:
    """Tells whether a generator is the main group's, used in the same way."""
    keys = [key for key in group.models if key.startswith("generator.") and key not in but]
    return all(models.get(key) == group.models[key] for key in keys)
