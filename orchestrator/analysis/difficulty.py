"""Difficulty bins of problems for one generator (Snell et al. 2024, section 3.2). Bin 1 is the easiest.

Oracle bins come from each problem's pass@1; predicted bins from the verifier's mean score of a few samples,
which needs no true answer. The samples that bin a problem are from a run of their own, the difficulty run, so
that no measured result decides its own bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.estimators import Floats, Ints

BINS = 5


def pass_at_1(cell: Cell) -> Floats:
    """Returns the share of each problem's samples that are correct; 0 where it has none."""
    right = np.bincount(cell.solutions.problem, cell.solutions.correct, len(cell.problems))
    return right / np.maximum(1, _samples(cell))


def oracle_bins(cell: Cell, bins: int = BINS) -> Ints:
    """Returns each problem's bin, ``int[problems]`` in 1..``bins``: quantiles of pass@1 of nearly equal size.

    Problems of equal pass@1 are ordered by the verifier's mean score of their samples, then by their ids, so
    the same cell always gives the same bins.
    """
    solutions, problems = cell.solutions, len(cell.problems)
    scored = ~np.isnan(solutions.score)
    totals = np.bincount(solutions.problem[scored], solutions.score[scored], problems)
    counts = np.bincount(solutions.problem[scored], minlength=problems)
    order = np.lexsort((np.asarray(cell.problems), -totals / np.maximum(1, counts), -pass_at_1(cell)))
    numbers = np.empty(len(order), dtype=int)
    numbers[order] = np.arange(len(order)) * bins // len(order) + 1
    return numbers


def tied(cell: Cell, numbers: Ints) -> int:
    """Returns how many problems have a pass@1 that problems of another bin have too."""
    share = pass_at_1(cell)
    values = [set(share[numbers == number]) for number in np.unique(numbers)]
    return int(sum(sum(value in found for found in values) > 1 for value in share))


def mean_final_score(cell: Cell, samples: int) -> Floats:
    """Returns the verifier's mean score of each problem's first ``samples`` solutions.

    Raises ValueError where a problem has fewer scored solutions.
    """
    solutions = cell.solutions
    first = _rank(cell) < samples
    counted = first & ~np.isnan(solutions.score)
    counts = np.bincount(solutions.problem[counted], minlength=len(cell.problems))
    if counts.min() < samples:
        short = cell.problems[int(counts.argmin())]
        raise ValueError(f"problem {short} has {counts.min()} scored samples; {samples} are asked for")
    totals = np.bincount(solutions.problem[counted], solutions.score[counted], len(cell.problems))
    return totals / samples


def thresholds(scores: npt.ArrayLike, bins: int = BINS) -> tuple[float, ...]:
    """Returns the ``bins − 1`` scores, highest first, that cut these problems into bins of equal size."""
    return tuple(float(x) for x in np.quantile(np.asarray(scores), np.arange(bins - 1, 0, -1) / bins))


def predicted_bins(scores: npt.ArrayLike, cuts: Sequence[float]) -> Ints:
    """Returns the bin of each score, as ``Policy.bin_of`` does."""
    return 1 + (np.asarray(scores)[:, None] < np.asarray(cuts)).sum(axis=1)


def estimate_flops(cell: Cell, samples: int, cost: str = "flops") -> Floats:
    """Returns the cost of each problem's first ``samples`` samples, which estimate its difficulty.

    It is the share of the cell's ``cost`` (a name in ``COSTS``) that these samples and the prompt have of the
    generator's tokens: a close upper bound, since a prompt's token costs less than a sampled one.
    """
    tokens = cell.solutions.tokens
    first = _rank(cell) < samples
    problems, index = len(cell.problems), cell.solutions.problem
    sampled = np.bincount(index, tokens, problems)
    used = np.bincount(index[first], tokens[first], problems)
    costs = cell.without_selection().costs
    whole = np.asarray(costs["generator_tokens"], dtype=float)
    share = np.divide(whole - sampled + used, whole, out=np.zeros_like(whole), where=whole > 0)
    return costs[cost] * share


@dataclass(frozen=True)
class Agreement:
    """The agreement of predicted bins with oracle bins."""

    confusion: tuple[tuple[int, ...], ...]
    """``confusion[i][j]`` counts the problems of oracle bin i + 1 that are predicted in bin j + 1."""
    spearman: float
    """Rank correlation of mean score and pass@1."""
    exact: float
    """Share of the problems whose predicted bin is the oracle bin."""
    within_one: float
    """Share of the problems whose predicted bin is at most one away from the oracle bin."""
    flops: float
    """FLOPs of the estimate, per problem."""


def agreement(cell: Cell, samples: int, bins: int = BINS, seed: int = 0) -> Agreement:
    """Compares bins predicted from ``samples`` samples with oracle bins from all samples.

    Each half of the problems is binned by thresholds learned on the other half.
    """
    from scipy.stats import spearmanr

    scores, oracle = mean_final_score(cell, samples), oracle_bins(cell, bins)
    half = halves(scores, seed)
    predicted = np.empty_like(oracle)
    for side in (0, 1):
        predicted[half == side] = predicted_bins(scores[half == side], thresholds(scores[half != side], bins))
    confusion = np.zeros((bins, bins), dtype=int)
    np.add.at(confusion, (oracle - 1, predicted - 1), 1)
    apart = abs(oracle - predicted)
    return Agreement(
        tuple(tuple(int(count) for count in row) for row in confusion),
        float(spearmanr(scores, pass_at_1(cell)).statistic),
        float((apart == 0).mean()),
        float((apart <= 1).mean()),
        float(estimate_flops(cell, samples).mean()),
    )


def halves(key: npt.ArrayLike, seed: int = 0) -> Ints:
    """Splits problems into two halves that are alike in ``key``; returns 0 or 1 per problem.

    Of every two neighbours in the order of ``key``, a seeded coin sends one to each half. So every bin is
    halved, to within one problem.
    """
    order = np.argsort(np.asarray(key), kind="stable")
    coins = np.random.default_rng(seed).integers(0, 2, size=(len(order) + 1) // 2)
    half = np.empty(len(order), dtype=int)
    half[order] = np.column_stack([coins, 1 - coins]).ravel()[: len(order)]
    return half


def _samples(cell: Cell) -> Ints:
    """Returns the number of solutions of each problem."""
    return np.bincount(cell.solutions.problem, minlength=len(cell.problems))


def _rank(cell: Cell) -> Ints:
    """Returns the place of each solution among its problem's solutions, from 0."""
    counts = _samples(cell)
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def independent_samples(cells: Sequence[Cell]) -> tuple[int, Floats]:
    """Returns the number of independent samples per problem, and each problem's number of correct ones.

    Every problem of a cell counts as many samples as the problem with the fewest has, so that a search that
    its budget cut short adds no bias. Problems of which a search broke are left out.
    """
    kept = ~np.any([cell.failed for cell in cells], axis=0)
    total, right = 0, np.zeros(int(kept.sum()))
    for cell in (cell if kept.all() else cell.only(kept) for cell in cells):
        least = int(_samples(cell).min())
        first = _rank(cell) < least
        index, correct = cell.solutions.problem[first], cell.solutions.correct[first]
        right += np.bincount(index, correct, len(cell.problems))
        total += least
    return total, right
