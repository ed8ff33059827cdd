"""Estimates with confidence intervals: proportions, means over problems, pass@k, bootstrap resamples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Number of bootstrap resamples; enough for two stable digits of a percentile."""
GROUPS = 2000
"""The most units that are resampled. Of more problems, as many groups are, so that the work is bounded."""
IMAGINARY = 2
"""Imaginary problems that count at each end of a range, in ``smoothed_mean``."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval (95 % unless the maker says otherwise)."""

    value: float
    low: float
    high: float


def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> Estimate:
    """Returns a proportion with Wilson's score interval (Wilson 1927), which keeps its coverage near 0 and 1.

    Raises ValueError unless 0 ≤ successes ≤ total and total ≥ 1.
    """
    if not 0 <= successes <= total or total < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= total, got {successes} of {total}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    # At the ends the interval touches 0 or 1 exactly; rounding may miss them slightly.
    low, high = max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
    return Estimate(p, low if successes else 0.0, high if successes < total else 1.0)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Returns the unbiased estimate 1 − C(n−c, k)/C(n, k) that one of ``k`` samples is correct, where ``c``
    of ``n`` are (Chen et al. 2021, section 2.1), by the logarithms of the binomials.

    Raises ValueError unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    if k == 1:
        return c / n
    # Without a correct sample, both differences are exactly 0.
    few = math.lgamma(n - c + 1) - math.lgamma(n + 1)
    none = math.lgamma(n - k + 1) - math.lgamma(n - c - k + 1)
    return -math.expm1(few + none)


def coverage_curve(n: int, correct: npt.ArrayLike) -> tuple[list[int], Floats]:
    """Returns k = 1, 2, 4, … ≤ ``n`` and each problem's pass@k, ``float64[problems, len(k)]``.

    ``correct`` (``int[problems]``) counts the correct ones of a problem's ``n`` independent samples. The time
    it takes grows with the number of different counts, and not with ``n``.
    """
    ks = powers_of_two(n)
    counts, problems = np.unique(np.asarray(correct, dtype=int), return_inverse=True)
    table = np.array([[pass_at_k(n, int(c), k) for k in ks] for c in counts], dtype=float)
    return ks, table.reshape(len(counts), len(ks))[problems]


def powers_of_two(most: int) -> list[int]:
    """Returns 1, 2, 4, … ≤ ``most``."""
    return [2**i for i in range(most.bit_length())]


def mean_known(values: npt.ArrayLike, axis: int = 0) -> Floats:
    """Returns means without the entries that are NaN; NaN where all are."""
    array = np.asarray(values, dtype=float)
    known = ~np.isnan(array)
    total, count = np.where(known, array, 0.0).sum(axis=axis), known.sum(axis=axis)
    return np.divide(total, count, out=np.full_like(total, np.nan, dtype=float), where=count > 0)


@lru_cache(maxsize=4)  # a report needs the same few hundreds of times
def _weights(units: int, seed: int, count: int) -> Floats:
    """Returns ``float64[1 + count, units]``, read-only: how often a resample has each unit, once each in row
    0."""
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=count)
    weights = np.vstack([np.ones(units), drawn])
    weights.flags.writeable = False
    return weights


def resampled_means(values: npt.ArrayLike, seed: int = 0, count: int = RESAMPLES) -> Floats:
    """Returns the mean of each row of ``values`` (``[rows, problems]``) over all problems, then over each of
    ``count`` bootstrap resamples of them: ``float64[1 + count, rows]``.

    Entries that are NaN are left out. Rows of the same problems and seed are paired: they share their
    resamples. Of more than ``GROUPS`` problems, random groups are resampled as wholes.
    """
    rows = np.asarray(values, dtype=float)
    known = ~np.isnan(rows)
    sums, counts = np.where(known, rows, 0.0), known.astype(float)
    problems = rows.shape[1]
    if problems > GROUPS:
        group = np.random.default_rng(seed).permutation(problems) % GROUPS
        sums, counts = (
            np.array([np.bincount(group, row, GROUPS) for row in each]) for each in (sums, counts)
        )
    weights = _weights(sums.shape[1], seed, count)
    with np.errstate(invalid="ignore"):  # a resample of few problems may have none that is known
        return (weights @ sums.T) / (weights @ counts.T)


def of_resamples(statistic: Floats) -> Estimate:
    """Returns entry 0 of a statistic, with the percentile interval of the others (Efron 1979; see
    ``resampled_means``)."""
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.nanquantile(statistic[1:], tails)
    return Estimate(float(statistic[0]), float(low), float(high))


def mean_over_problems(values: npt.ArrayLike) -> Estimate:
    """Returns the mean of one value in [0, 1] per problem, such as accuracy over seeds.

    NaN is left out. Where every value is 0 or 1, the interval is Wilson's; otherwise it is that of
    ``smoothed_mean``.
    """
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    if len(array) and np.isin(array, (0, 1)).all():
        return wilson(int(array.sum()), len(array))
    return smoothed_mean(array, 0.0, 1.0)


def mean_difference(
    values: npt.ArrayLike, inside: npt.ArrayLike | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """Returns the mean of one paired difference in [-1, 1] per problem, with the interval of
    ``smoothed_mean``. ``inside`` (``bool[problems]``) selects some problems."""
    array = np.asarray(values, dtype=float)
    if inside is not None:
        array = array[np.asarray(inside, dtype=bool)]
    return smoothed_mean(array, -1.0, 1.0, confidence)


def smoothed_mean(
    values: npt.ArrayLike, least: float, most: float, confidence: float = CONFIDENCE
) -> Estimate:
    """Returns the mean of one value in [``least``, ``most``] per problem, NaN left out, with Student's
    interval over these problems and four imaginary ones: ``IMAGINARY`` at each end of the range.

    So Agresti & Coull 1998 do for a share, and Bonett & Price 2012 for a paired difference. The interval
    covers the truth with few problems, and has a width where all of them agree. With one outcome per problem
    it excludes 0 only where McNemar's exact test gives p < 0.054.
    """
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    if not len(array):
        return Estimate(math.nan, least, most)
    seen = np.concatenate([array, np.repeat([least, most], IMAGINARY)])
    value, centre, half = float(array.mean()), float(seen.mean()), _half_width(seen, confidence)
    return Estimate(value, max(least, min(value, centre - half)), min(most, max(value, centre + half)))


def share_over_problems(part: npt.ArrayLike, whole: npt.ArrayLike) -> Estimate:
    """Returns the sum of ``part`` over that of ``whole``, where a problem has 0 ≤ part ≤ whole cases.

    The cases of a problem may depend on each other: the interval is that of a ratio of sums over problems
    (Cochran 1977, section 2.11), smoothed as in ``smoothed_mean``. Problems without cases say nothing. Raises
    ValueError where no problem has any.
    """
    cases = np.asarray(whole, dtype=float)
    some = cases > 0
    if not some.any():
        raise ValueError("a share needs a case")
    found, cases = np.asarray(part, dtype=float)[some], cases[some]
    usual = cases.mean()
    seen = np.concatenate([found, np.repeat([0.0, usual], IMAGINARY)])
    of = np.concatenate([cases, np.full(2 * IMAGINARY, usual)])
    value, centre = float(found.sum() / cases.sum()), float(seen.sum() / of.sum())
    half = _half_width((seen - centre * of) / of.mean(), CONFIDENCE)
    return Estimate(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def independent_difference(one: Estimate, other: Estimate) -> Estimate:
    """Returns the difference of two estimates over different problems: their half-widths add in squares
    (Newcombe 1998)."""
    value = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, value - down, value + up)


def _half_width(values: Floats, confidence: float) -> float:
    """Returns half of the width of Student's interval of a mean."""
    from scipy.special import stdtrit

    quantile = stdtrit(len(values) - 1, (1 + confidence) / 2)
    return float(quantile * values.std(ddof=1) / math.sqrt(len(values)))
