"""Choosing a strategy for each difficulty bin and budget, and what the choice is worth on other problems.

Two-fold cross-validation within bins (Snell §3.2): choose on one half of the problems, measure on the
other, swap. Everything here is arrays; rows are options or budgets, columns are problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Option
from orchestrator.analysis.estimators import Estimate, Floats, Ints, interval, resamples


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What each option did on each problem: ``accuracy`` and ``flops`` (options, problems), means over
    seeds. ``budgets``: FLOPs a problem that each option was given. ``samples``: whether an option is
    independent samples and nothing else, so that those of a difficulty estimate are its first."""

    labels: Sequence[str]
    budgets: Floats
    accuracy: Floats
    flops: Floats
    samples: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, found: Sequence[Option], rule: str) -> Outcomes:
        """Under one selection rule."""
        return cls(
            [option.label for option in found],
            np.array([option.budget for option in found]),
            np.array([option.correct(rule) for option in found]),
            np.array([option.cost() for option in found]),
            np.array([option.strategy["name"] == SAMPLES for option in found]),
        )


def budget_levels(budgets: npt.ArrayLike) -> Floats:
    """The different budgets, ascending; those within 1 % of each other are one, the largest of them."""
    levels: list[float] = []
    for budget in sorted(np.asarray(budgets, dtype=float)):
        if levels and budget <= 1.01 * levels[-1]:
            levels[-1] = budget
        else:
            levels.append(budget)
    return np.array(levels)


def choose(
    outcomes: Outcomes, bins: Ints, among: npt.NDArray[np.bool_], levels: Floats, count: int, margin: float
) -> Ints:
    """The option for each budget level and bin (levels, ``count`` bins), by the problems in ``among``.

    Of the options that were given no more than the level's budget, the most accurate on the bin's
    problems; on a tie the cheapest there. ``margin`` > 0 takes the cheapest that is within that many
    standard errors of the most accurate one (of their difference over problems): the usual guard against
    paying for noise (Breiman et al. 1984, the one-standard-error rule). A bin without problems chooses
    by all of ``among``.
    """
    chosen = np.empty((len(levels), count), dtype=int)
    for b in range(count):
        inside = among & (bins == b + 1)
        if not inside.any():
            inside = among
        accuracy, flops = outcomes.accuracy[:, inside], outcomes.flops[:, inside].mean(axis=1)
        means, problems = accuracy.mean(axis=1), accuracy.shape[1]
        for row, level in enumerate(levels):
            allowed = np.flatnonzero(outcomes.budgets <= level)
            # The most accurate; of equals the cheapest; of equally cheap ones the first.
            best = min(allowed, key=lambda i: (-round(means[i], 12), flops[i], i))
            if margin > 0 and problems > 1:
                gaps = accuracy[best] - accuracy[allowed]
                slack = margin * gaps.std(axis=1, ddof=1) / np.sqrt(problems)
                near = allowed[gaps.mean(axis=1) <= slack + 1e-12]
                best = min(near, key=lambda i: (flops[i], -means[i], i))
            chosen[row, b] = best
    return chosen


@dataclass(frozen=True, eq=False)
class Validated:
    """A policy on problems that it was not chosen on, (levels, problems) each: ``accuracy``, ``flops``
    without and ``charged`` with those of telling the bins, and which ``option`` each problem got."""

    levels: Floats
    accuracy: Floats
    flops: Floats
    charged: Floats
    option: Ints


def cross_validate(
    outcomes: Outcomes,
    bins: Sequence[Ints],
    half: Ints,
    levels: Floats,
    estimate: Floats,
    *,
    count: int = 5,
    margin: float = 0.0,
) -> Validated:
    """Choose on one half, measure on the other, swap. ``half``: 0 or 1 for each problem. ``bins[h]``:
    every problem's bin as it is known without half ``h``, on which it is measured.

    ``estimate``: FLOPs of telling each problem's bin. They are charged on top of the option's own, except
    where that is independent samples: the estimate's are the first of them (strategies/compute_optimal).
    The accuracy gets no credit for the estimate's solutions beside another strategy's.
    """
    option = np.empty((len(levels), len(half)), dtype=int)
    for side in (0, 1):
        test = half == side
        chosen = choose(outcomes, bins[side], ~test, levels, count, margin)
        option[:, test] = chosen[:, bins[side][test] - 1]
    problems = np.arange(len(half))
    flops = outcomes.flops[option, problems]
    charged = with_estimate(flops, estimate, outcomes.samples[option])
    return Validated(levels, outcomes.accuracy[option, problems], flops, charged, option)


def with_estimate(flops: Floats, estimate: Floats, samples: npt.NDArray[np.bool_]) -> Floats:
    """FLOPs with those of the estimate: on top, or its share of them where they pay for ``samples``."""
    return np.where(samples, np.maximum(flops, estimate), flops + estimate)


@dataclass(frozen=True, slots=True)
class Level:
    """The policy at one budget, beside best-of-N of the same FLOPs (interpolated in log FLOPs; beyond what
    was measured, its nearest point). FLOPs a problem, the estimate's among them where it is charged."""

    budget: float
    flops: float
    accuracy: Estimate
    baseline: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Saving:
    """What a curve (a policy's, or a strategy's) saves at one point of best-of-N: ``factor`` is best-of-N's
    FLOPs over the curve's at equal accuracy; 0 where the curve does not get there. ``at_least``: its
    cheapest point is already as accurate, so it may need less still. ``flops``: the curve's, if it does."""

    baseline: str
    accuracy: float
    baseline_flops: float
    flops: float | None
    factor: Estimate
    at_least: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The policy against best-of-N, with 95 % intervals by a paired bootstrap over problems."""

    levels: tuple[Level, ...]
    savings: tuple[Saving, ...]


def compare(policy: Validated, baseline: Outcomes, *, charged: bool = True, seed: int = 0) -> Comparison:
    """``charged``: whether the policy pays for telling the bins (Snell does not)."""
    flops = policy.charged if charged else policy.flops
    means = _means(flops, policy.accuracy, baseline, seed)
    cost, right, base_cost, base_right = means
    at = np.array([accuracy_at(*each) for each in zip(cost, base_cost, base_right, strict=True)])
    levels = tuple(
        Level(
            float(policy.levels[i]),
            float(cost[0, i]),
            paired(right[:, i]),
            paired(at[:, i]),
            paired(right[:, i] - at[:, i]),
        )
        for i in range(len(policy.levels))
    )
    return Comparison(levels, _savings(baseline.labels, *means))


def savings(flops: Floats, accuracy: Floats, baseline: Outcomes, *, seed: int = 0) -> tuple[Saving, ...]:
    """Of the curve through these points (points, problems) at every point of ``baseline``, with 95 %
    intervals by a paired bootstrap over problems."""
    return _savings(baseline.labels, *_means(flops, accuracy, baseline, seed))


def _means(
    flops: Floats, accuracy: Floats, baseline: Outcomes, seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of a curve its FLOPs and accuracy, then the baseline's (1 + resamples, points): over all problems in
    the first row, in the others over the same resamples of them."""
    problems = flops.shape[1]
    weights = np.vstack([np.full(problems, 1 / problems), resamples(problems, seed)])
    return weights @ flops.T, weights @ accuracy.T, weights @ baseline.flops.T, weights @ baseline.accuracy.T


def _savings(
    labels: Sequence[str], cost: Floats, right: Floats, base_cost: Floats, base_right: Floats
) -> tuple[Saving, ...]:
    needed = np.array([flops_for(*each) for each in zip(base_right, cost, right, strict=True)])
    factors = np.where(np.isfinite(needed), base_cost / needed, 0.0)
    cheapest = np.argmin(cost[0])
    return tuple(
        Saving(
            label,
            float(base_right[0, j]),
            float(base_cost[0, j]),
            float(needed[0, j]) if np.isfinite(needed[0, j]) else None,
            paired(factors[:, j]),
            bool(right[0, cheapest] >= base_right[0, j]),
        )
        for j, label in enumerate(labels)
    )


def accuracy_at(wanted: Floats, flops: Floats, accuracy: Floats) -> Floats:
    """Accuracy at ``wanted`` FLOPs, between the points of a curve linear in log FLOPs; a curve never
    falls (who has more FLOPs may leave them). Outside its range, its nearest point."""
    x, y = _envelope(flops, accuracy)
    return np.interp(np.log2(wanted), x, y)


def flops_for(wanted: Floats, flops: Floats, accuracy: Floats) -> Floats:
    """The least FLOPs at which a curve, as ``accuracy_at`` draws it, is this accurate; infinite where it
    never is, its first point's where that is already."""
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
    """log2 FLOPs, ascending, and the best accuracy up to each."""
    order = np.argsort(flops, kind="stable")
    return np.log2(flops[order]), np.maximum.accumulate(accuracy[order])


def paired(samples: Floats) -> Estimate:
    """The first value, and the percentile interval of the others: its bootstrap samples."""
    return Estimate(float(samples[0]), *interval(samples[1:]))
