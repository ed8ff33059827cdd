"""Chooses a strategy for each difficulty bin and budget, and measures the choice on other problems.

Two-fold cross-validation within bins (Snell et al. 2024, section 3.2): choose on one half of the problems,
measure on the other half, swap. Rows of arrays are options or budget levels, columns are problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.estimators import Floats, Ints, mean_known
from orchestrator.analysis.options import Option


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Accuracy and cost of every option on every problem, under one selection rule."""

    labels: Sequence[str]
    """One per option."""
    budgets: Floats
    """FLOPs per problem that each option was given, ``float64[options]``."""
    accuracy: Floats
    """Mean over the seeds, ``float64[options, problems]``; NaN where the search broke."""
    flops: Floats
    """FLOPs charged, mean over the seeds, ``float64[options, problems]``."""
    samples: npt.NDArray[np.bool_]
    """True where an option is independent samples only, so that the samples of a difficulty estimate are its
    first ones, ``bool[options]``."""

    @classmethod
    def of(cls, found: Sequence[Option], rule: str) -> Outcomes:
        """Collects the options' outcomes under the selection rule ``rule``."""
        return cls(
            [option.label for option in found],
            np.array([option.budget for option in found]),
            np.array([option.correct(rule) for option in found]),
            np.array([option.cost() for option in found]),
            np.array([option.strategy["name"] == SAMPLES for option in found]),
        )


def budget_levels(budgets: npt.ArrayLike) -> Floats:
    """Returns the different budgets, ascending; of budgets within 1 % of each other the largest."""
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
    """Returns the index of the option for each budget level and bin, ``int[levels, count]``.

    Candidates are the options that were given at most the level's budget. Chosen is the most accurate on the
    bin's problems in ``among`` (``bool[problems]``), and of equally accurate ones the cheapest. With
    ``margin`` > 0 it is the cheapest that is within that many standard errors of the most accurate one, which
    avoids paying for noise (one-standard-error rule, Breiman et al. 1984). A bin without problems chooses by
    all of ``among``.
    """
    chosen = np.empty((len(levels), count), dtype=int)
    for b in range(count):
        inside = among & (bins == b + 1)
        if not inside.any():
            inside = among
        accuracy, flops = outcomes.accuracy[:, inside], mean_known(outcomes.flops[:, inside], axis=1)
        means = np.round(mean_known(accuracy, axis=1), 12)
        means[np.isnan(means)] = -np.inf  # all searches broke
        for row, level in enumerate(levels):
            allowed = np.flatnonzero(outcomes.budgets <= level)
            best = min(allowed, key=lambda i: (-means[i], flops[i], i))
            if margin > 0:
                gaps = accuracy[best] - accuracy[allowed]
                near = allowed[mean_known(gaps, axis=1) <= margin * _standard_errors(gaps) + 1e-12]
                best = min(near, key=lambda i: (flops[i], -means[i], i), default=best)
            chosen[row, b] = best
    return chosen


def _standard_errors(rows: Floats) -> Floats:
    """Returns the standard error of each row's mean; 0 with fewer than two entries."""
    count = (~np.isnan(rows)).sum(axis=1)
    squares = mean_known((rows - mean_known(rows, axis=1)[:, None]) ** 2, axis=1)
    return np.sqrt(np.divide(squares, count - 1, out=np.zeros(len(rows)), where=count > 1))


@dataclass(frozen=True, eq=False)
class Validated:
    """A policy measured on problems that it was not chosen on. Arrays are ``[levels, problems]``, NaN where a
    search broke."""

    levels: Floats
    """Budget levels, FLOPs per problem, ``float64[levels]``."""
    accuracy: Floats
    flops: Floats
    """FLOPs without the difficulty estimate."""
    charged: Floats
    """FLOPs with the difficulty estimate."""
    option: npt.NDArray[np.int16]
    """Index of the option that each problem got, ``int[splits, levels, problems]``."""

    @classmethod
    def mean(cls, splits: Sequence[Validated]) -> Validated:
        """Averages over several splits of the problems into halves, so that the result hangs on none."""
        return cls(
            splits[0].levels,
            mean_known([split.accuracy for split in splits]),
            mean_known([split.flops for split in splits]),
            mean_known([split.charged for split in splits]),
            np.concatenate([split.option for split in splits]),
        )


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
    """Chooses on one half of the problems, measures on the other half, and swaps the halves.

    ``half`` is 0 or 1 per problem. ``bins[h]`` are all problems' bins as known without half ``h``, on which
    they are measured. ``estimate`` are the FLOPs of each problem's difficulty estimate. They are charged on
    top of the option's FLOPs, except where the option is independent samples: the estimate's samples are then
    its first ones, as in the strategy ``compute_optimal``. The estimate's solutions do not count in the
    accuracy of another strategy.
    """
    option = np.empty((len(levels), len(half)), dtype=np.int16)
    for side in (0, 1):
        test = half == side
        chosen = choose(outcomes, bins[side], ~test, levels, count, margin)
        option[:, test] = chosen[:, bins[side][test] - 1]
    problems = np.arange(len(half))
    flops = outcomes.flops[option, problems]
    charged = with_estimate(flops, estimate, outcomes.samples[option])
    return Validated(levels, outcomes.accuracy[option, problems], flops, charged, option[None])


def with_estimate(flops: Floats, estimate: Floats, samples: npt.NDArray[np.bool_]) -> Floats:
    """Returns FLOPs with the estimate's: the sum, or the larger of the two where ``samples`` is True."""
    return np.where(samples, np.maximum(flops, estimate), flops + estimate)
