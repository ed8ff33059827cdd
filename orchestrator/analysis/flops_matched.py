"""Compares a small model that searches with a larger model that answers greedily, at equal total FLOPs.

The method is that of Snell et al. 2024, section 7. Training N parameters on D_pre tokens costs 6·N·D_pre
FLOPs, answering with D_inf tokens 2·N·D_inf. A model M times as large costs M times both. At the same total,
the small model's inference may cost M + 3·(D_pre / D_inf)·(M − 1) times its greedy answer: little more than M
where inference dominates (R = D_inf / D_pre is large), far more where training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Validated, with_estimate
from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.estimators import Estimate, Floats, all_and_resamples, of_resamples
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import accuracy_at

RATIOS = (0.16, 0.79, 22.0)
"""Values of R = D_inf / D_pre in the first version of Snell et al. 2024."""

Reach = Literal["measured", "below", "beyond"]
"""Place of a matched budget: inside what was measured, below the cheapest point, or beyond the dearest."""


def multiplier(size: float, ratio: float) -> float:
    """Returns how many greedy answers of the small model the larger model's training and answer are worth.

    ``size`` is M, ``ratio`` is R. Raises ValueError unless M ≥ 1 and R > 0.
    """
    if not (size >= 1 and ratio > 0):
        raise ValueError(f"a multiplier needs M >= 1 and R > 0, got M={size}, R={ratio}")
    return size + 3 / ratio * (size - 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """The mean cost of one answer of a generator to one problem."""

    flops: float
    tokens: float
    """Tokens of prompt and answer."""

    @classmethod
    def of(cls, runs: Mapping[int, Cell]) -> Answer:
        """Estimates the cost from best-of-N runs by their samples per problem.

        Of several runs it is the value at one sample of the line through their means. Of a single run it is
        ``estimate_flops`` of one sample, a close upper bound.
        """
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
    """A small model's search at several budgets."""

    accuracy: Floats
    """``float64[points, problems]``."""
    flops: Floats
    """FLOPs charged, ``float64[points, problems]``."""

    @classmethod
    def of(cls, found: Sequence[Option], rule: str, *, verifier: bool = True) -> Curve:
        """Returns the curve of one strategy's options, with the ``verifier``'s FLOPs or without."""
        cost = "flops" if verifier else "generator_flops"
        return cls(
            np.array([option.correct(rule) for option in found]),
            np.array([option.cost(cost) for option in found]),
        )

    @classmethod
    def of_policy(
        cls, policy: Validated, found: Sequence[Option], generator_estimate: Floats | None = None
    ) -> Curve:
        """Returns the curve of a cross-validated policy over these options, with its difficulty estimate
        charged.

        With ``generator_estimate`` (FLOPs of the generator's part of each problem's estimate:
        ``estimate_flops(cell, samples, "generator_flops")``) the verifier's FLOPs are left out.
        """
        if generator_estimate is None:
            return cls(policy.accuracy, policy.charged)
        cost = np.array([option.cost("generator_flops") for option in found])
        samples = np.array([option.strategy["name"] == SAMPLES for option in found])
        chosen = cost[policy.option, np.arange(cost.shape[1])]
        return cls(policy.accuracy, with_estimate(chosen, generator_estimate, samples[policy.option]))


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison of search with the larger model, at one ratio and in one difficulty bin."""

    ratio: float
    """R, tokens answered over tokens trained on."""
    multiplier: float
    """Matched budget in greedy answers of the small model."""
    bin: int
    """Difficulty bin; 0 is all problems."""
    problems: int
    """Number of problems in the bin."""
    budget: float
    """Matched budget of the small model, FLOPs per problem."""
    search: Estimate
    """Accuracy of search at that budget, interpolated in log FLOPs."""
    larger: Estimate
    """Accuracy of the larger model's greedy answers."""
    difference: Estimate
    """``search`` less ``larger``, with the interval of a paired bootstrap over problems."""
    reach: Reach
    """Where the budget was not measured, ``search`` is the nearest point; beyond it, search may do better."""


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
    """Compares the small model's search with the larger model at every ratio, over all problems and by bin.

    ``larger`` is the larger model's greedy accuracy and ``bins`` the difficulty bin of each problem.
    ``answer`` are the FLOPs of the small model's greedy answer. ``size`` is M, the ratio of the models'
    parameters, or of their FLOPs per token over prompts and answers of the same lengths.
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
    weights = all_and_resamples(count, seed)
    flops, right = weights @ search.flops[:, inside].T, weights @ search.accuracy[:, inside].T
    at = np.array([accuracy_at(np.array([budget]), *curve)[0] for curve in zip(flops, right, strict=True)])
    other = weights @ greedy[inside]
    reach: Reach = "measured"
    if budget < flops[0].min():
        reach = "below"
    elif budget > flops[0].max():
        reach = "beyond"
    gap = of_resamples(at - other)
    return Match(ratio, times, number, count, budget, of_resamples(at), of_resamples(other), gap, reach)
