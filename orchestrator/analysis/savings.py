"""FLOPs that a strategy or a policy saves against best-of-N at equal accuracy, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.cross_validation import Outcomes, Validated
from orchestrator.analysis.estimators import (
    Estimate,
    Floats,
    mean_difference,
    mean_known,
    mean_over_problems,
    of_resamples,
    resampled_means,
)

NEAR_BEST = 0.97
"""Share of best-of-N's highest accuracy at which one saving is read: a curve's very top is where it is flat,
so that the FLOPs which reach it are chance."""

Reach = Literal["measured", "below", "beyond"]
"""Place of FLOPs on a curve: inside what was measured, below its cheapest point, or beyond its dearest."""


@dataclass(frozen=True, slots=True)
class Level:
    """A policy at one budget, beside best-of-N at the same FLOPs."""

    budget: float
    """FLOPs per problem that the level allows."""
    flops: float
    """FLOPs per problem that the policy was charged, with its difficulty estimate where that is charged."""
    accuracy: Estimate
    baseline: Estimate
    """Accuracy of best-of-N at ``flops``, interpolated in log FLOPs; outside its range, its nearest point."""
    difference: Estimate
    """``accuracy`` less ``baseline``."""
    reach: Reach
    """Where ``flops`` are among those of best-of-N. Beyond them best-of-N may do better than is shown."""
    verdict: Literal["better", "worse", "not decided"]
    """What the interval of ``difference`` says of the policy."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The saving of a policy or a strategy at one accuracy of best-of-N.

    Both costs are read in the same way: the least FLOPs at which a curve has the accuracy. So best-of-N saves
    nothing against itself, also where it is flat.
    """

    baseline: str
    """What best-of-N was: one of its options, or its highest accuracy times ``NEAR_BEST``."""
    accuracy: float
    baseline_flops: float
    """FLOPs per problem at which best-of-N has that accuracy."""
    flops: float | None
    """FLOPs per problem at which the curve has that accuracy; None where it never has."""
    factor: Estimate
    """``baseline_flops`` / ``flops``; 0 where the curve does not reach the accuracy."""
    at_least: bool
    """True where the curve's cheapest point already has the accuracy: the true factor may be larger."""


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """A policy against best-of-N, with 95 % intervals over problems."""

    levels: tuple[Level, ...]
    """One per budget of the policy."""
    savings: tuple[Saving, ...]
    """One per size of best-of-N that is more accurate than every cheaper one."""
    near_best: Saving
    """The saving at ``NEAR_BEST`` of best-of-N's highest accuracy."""


def compare(
    policy: Validated, baseline: Outcomes, *, charged: bool = True, seed: int = 0
) -> PolicyComparison:
    """Compares a policy with best-of-N.

    ``charged`` says whether the policy pays for its difficulty estimate (Snell et al. 2024 do not count it).
    """
    flops = policy.charged if charged else policy.flops
    levels = []
    for budget, cost, right in zip(policy.levels, mean_known(flops, axis=1), policy.accuracy, strict=True):
        at, reach = read_at(float(cost), baseline.flops, baseline.accuracy)
        gap = mean_difference(right - at)
        verdict: Literal["better", "worse", "not decided"] = "not decided"
        if gap.low > 0 or gap.high < 0:
            verdict = "better" if gap.low > 0 else "worse"
        accuracy, other = mean_over_problems(right), mean_over_problems(at)
        levels.append(Level(float(budget), float(cost), accuracy, other, gap, reach, verdict))
    curves = _Curves.of(flops, policy.accuracy, baseline, seed)
    return PolicyComparison(tuple(levels), curves.savings(baseline.labels), curves.near_best())


def savings(flops: Floats, accuracy: Floats, baseline: Outcomes, *, seed: int = 0) -> tuple[Saving, ...]:
    """Returns the savings of a curve at every point of ``baseline`` that is more accurate than every cheaper
    one, with paired 95 % intervals.

    ``flops`` and ``accuracy`` are the curve's points, ``float64[points, problems]``.
    """
    return _Curves.of(flops, accuracy, baseline, seed).savings(baseline.labels)


@dataclass(frozen=True, eq=False)
class _Curves:
    """Means over all problems and over resamples of them, ``float64[1 + RESAMPLES, points]``."""

    cost: Floats
    right: Floats
    base_cost: Floats
    base_right: Floats

    @classmethod
    def of(cls, flops: Floats, accuracy: Floats, baseline: Outcomes, seed: int) -> _Curves:
        arrays = (flops, accuracy, baseline.flops, baseline.accuracy)
        means = resampled_means(np.vstack(arrays), seed)
        return cls(*np.split(means, np.cumsum([len(each) for each in arrays])[:-1], axis=1))

    def savings(self, labels: Sequence[str]) -> tuple[Saving, ...]:
        right = self.base_right[0]
        by_cost = np.argsort(self.base_cost[0], kind="stable")
        before = np.concatenate([[0.0], np.maximum.accumulate(right[by_cost])[:-1]])
        rising = sorted(by_cost[right[by_cost] > before + 1e-12])
        return self._at([labels[j] for j in rising], self.base_right[:, rising])

    def near_best(self) -> Saving:
        label = f"{100 * NEAR_BEST:g} % of best-of-N's highest accuracy"
        (saving,) = self._at([label], NEAR_BEST * self.base_right.max(axis=1, keepdims=True))
        return saving

    def _at(self, labels: Sequence[str], wanted: Floats) -> tuple[Saving, ...]:
        """Returns the savings at some accuracies, which every resample has its own of."""
        base = flops_for(wanted, self.base_cost, self.base_right)
        needed = flops_for(wanted, self.cost, self.right)
        factors = base / needed  # 0 where it is not reached
        cheapest = self.right[0, np.argmin(self.cost[0])]
        return tuple(
            Saving(
                label,
                float(wanted[0, j]),
                float(base[0, j]),
                float(needed[0, j]) if np.isfinite(needed[0, j]) else None,
                of_resamples(factors[:, j]),
                bool(cheapest >= wanted[0, j] - 1e-12),
            )
            for j, label in enumerate(labels)
        )


def read_at(wanted: float, flops: Floats, accuracy: Floats) -> tuple[Floats, Reach]:
    """Returns each problem's accuracy on a curve at ``wanted`` FLOPs per problem, and whether the curve
    reaches them.

    ``flops`` and ``accuracy`` are the curve's points, ``float64[points, problems]``. Between the two nearest
    points the accuracy is linear in log FLOPs; outside their range it is the nearest point's.
    """
    costs = mean_known(flops, axis=1)
    order = np.argsort(costs, kind="stable")
    place = float(np.interp(_log2(wanted), _log2(costs[order]), np.arange(len(order))))
    first, share = int(place), place % 1
    values = accuracy[order[first]]
    if share > 0:
        values = (1 - share) * values + share * accuracy[order[first + 1]]
    return values, "below" if wanted < costs.min() else "beyond" if wanted > costs.max() else "measured"


def flops_for(wanted: Floats, flops: Floats, accuracy: Floats) -> Floats:
    """Returns the least FLOPs at which a curve has each accuracy in ``wanted``, interpolated linearly in log
    FLOPs.

    ``flops`` and ``accuracy`` are the means of the curve's points; all arrays may have the same leading axes.
    A curve never falls: more FLOPs need not be spent. The result is infinite where the curve never has the
    accuracy, and the first point's FLOPs where that point already has it.
    """
    order = np.argsort(flops, axis=-1, kind="stable")
    x = _log2(np.take_along_axis(flops, order, -1))
    y = np.maximum.accumulate(np.take_along_axis(accuracy, order, -1), axis=-1)
    lower = (y[..., None, :] < wanted[..., :, None] - 1e-12).sum(axis=-1)
    after = np.minimum(lower, x.shape[-1] - 1)
    before = np.maximum(after - 1, 0)
    (x0, x1), (y0, y1) = ([np.take_along_axis(z, i, -1) for i in (before, after)] for z in (x, y))
    share = np.divide(wanted - y0, y1 - y0, out=np.zeros_like(y0), where=y1 > y0)
    return np.where(lower < x.shape[-1], 2.0 ** (x0 + np.clip(share, 0, 1) * (x1 - x0)), np.inf)


def _log2(flops: npt.ArrayLike) -> Floats:
    """Returns log2 FLOPs; a run that spent none counts as one of a single FLOP."""
    return np.log2(np.maximum(flops, 1.0))
