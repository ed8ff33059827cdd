"""FLOPs-matched: a small model that searches against a larger one that answers greedily (Snell §7).

Training a model of N parameters on D_pre tokens costs 6·N·D_pre, answering with D_inf tokens 2·N·D_inf.
A model M times as large costs M times both. Given the same total, the small one's inference may cost
M + 3·(D_pre / D_inf)·(M − 1) times its greedy answer: little more than M where inference dominates
(R = D_inf / D_pre large), far more where training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell, Option
from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.estimators import Estimate, Floats, resamples
from orchestrator.analysis.validation import Validated, accuracy_at, paired, with_estimate

RATIOS = (0.16, 0.79, 22.0)
"""R = D_inf / D_pre in the paper's first version."""

Reach = Literal["measured", "below", "beyond"]


def multiplier(size: float, ratio: float) -> float:
    """How many greedy answers of the small model the larger one's training and answer are worth: ``size``
    is M, ``ratio`` is R. Raises ValueError unless M ≥ 1 and R > 0."""
    if not (size >= 1 and ratio > 0):
        raise ValueError(f"a multiplier needs M >= 1 and R > 0, got M={size}, R={ratio}")
    return size + 3 / ratio * (size - 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer of a generator takes, a problem on average: its FLOPs, and the tokens of prompt and
    answer."""

    flops: float
    tokens: float

    @classmethod
    def of(cls, runs: Mapping[int, Cell]) -> Answer:
        """From runs of so many samples a problem: the line through their means, where it has one sample. Of
        a single run the share that its first sample has of its tokens (``estimate_flops``): somewhat more
        than it takes, since a prompt's token costs less than a sampled one."""
        costs = ("generator_flops", "generator_tokens")
        if len(runs) == 1:
            ((n, cell),) = runs.items()
            return cls(
                *(float((estimate_flops(cell, 1, c) if n > 1 else cell.costs[c]).mean()) for c in costs)
            )
        means = [[cell.costs[cost].mean() for cost in costs] for cell in runs.values()]
        slope, intercept = np.polyfit(list(runs), means, 1)
        return cls(*map(float, intercept + slope))

    @property
    def per_token(self) -> float:
        return self.flops / self.tokens


@dataclass(frozen=True, eq=False)
class Curve:
    """A small model's search at several budgets: ``accuracy`` and ``flops`` (points, problems)."""

    accuracy: Floats
    flops: Floats

    @classmethod
    def of(cls, found: Sequence[Option], rule: str, *, verifier: bool = True) -> Curve:
        """Of one strategy's options. ``verifier``: whether its FLOPs count."""
        cost = "flops" if verifier else "generator_flops"
        return cls(
            np.array([option.correct(rule) for option in found]),
            np.array([option.cost(cost) for option in found]),
        )

    @classmethod
    def of_policy(
        cls, policy: Validated, found: Sequence[Option], generator_estimate: Floats | None = None
    ) -> Curve:
        """Of a cross-validated policy over these options, its estimate of difficulty charged. Without the
        verifier's FLOPs where ``generator_estimate`` gives what the generator's part of the estimate costs
        each problem (``estimate_flops(cell, samples, "generator_flops")``)."""
        if generator_estimate is None:
            return cls(policy.accuracy, policy.charged)
        cost = np.array([option.cost("generator_flops") for option in found])
        samples = np.array([option.strategy["name"] == SAMPLES for option in found])
        own = cost[policy.option, np.arange(cost.shape[1])]
        return cls(policy.accuracy, with_estimate(own, generator_estimate, samples[policy.option]))


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison. ``bin`` 0 is all problems. ``budget``: the small model's FLOPs a problem; ``search``
    its accuracy there, interpolated in log FLOPs. ``reach``: whether that budget was measured, is
    ``below`` the cheapest point (whose accuracy is shown) or ``beyond`` the dearest (so search may do
    better yet). ``difference``: search less larger, in accuracy, with a paired bootstrap interval."""

    ratio: float
    multiplier: float
    bin: int
    problems: int
    budget: float
    search: Estimate
    larger: Estimate
    difference: Estimate
    reach: Reach


def flops_matched(
    search: Curve,
    larger: npt.ArrayLike,
    bins: npt.ArrayLike,
    *,
    answer: float,
    size: float,
    ratios: Sequence[float] = RATIOS,
    seed: int = 0,
) -> list[Match]:
    """The small model's ``search`` against the ``larger`` one's greedy accuracy of each problem, at every
    ratio, over all problems and by bin.

    ``answer``: FLOPs of the small model's greedy answer; ``size``: M, the ratio of parameters (or of FLOPs
    a token, over prompt and answer of the same lengths).
    """
    greedy, numbers = np.asarray(larger, dtype=float), np.asarray(bins)
    found = []
    for ratio in ratios:
        budget = multiplier(size, ratio) * answer
        for number in [0, *(int(b) for b in np.unique(numbers))]:
            inside = np.flatnonzero(numbers == number) if number else np.arange(len(numbers))
            found.append(_match(search, greedy, inside, ratio, multiplier(size, ratio), number, budget, seed))
    return found


def _match(
    search: Curve,
    greedy: Floats,
    inside: npt.NDArray[np.int64],
    ratio: float,
    times: float,
    number: int,
    budget: float,
    seed: int,
) -> Match:
    count = len(inside)
    weights = np.vstack([np.full(count, 1 / count), resamples(count, seed)])
    flops, right = weights @ search.flops[:, inside].T, weights @ search.accuracy[:, inside].T
    at = np.array([accuracy_at(np.array([budget]), *each)[0] for each in zip(flops, right, strict=True)])
    other = weights @ greedy[inside]
    reach: Reach = "measured"
    if budget < flops[0].min():
        reach = "below"
    elif budget > flops[0].max():
        reach = "beyond"
    return Match(ratio, times, number, count, budget, paired(at), paired(other), paired(at - other), reach)
