"""The results of a run: the summary that is printed, tracked and returned, and the table of problems."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
import numpy as np

from orchestrator.analysis.baseline import Baseline
from orchestrator.analysis.estimators import Estimate, coverage_curve, mean_over_problems, wilson
from orchestrator.analysis.failures import commonest, failure
from orchestrator.budget.units import Budget
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.search.context import Usage


@dataclass(frozen=True)
class Flops:
    """FLOPs of a run."""

    budget: int
    spent: int
    """Charged, verifier included."""
    generator: int
    verifier: int
    computed_over_logical: float
    """FLOPs that the engines ran over FLOPs charged: 1 is no recomputation; below 1, caches shared what was
    charged twice."""
    selection: int = 0
    """Those of the generator's FLOPs that generative selection took."""
    judge: int = 0
    """Charged for judging answers, beside the budget and what is spent of it."""
    baseline: int = 0
    """Charged for the samples of the baseline, beside the budget too."""


MAIN = "weighted"
"""The selection rule whose answer counts where solutions are scored."""
LEAST_DIFFERENCE = 1e-4
"""Scores within so little of each other are read as the same: the format may not be the verifier's."""
MOST_GROUPS = 12
"""An attribute with more values than this groups problems only where it is asked for."""


@dataclass(frozen=True)
class Group:
    """The problems that have one value of an attribute."""

    problems: int
    accuracy: dict[str, Estimate]
    """By selection rule, with 95 % intervals (Wilson)."""
    coverage: Estimate


@dataclass(frozen=True)
class Summary:
    """A run in numbers. Accuracy and coverage are over all problems: one without an answer is wrong."""

    run_id: str
    problems: int
    answered: int
    exhausted: int
    """Problems whose search the budget cut short."""
    failed: int
    """Problems whose search broke."""
    accuracy: dict[str, float]
    """By selection rule."""
    coverage: float
    """Share of problems of which any solution is correct."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals (Wilson), by rule and as ``coverage``."""
    pass_at_k: dict[int, Estimate]
    """By k, over attempts that are independent; empty where there are none."""
    distinct_answers: float
    """Different answers a problem, on average."""
    flips: float | None
    """The share of revised correct attempts whose revision is incorrect; None where nothing was revised."""
    budget: dict[str, Any]
    """The budget in FLOPs, and what that buys (``Budget.to_dict``)."""
    flops: Flops
    tokens: dict[str, int]
    tokens_per_second: float
    seconds: float
    """The search alone."""
    startup_seconds: float
    """The start of Ray and the engines."""
    latency: dict[str, float]
    """Seconds from a search's start to its answer: the median (``p50``) and ``p95`` of problems."""
    utilisation: dict[str, float]
    """By pool: the share of the search in which its replicas had work, on average."""
    allocation: dict[str, int]
    """Rounds in which the budget was moved between problems, and how many problems were stopped as solved; or
    FLOPs of the shares that were passed on (``passed_on``); empty where each problem had its share alone."""
    operations: int
    replayed: int
    """Operations whose results came from the journal."""
    solutions_sha256: str
    role: str = "cell"
    """The purpose of the run: a ``cell`` to compare, ``difficulty`` or ``label``."""
    cut_steps: float = 0.0
    """Share of the steps that ended by their length and not with a delimiter."""
    unscored: int = 0
    """Paths that the verifier could not score within what was granted for their text, or its context."""
    compared: int = 0
    """Samples that the strategy compared with their siblings, to search no thought twice (``distinct``)."""
    copies: int = 0
    """Those of them that are equal to an earlier one."""
    scores: tuple[float, float] | None = None
    """The least and the largest score of a step or solution; None where nothing was scored."""

    @property
    def blind(self) -> bool:
        """True where the verifier's scores hardly differ, so that nothing was chosen by them."""
        return self.scores is not None and self.scores[1] - self.scores[0] < LEAST_DIFFERENCE

    skipped: int = 0
    """Problems that were left out, since they are too long for a model."""
    by: str | None = None
    """The attribute by which the table shows accuracy too."""
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    """Accuracy by attribute and value: of ``by``, and of each other attribute with few values."""
    ungraded: dict[str, int] = field(default_factory=dict)
    """How many answers were not judged as they should be, by what was wrong (``grading.grader``); empty where
    all were."""
    baseline: Baseline | None = None
    """What samples without any search reach; None where none were asked for."""
    choices: dict[str, int] = field(default_factory=dict)
    """Choices of generative selection: ``asked``, of these ``unread``, and beside them ``unmade`` ones; empty
    where there were none."""
    errors: dict[str, int] = field(default_factory=dict)
    """The commonest errors of the searches that broke, and how many each of them broke."""

    failed_answered: int = 0
    """Answered problems whose search broke: an answer was found before."""
    returned_nothing: int = 0
    """Problems whose strategy returned no solution, though it had paid for finished ones."""

    @property
    def rule(self) -> str:
        """The selection rule whose answer counts where one is asked for: the weighted vote, or the majority
        where nothing is scored."""
        return MAIN if MAIN in self.accuracy else next(iter(self.accuracy))

    def estimate(self, name: str) -> Estimate:
        """Returns the accuracy by a selection rule, or the ``coverage``, with its interval."""
        value = self.coverage if name == "coverage" else self.accuracy[name]
        return Estimate(value, *self.intervals[name])

    @property
    def broken(self) -> str | None:
        """Why the run has failed as a whole, since too many of its searches broke; None where it has not."""
        return failure(self.failed, self.problems, self.errors)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain containers for JSON, with None for a number that is not finite."""
        return _finite(asdict(self))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Summary:
        """Returns the summary that a file holds. Raises msgspec.ValidationError where it lacks something."""
        return msgspec.json.decode(msgspec.json.encode(stored), type=cls)


def summarise(
    run_id: str,
    results: Sequence[SearchResult],
    usage: Usage,
    *,
    budget: Budget,
    seconds: float,
    startup_seconds: float,
    utilisation: dict[str, float],
    allocation: dict[str, int] | None = None,
    role: str = "cell",
    skipped: int = 0,
    by: str | None = None,
    ungraded: Mapping[str, int] | None = None,
    judge_flops: int = 0,
    baseline: Baseline | None = None,
    sampled: int | None = None,
) -> Summary:
    """Returns the summary of a run whose searches cost ``usage``. Seconds are wall time.

    ``sampled`` are the tokens that were sampled in these seconds (None: those of ``usage``).
    """
    return Summary(
        run_id=run_id,
        problems=len(results),
        exhausted=sum(r.exhausted for r in results),
        failed=sum(r.error is not None for r in results),
        **grades(results),
        budget=budget.to_dict(),
        flops=Flops(
            budget=budget.flops,
            spent=usage.flops,
            generator=usage.generator_flops,
            verifier=usage.verifier_flops,
            computed_over_logical=usage.computed_flops / usage.flops if usage.flops else 0.0,
            selection=usage.selection_flops,
            judge=judge_flops,
            baseline=baseline.flops if baseline is not None else 0,
        ),
        tokens={"generator": usage.generator_tokens, "verifier": usage.verifier_tokens},
        tokens_per_second=(usage.fresh_tokens if sampled is None else sampled) / seconds if seconds else 0.0,
        seconds=seconds,
        startup_seconds=startup_seconds,
        latency={f"p{q}": float(np.percentile([r.seconds for r in results], q)) for q in (50, 95)},
        utilisation=utilisation,
        allocation=allocation or {},
        operations=usage.operations,
        replayed=usage.replayed,
        solutions_sha256=digest(results),
        role=role,
        cut_steps=usage.cut_steps / usage.steps if usage.steps else 0.0,
        unscored=usage.unscored,
        compared=usage.compared,
        copies=usage.copies,
        scores=_range(score for r in results for s in r.solutions for score in s.step_scores),
        skipped=skipped,
        by=by,
        groups=groups(results, by),
        ungraded=dict(ungraded or {}),
        baseline=baseline,
        choices=_choices(usage),
        errors=commonest(result.error for result in results),
        returned_nothing=sum(result.dropped > 0 for result in results),
    )


def _choices(usage: Usage) -> dict[str, int]:
    if not usage.choices + usage.unmade_choices:
        return {}
    return {"asked": usage.choices, "unread": usage.unread_choices, "unmade": usage.unmade_choices}


def groups(results: Sequence[SearchResult], by: str | None = None) -> dict[str, dict[str, Group]]:
    """Returns accuracy by attribute and value, values in order: of the attribute ``by``, and of all that have
    2 to 12 values and some problems that share one. A problem without the attribute is in no group."""
    names = dict.fromkeys(name for result in results for name, _ in result.problem.attributes)
    found = {}
    for name in dict.fromkeys([*([by] if by is not None else []), *names]):
        members: dict[str | int | float, list[SearchResult]] = {}
        for result in results:
            if (value := result.problem.attribute(name)) is not None:
                members.setdefault(value, []).append(result)
        few = 2 <= len(members) <= MOST_GROUPS and any(len(each) > 1 for each in members.values())
        if few or name == by:
            ordered = sorted(members, key=lambda value: (isinstance(value, str), value))
            found[name] = {str(value): _group(members[value]) for value in ordered}
    return found


def _group(results: Sequence[SearchResult]) -> Group:
    total = len(results)
    rules = results[0].correct
    return Group(
        total,
        {rule: wilson(sum(result.correct[rule] for result in results), total) for rule in rules},
        wilson(sum(result.covered for result in results), total),
    )


def _range(scores: Iterable[float]) -> tuple[float, float] | None:
    """The least and the largest; None of fewer than two."""
    values = np.fromiter(scores, float)
    return (float(values.min()), float(values.max())) if len(values) > 1 else None


def grades(results: Sequence[SearchResult]) -> dict[str, Any]:
    """Returns the fields of a summary that depend on how answers are read and judged."""
    total = len(results)
    right = {rule: sum(r.correct[rule] for r in results) for rule in results[0].correct}
    covered = sum(r.covered for r in results)
    proportions = {name: wilson(count, total) for name, count in [*right.items(), ("coverage", covered)]}
    answered = [r for r in results if any(answer is not None for answer in r.selected.values())]
    return {
        "answered": len(answered),
        "failed_answered": sum(r.error is not None for r in answered),
        "accuracy": {rule: proportions[rule].value for rule in right},
        "coverage": proportions["coverage"].value,
        "intervals": {name: (p.low, p.high) for name, p in proportions.items()},
        "pass_at_k": pass_at_k(results),
        "distinct_answers": sum(distinct_answers(r.solutions) for r in results) / total,
        "flips": flips(results),
    }


def flips(results: Sequence[SearchResult]) -> float | None:
    """Returns the share of correct attempts that the next revision turned incorrect (Snell et al. 2024,
    section 6.1: 38 %)."""
    kept = lost = 0
    for result in results:
        correct = {solution.path: solution.correct for solution in result.solutions}
        for path, right in correct.items():
            if correct.get(path.rpartition(".")[0]):
                kept, lost = kept + right, lost + (not right)
    return lost / (kept + lost) if kept + lost else None


def pass_at_k(results: Sequence[SearchResult]) -> dict[int, Estimate]:
    """Returns the unbiased pass@k for k = 1, 2, 4, …, with a bootstrap interval over problems, as far as the
    run's attempts are independent draws.

    Children of the root that are whole solutions are: the samples of best-of-N, and the *first* attempts
    of chains of revisions (a later attempt depends on those before it and is left out). Where a solution
    has a parent that is none itself, a search has chosen among partial paths, or equal samples have
    become one: what it returns is no sample of anything, and the result is empty. Of each problem the
    first m attempts count, m the least that any problem has, so that what stopped a search early cannot
    bias what it is measured on. What a search that failed did not come to counts as wrong.
    """
    attempts = []
    for result in results:
        found = {solution.path: solution for solution in result.solutions}
        if any("." in path and path.rpartition(".")[0] not in found for path in found):
            return {}
        if result.usage.compared:  # of equal samples only the first has a path
            return {}
        first = sorted((path for path in found if "." not in path), key=int)
        attempts.append([found[path] for path in first])
    ended = [first for first, result in zip(attempts, results, strict=True) if result.error is None]
    most = min(map(len, ended), default=0)
    if most == 0:
        return {}
    ks, values = coverage_curve(most, [sum(one.correct for one in first[:most]) for first in attempts])
    return {k: mean_over_problems(values[:, i]) for i, k in enumerate(ks)}


def distinct_answers(solutions: Sequence[Solution]) -> int:
    """Returns how many different answers a problem's solutions have. Those with equal keys are one; no answer
    is not counted."""
    return len({solution.key or solution.answer for solution in solutions} - {None})


def digest(results: Sequence[SearchResult]) -> str:
    """Returns the SHA-256 of all solutions by problem: equal for two runs that found the same, in the same
    order."""
    sha = hashlib.sha256()
    for result in sorted(results, key=lambda result: result.problem.id):
        sha.update(f"\1{result.problem.id}".encode())
        for solution in result.solutions:
            sha.update(f"\2{solution.text}".encode())
    return sha.hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return type(value)(map(_finite, value)) if isinstance(value, list | tuple) else value
