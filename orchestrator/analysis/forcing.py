"""How well thinking is controlled: the three metrics of s1 (Muennighoff et al. 2025; PAPER §2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations


def control(tokens: Sequence[int], least: int, most: int) -> float:
    """The share of runs whose thinking ``tokens`` are inside the asked budget, ``least`` to ``most``.
    ValueError without runs."""
    if not tokens:
        raise ValueError("control needs at least one run")
    return sum(least <= used <= most for used in tokens) / len(tokens)


def scaling(accuracy: Mapping[int, float]) -> float:
    """The mean slope of ``accuracy`` (by thinking tokens) over all pairs of budgets: a useful method's is
    above 0. ValueError for fewer than two budgets."""
    pairs = list(combinations(sorted(accuracy.items()), 2))
    if not pairs:
        raise ValueError("scaling needs at least two budgets")
    return sum((high - low) / (more - less) for (less, low), (more, high) in pairs) / len(pairs)


def performance(accuracy: Mapping[int, float]) -> float:
    """The highest ``accuracy`` at any budget. ValueError without one."""
    if not accuracy:
        raise ValueError("performance needs at least one budget")
    return max(accuracy.values())
