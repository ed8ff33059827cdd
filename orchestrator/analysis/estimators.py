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
MANY = 5000
"""Problems from which a mean is so nearly normal that resamples, which take memory for each, tell no more."""


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


@lru_cache(maxsize=8)  # a report needs the same few hundreds of times
def resamples(problems: int, seed: int = 0, count: int = RESAMPLES) -> Floats:
    """Returns bootstrap weights over problems, ``float64[count, problems]``, read-only; rows sum to 1.

    A weight is the share of a resample that is this problem, so ``resamples(n) @ values`` are the means of
    the resamples.
    """
    draws = np.random.default_rng(seed).multinomial(problems, np.full(problems, 1 / problems), size=count)
    weights = draws / problems
    weights.flags.writeable = False
    return weights


def all_and_resamples(problems: int, seed: int = 0) -> Floats:
    """Returns weights ``float64[1 + RESAMPLES, problems]``: equal ones in row 0, then ``resamples``.

    Statistics that are computed with the same weights are paired: they share their resamples.
    """
    return np.vstack([np.full(problems, 1 / problems), resamples(problems, seed)])


def of_resamples(statistic: Floats) -> Estimate:
    """Returns entry 0 of a statistic, with the percentile interval of the others (see
    ``all_and_resamples``)."""
    return Estimate(float(statistic[0]), *interval(statistic[1:]))


def interval(samples: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the percentile interval of bootstrap samples (Efron 1979)."""
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_over_problems(values: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Returns the mean of one value per problem, with the interval of a seeded bootstrap over problems; with
    the normal interval from ``MANY`` problems on."""
    array = np.asarray(values, dtype=float)
    if len(array) >= MANY:
        mean = float(array.mean())
        half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * float(array.std()) / math.sqrt(len(array))
        return Estimate(mean, max(mean - half, float(array.min())), min(mean + half, float(array.max())))
    return Estimate(float(array.mean()), *interval(resamples(len(array), seed) @ array))


def mean_difference(
    values: npt.ArrayLike, inside: npt.ArrayLike | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """Returns the mean of one difference in [-1, 1] per problem, with the interval of a bootstrap over
    problems.

    ``inside`` (``bool[problems]``) selects some problems. Where all values are equal, resamples cannot tell
    how rare another value is, so the interval is widened by 3/n (rule of three, Hanley & Lippman-Hand 1983).
    """
    array = np.asarray(values, dtype=float)
    if inside is not None:
        array = array[np.asarray(inside, dtype=bool)]
    low, high = interval(resamples(len(array)) @ array, confidence)
    if np.ptp(array) == 0:
        low, high = max(-1.0, low - 3 / len(array)), min(1.0, high + 3 / len(array))
    return Estimate(float(array.mean()), low, high)
