"""Estimates with their confidence intervals: proportions, means over problems, pass@k."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Bootstrap resamples: enough for a percentile to be steady in its second digit."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the ends of its confidence interval (95 % unless said otherwise)."""

    value: float
    low: float
    high: float


def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> Estimate:
    """A proportion with Wilson's score interval (1927), which keeps its coverage near 0 and 1. Raises
    ValueError unless 0 ≤ successes ≤ total and total ≥ 1."""
    if not 0 <= successes <= total or total < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= total, got {successes} of {total}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    # At the ends the interval touches 0 or 1 exactly; rounding may put it a hair beside.
    low, high = max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
    return Estimate(p, low if successes else 0.0, high if successes < total else 1.0)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the chance that one of ``k`` samples is correct, from ``c`` correct of
    ``n``: 1 − C(n−c, k)/C(n, k), in its stable form (Chen et al. 2021). Raises ValueError unless
    0 ≤ c ≤ n and 1 ≤ k ≤ n."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / j for j in range(n - c + 1, n + 1))


def coverage_curve(n: int, correct: npt.ArrayLike) -> tuple[list[int], Floats]:
    """pass@k of each problem for k = 1, 2, 4, … up to ``n``, from how many of a problem's ``n``
    independent samples are correct. Returns the k and an array (problems, k)."""
    ks = powers_of_two(n)
    counts = np.asarray(correct, dtype=int)
    table = np.array([[pass_at_k(n, c, k) for k in ks] for c in range(n + 1)]).reshape(n + 1, len(ks))
    return ks, table[counts]


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, … ≤ ``most``."""
    return [2**i for i in range(most.bit_length())]


def resamples(problems: int, seed: int = 0, count: int = RESAMPLES) -> Floats:
    """Bootstrap weights (count, problems): how often each problem is drawn in a resample of as many
    problems, as a share (rows sum to 1). ``resamples(…) @ values`` are the means of the resamples."""
    draws = np.random.default_rng(seed).multinomial(problems, np.full(problems, 1 / problems), size=count)
    return draws / problems


def interval(samples: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of bootstrap samples (Efron 1979)."""
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_over_problems(values: npt.ArrayLike, seed: int = 0) -> Estimate:
    """The mean of a value of each problem, with the percentile interval of a seeded bootstrap over
    problems: what another set of problems would have given, however uneven the values are."""
    array = np.asarray(values, dtype=float)
    return Estimate(float(array.mean()), *interval(resamples(len(array), seed) @ array))
