"""How many operations were under way over a run's time, by pool: those that waited for a place at a replica,
and those that had one. From the times that a run leaves (``explore.times``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.explore.description import PoolWork, Work
from orchestrator.explore.times import Timed, legs_of

POINTS = 120
"""The parts of a run's time; of each the page has a mean."""
IDLE_SECONDS = 10.0
"""So long a time without any operation is left out: the run was interrupted, and went on."""

POOLS: Mapping[str, str] = {"sample": "generator", "revise": "reviser", "score": "verifier"}
"""The pool of an operation's kind."""


class _Leg(NamedTuple):
    """What one line of times has: a search, as far as it ran at once."""

    began: float
    ended: float
    operations: dict[str, Timed]


def work_of(times: Iterable[Sequence[bytes]], *, reviser: bool = False) -> Work | None:
    """Returns how much was under way over the run's time; None where no time was kept. ``times`` are the
    lines of each problem's times. ``reviser``: revisions have a model, and so a pool, of their own."""
    legs = [
        _Leg(began, began + max(one.sent + one.lasted for one in operations.values()) / 1000, operations)
        for lines in times
        for began, operations in legs_of(lines)
        if operations
    ]
    if not legs:
        return None
    stretches = _stretches(legs)
    starts = np.array([begin for begin, _ in stretches])
    # What is before each stretch, without the idle times.
    before = np.concatenate([[0.0], np.cumsum([end - begin for begin, end in stretches])])
    seconds = float(before[-1])
    edges = np.linspace(0.0, max(seconds, 0.001), POINTS + 1)
    found: dict[str, list[_Sum]] = defaultdict(lambda: [_Sum(edges), _Sum(edges)])
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for leg in legs:
        stretch = int(np.searchsorted(starts, leg.began, side="right")) - 1
        offset = float(before[stretch] + leg.began - starts[stretch])
        by_pool: dict[str, list[Timed]] = defaultdict(list)
        for key, one in leg.operations.items():
            pool = POOLS.get(key.partition("/")[0], "generator")
            by_pool["generator" if pool == "reviser" and not reviser else pool].append(one)
        for pool, operations in by_pool.items():
            sent = offset + np.array([one.sent for one in operations]) / 1000
            taken = sent + np.array([one.waited or 0 for one in operations]) / 1000
            answered = sent + np.array([one.lasted for one in operations]) / 1000
            waiting, computing = found[pool]
            waiting.add(sent, taken)
            computing.add(taken, answered)
            counts[pool][0] += len(operations)
            counts[pool][1] += sum(one.waited is None for one in operations)
    pools = [
        PoolWork(
            pool,
            counts[pool][0],
            counts[pool][1],
            waiting.seconds,
            computing.seconds,
            waiting.means,
            computing.means,
        )
        for pool in dict.fromkeys(POOLS.values())
        if pool in found
        for waiting, computing in [found[pool]]
    ]
    left_out = stretches[-1][1] - stretches[0][0] - seconds
    return Work(round(seconds, 3), round(left_out, 3), tuple(pools))


def _stretches(legs: Sequence[_Leg]) -> list[tuple[float, float]]:
    """The times at which the run was at work, between those that were idle, the first one first."""
    found: list[tuple[float, float]] = []
    for leg in sorted(legs, key=lambda leg: leg.began):
        if found and leg.began < found[-1][1] + IDLE_SECONDS:
            found[-1] = found[-1][0], max(found[-1][1], leg.ended)
        else:
            found.append((leg.began, leg.ended))
    return found


class _Sum:
    """The mean number of intervals that are open, between each two of the ``edges``."""

    def __init__(self, edges: NDArray[np.float64]) -> None:
        self._seconds = 0.0
        self._edges = edges
        self._open = np.zeros(len(edges))
        """The length of all intervals before each edge."""

    def add(self, begin: NDArray[np.float64], end: NDArray[np.float64]) -> None:
        self._seconds += float((end - begin).sum())
        at = self._edges[:, None]
        self._open += (np.clip(at, begin, end) - begin).sum(axis=1)

    @property
    def seconds(self) -> float:
        """The length of all intervals together."""
        return round(self._seconds, 3)

    @property
    def means(self) -> tuple[float, ...]:
        return tuple(float(f"{mean:.3g}") for mean in np.diff(self._open) / np.diff(self._edges))
