"""FLOPs that a strategy or a policy saves against best-of-N at equal accuracy, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.cross_validation import Outcomes, Validated
from orchestrator.analysis.estimators import Estimate, Floats, all_and_resamples, of_resamples


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


@dataclass(frozen=True, slots=True)
class Saving:
    """The saving of a policy or a strategy at one point of best-of-N."""

    baseline: str
    """Label of the best-of-N option."""
    accuracy: float
    """Accuracy of that option."""
    baseline_flops: float
    """FLOPs per problem of that option."""
    flops: float | None
    """FLOPs per problem at which the curve has that accuracy; None where it never has."""
    factor: Estimate
    """``baseline_flops`` / ``flops``; 0 where the curve does not reach the accuracy."""
    at_least: bool
    """True where the curve's cheapest point already has the accuracy: the true factor may be larger."""


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """A policy against best-of-N, with 95 % intervals of a paired bootstrap over problems."""

    levels: tuple[Level, ...]
    """One per budget of the policy."""
    savings: tuple[Saving, ...]
    """One per size of best-of-N."""


def compare(
    policy: Validated, baseline: Outcomes, *, charged: bool = True, seed: int = 0
) -> PolicyComparison:
    """Compares a policy with best-of-N.

    ``charged`` says whether the policy pays for its difficulty estimate (Snell et al. 2024 do not count it).
    """
    flops = policy.charged if charged else policy.flops
    means = _means(flops, policy.accuracy, baseline, seed)
    cost, right, base_cost, base_right = means
    at = np.array([accuracy_at(*row) for row in zip(cost, base_cost, base_right, strict=True)])
    levels = tuple(
        Level(
            float(policy.levels[i]),
            float(cost[0, i]),
            of_resamples(right[:, i]),
            of_resamples(at[:, i]),
            of_resamples(right[:, i] - at[:, i]),
        )
        for i in range(len(policy.levels))
    )
    return PolicyComparison(levels, _savings(baseline.labels, *means))


def savings(flops: Floats, accuracy: Floats, baseline: Outcomes, *, seed: int = 0) -> tuple[Saving, ...]:
    """Returns the savings of a curve at every point of ``baseline``, with paired 95 % intervals.

    ``flops`` and ``accuracy`` are the curve's points, ``float64[points, problems]``.
    """
    return _savings(baseline.labels, *_means(flops, accuracy, baseline, seed))


def _means(
    flops: Floats, accuracy: Floats, baseline: Outcomes, seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Returns the means of a curve's FLOPs and accuracy, then of the baseline's: ``[1 + RESAMPLES,
    points]``."""
    weights = all_and_resamples(flops.shape[1], seed)
    return weights @ flops.T, weights @ accuracy.T, weights @ baseline.flops.T, weights @ baseline.accuracy.T


def _savings(
    labels: Sequence[str], cost: Floats, right: Floats, base_cost: Floats, base_right: Floats
) -> tuple[Saving, ...]:
    """Returns the savings from the arrays of ``_means``."""
    needed = np.array([flops_for(*row) for row in zip(base_right, cost, right, strict=True)])
    factors = np.where(np.isfinite(needed), base_cost / needed, 0.0)
    cheapest = np.argmin(cost[0])
    return tuple(
        Saving(
            label,
            float(base_right[0, j]),
            float(base_cost[0, j]),
            float(needed[0, j]) if np.isfinite(needed[0, j]) else None,
            of_resamples(factors[:, j]),
            bool(right[0, cheapest] >= base_right[0, j]),
        )
        for j, label in enumerate(labels)
    )


def accuracy_at(wanted: Floats, flops: Floats, accuracy: Floats) -> Floats:
    """Returns a curve's accuracy at ``wanted`` FLOPs, interpolated linearly in log FLOPs.

    Outside its range it is the nearest point's. A curve never falls: more FLOPs need not be spent.
    """
    x, y = _envelope(flops, accuracy)
    return np.interp(np.log2(wanted), x, y)


def flops_for(wanted: Floats, flops: Floats, accuracy: Floats) -> Floats:
    """Returns the least FLOPs at which a curve has the accuracy ``wanted``; the inverse of ``accuracy_at``.

    It is infinite where the curve never has it, and the first point's FLOPs where that point already has it.
    """
    x, y = _envelope(flops, accuracy)
    after = np.searchsorted(y, wanted - 1e-12)
    inside = np.clip(after, 1, len(x) - 1) if len(x) > 1 else np.zeros_like(after)
    before = np.maximum(inside - 1, 0)
    rise = y[inside] - y[before]
    share = np.divide(wanted - y[before], rise, out=np.zeros_like(rise), where=rise > 0)
    between = x[before] + np.clip(share, 0, 1) * (x[inside] - x[before])
    found = np.where(after == 0, x[0], between)
    return np.where(after >= len(x), np.inf, 2.0**found)


def _envelope(flops: Floats, accuracy: Floats) -> tuple[Floats, Floats]:
    """Returns log2 FLOPs, ascending, and the best accuracy up to each."""
    order = np.argsort(flops, kind="stable")
    return np.log2(flops[order]), np.maximum.accumulate(accuracy[order])
