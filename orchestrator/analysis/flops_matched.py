"""Compares a small model that searches with a larger model that answers greedily, at equal total FLOPs.

The method is that of Snell et al. 2024, section 7. Training N parameters on D_pre tokens costs 6·N·D_pre
FLOPs, answering with D_inf tokens 2·N·D_inf. A model M times as large costs M times as much to train. At the
same total, the small model's inference may cost the larger model's answer and 3·(D_pre / D_inf)·(M − 1) times
its own greedy answer: little more than the first where inference dominates (R = D_inf / D_pre is large), far
more where training does. Both answers count with the lengths that they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Validated, with_estimate
from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.estimators import Estimate, Floats, mean_difference, mean_known, mean_over_problems
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import Reach, read_at

RATIOS = (0.16, 0.79, 22.0)
"""Values of R = D_inf / D_pre in the first version of Snell et al. 2024."""


def matched_budget(answer: float, larger: float, size: float, ratio: float) -> float:
    """Returns the FLOPs that the small model may spend on a problem.

    ``answer`` and ``larger`` are the FLOPs of one greedy answer of the small and the larger model, ``size``
    is M, ``ratio`` is R. Raises ValueError unless M ≥ 1 and R > 0.
    """
    if not (size >= 1 and ratio > 0):
        raise ValueError(f"a matched budget needs M >= 1 and R > 0, got M={size}, R={ratio}")
    return larger + 3 / ratio * (size - 1) * answer


@dataclass(frozen=True, eq=False)
class Answer:
    """The cost of one answer of a generator to each problem; NaN where its search broke."""

    flops: Floats
    tokens: Floats
    """Tokens of prompt and answer."""

    @classmethod
    def of(cls, runs: Mapping[int, Cell]) -> Answer:
        """Estimates the cost from best-of-N runs by their samples per problem.

        Of several runs it is the value at one sample of the line through them. Of a single run it is
        ``estimate_flops`` of one sample, a close upper bound.
        """
        return cls(*(_of_one_sample(runs, cost) for cost in ("generator_flops", "generator_tokens")))

    @property
    def per_token(self) -> float:
        return float(mean_known(self.flops) / mean_known(self.tokens))


def _of_one_sample(runs: Mapping[int, Cell], cost: str) -> Floats:
    charged = np.array([np.where(cell.failed, np.nan, cell.costs[cost]) for cell in runs.values()])
    sizes = np.array(list(runs), dtype=float)
    if len(sizes) > 1:
        apart = sizes - sizes.mean()
        slope = apart @ charged / (apart @ apart)
        return np.asarray(charged.mean(axis=0) + slope * (1 - sizes.mean()))
    ((n, cell),) = runs.items()
    return charged[0] if n == 1 else np.where(cell.failed, np.nan, estimate_flops(cell, 1, cost))


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
        return cls(
            policy.accuracy, mean_known(with_estimate(chosen, generator_estimate, samples[policy.option]))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """One comparison of search with the larger model, at one ratio and in one difficulty bin."""

    ratio: float
    """R, tokens answered over tokens trained on."""
    bin: int
    """Difficulty bin; 0 is all problems."""
    leads: Floats
    """Accuracy of search at the matched budget less the larger model's, of each problem of the bin."""
    budget: float
    """Matched budget of the small model, FLOPs per problem."""
    search: Estimate
    """Accuracy of search at that budget, interpolated in log FLOPs."""
    larger: Estimate
    """Accuracy of the larger model's greedy answers."""
    difference: Estimate
    """The mean of ``leads``."""
    reach: Reach
    """Where the budget was not measured, ``search`` is the nearest point; beyond it, search may do better."""


def flops_matched(
    search: Curve,
    larger: npt.ArrayLike,
    bins: npt.ArrayLike,
    *,
    answer: npt.ArrayLike,
    larger_answer: npt.ArrayLike,
    size: float,
    ratios: Sequence[float] = RATIOS,
) -> list[Match]:
    """Compares the small model's search with the larger model at every ratio, over all problems and by bin.

    ``larger`` is the larger model's greedy accuracy and ``bins`` the difficulty bin of each problem.
    ``answer`` and ``larger_answer`` are the FLOPs of the models' greedy answers to each problem. ``size`` is
    M, the ratio of the models' parameters, or of their FLOPs per token over prompts and answers of the same
    lengths.
    """
    greedy, numbers = np.asarray(larger, dtype=float), np.asarray(bins)
    own, others = np.asarray(answer, dtype=float), np.asarray(larger_answer, dtype=float)
    found = []
    for ratio in ratios:
        for number in [0, *(int(b) for b in np.unique(numbers))]:
            inside = np.flatnonzero(numbers == number) if number else np.arange(len(numbers))
            one, other = (float(mean_known(each[inside])) for each in (own, others))
            budget = matched_budget(one, other, size, ratio)
            right, reach = read_at(budget, search.flops[:, inside], search.accuracy[:, inside])
            leads = right - greedy[inside]
            accuracies = mean_over_problems(right), mean_over_problems(greedy[inside])
            found.append(Match(ratio, number, leads, budget, *accuracies, mean_difference(leads), reach))
    return found
