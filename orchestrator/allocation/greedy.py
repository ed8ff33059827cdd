"""The exact allocation where every problem's chance is known: what an online one is measured against."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def exact_greedy(chances: Sequence[float], budget: int) -> list[int]:
    """Solutions for each problem, ``budget`` in all, that maximise the sum of 1 − (1 − p_i)^n_i.

    The gain of the next one, p_i (1 − p_i)^n_i, never rises, so taking the largest each time is exact
    (PAPER §3; Damani et al.). Ties go to the first.
    """
    counts = [0] * len(chances)
    heap = [(-chance, i) for i, chance in enumerate(chances)]
    heapq.heapify(heap)
    for _ in range(budget if heap else 0):
        gain, i = heap[0]
        counts[i] += 1
        heapq.heapreplace(heap, (gain * (1 - chances[i]), i))
    return counts
