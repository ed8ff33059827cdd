"""How many operations were under way over a run's time, by pool: those that waited for a place at a replica,
and those that had one. From the times that a run leaves (``explore.times``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.explore.description import PoolWork, Work
from orchestrator.explore.times import Timed, legs_of

POINTS = 120
"""The parts of a run's time; of each the page has a mean."""
IDLE_SECONDS = 10.0
"""So long a time without any operation is left out: the run was interrupted, and went on."""
MOST_CHANGES = 8192
"""The most points in time that are kept of a pool's operations: a run may have 10⁸ of them."""

POOLS: Mapping[str, str] = {"sample": "generator", "revise": "reviser", "score": "verifier"}
"""The pool of an operation's kind."""

Times = NDArray[np.float64]
"""Points in time, in seconds since 1970."""


def work_of(times: Iterable[Sequence[bytes]], *, reviser: bool = False) -> Work | None:
    """Returns how much was under way over the run's time; None where no time was kept. ``times`` are the
    lines of each problem's times. ``reviser``: revisions have a model, and so a pool, of their own."""
    sums = WorkSums(reviser=reviser)
    for lines in times:
        sums.add(lines)
    return sums.work()


class WorkSums:
    """What was under way in the searches that have ended so far. Each is added once, in any order; what is
    held does not grow with their number."""

    def __init__(self, *, reviser: bool = False) -> None:
        """``reviser`` is as in ``work_of``."""
        self._reviser = reviser
        self._stretches: list[tuple[float, float]] = []
        """The times at which the run was at work, between those that were idle, the first one first."""
        self._pools: dict[str, _Pool] = defaultdict(_Pool)

    def add(self, lines: Iterable[bytes]) -> None:
        """Adds lines of times."""
        for began, operations in legs_of(lines):
            if not operations:
                continue
            lasted = max(one.sent + one.lasted for one in operations.values())
            self._at_work(began, began + lasted / 1000)
            by_pool: dict[str, list[Timed]] = defaultdict(list)
            for key, one in operations.items():
                pool = POOLS.get(key.partition("/")[0], "generator")
                by_pool["generator" if pool == "reviser" and not self._reviser else pool].append(one)
            for pool, of_pool in by_pool.items():
                self._pools[pool].add(began, of_pool)

    def work(self) -> Work | None:
        """Returns what is known so far; None where that is nothing."""
        if not self._stretches:
            return None
        begins = np.array([begin for begin, _ in self._stretches])
        # What is before each stretch, without the idle times.
        before = np.concatenate([[0.0], np.cumsum([end - begin for begin, end in self._stretches])])
        seconds = float(before[-1])
        edges = np.linspace(0.0, max(seconds, 0.001), POINTS + 1)
        stretch = np.clip(np.searchsorted(before, edges, side="right") - 1, 0, len(begins) - 1)
        at = begins[stretch] + edges - before[stretch]
        pools = [
            self._pools[pool].told(pool, at, float(edges[1]))
            for pool in dict.fromkeys(POOLS.values())
            if pool in self._pools
        ]
        left_out = self._stretches[-1][1] - self._stretches[0][0] - seconds
        return Work(round(seconds, 3), round(left_out, 3), tuple(pools))

    def _at_work(self, begin: float, end: float) -> None:
        near = [s for s in self._stretches if begin < s[1] + IDLE_SECONDS and s[0] < end + IDLE_SECONDS]
        far = [s for s in self._stretches if s not in near]
        whole = min([begin, *(s[0] for s in near)]), max([end, *(s[1] for s in near)])
        self._stretches = sorted([*far, whole])


class _Pool:
    """The operations of one pool."""

    def __init__(self) -> None:
        self._operations = 0
        self._untold = 0
        self._waiting = _Open()
        self._computing = _Open()

    def add(self, began: float, operations: Sequence[Timed]) -> None:
        sent = began + np.array([one.sent for one in operations]) / 1000
        taken = sent + np.array([one.waited or 0 for one in operations]) / 1000
        answered = sent + np.array([one.lasted for one in operations]) / 1000
        self._waiting.add(sent, taken)
        self._computing.add(taken, answered)
        self._operations += len(operations)
        self._untold += sum(one.waited is None for one in operations)

    def told(self, name: str, at: Times, part: float) -> PoolWork:
        """``at`` are the edges of parts of the time, each of which is ``part`` seconds long."""
        waiting, computing = self._waiting, self._computing
        return PoolWork(
            name,
            self._operations,
            self._untold,
            round(waiting.seconds, 3),
            round(computing.seconds, 3),
            waiting.means(at, part),
            computing.means(at, part),
        )


class _Open:
    """How many intervals are open over the time. A begin or an end between two points of a grid is shared
    by both, so that the length of all intervals before any point of it is exact; the grid becomes coarser as
    they are more."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """The length of all intervals together."""
        self._step = 2.0**-10
        self._changes: dict[int, float] = {}
        """By how many more are open from a point of the grid on."""

    def add(self, begin: Times, end: Times) -> None:
        """Adds intervals."""
        longer = end > begin
        self.seconds += float((end - begin).sum())
        self._change(begin[longer], 1.0)
        self._change(end[longer], -1.0)
        while len(self._changes) > MOST_CHANGES:
            changes, self._changes, self._step = self._changes, {}, 2 * self._step
            self._share(np.array([*changes]) / 2, np.array([*changes.values()]))

    def means(self, at: Times, part: float) -> tuple[float, ...]:
        """Returns the mean number of open intervals between each two of the times ``at``, which are ``part``
        seconds apart, without what was idle between them."""
        if not self._changes:
            return (0.0,) * (len(at) - 1)
        points = np.array(sorted(self._changes))
        opened = np.cumsum([self._changes[point] for point in points])[:-1]
        origin = points[0] * self._step
        since = points * self._step - origin
        length = np.concatenate([[0.0], np.cumsum(opened * np.diff(since))])
        sums = np.diff(np.interp(at - origin, since, length)) / part
        return tuple(float(f"{max(0.0, mean):.3g}") for mean in sums)

    def _change(self, at: Times, by: float) -> None:
        self._share(at / self._step, np.full(len(at), by))

    def _share(self, at: Times, by: Times) -> None:
        below = np.floor(at)
        for points, shares in ((below, by * (1 - (at - below))), (below + 1, by * (at - below))):
            distinct, place = np.unique(points, return_inverse=True)
            for point, share in zip(distinct, np.bincount(place, weights=shares), strict=True):
                if share:
                    self._changes[int(point)] = self._changes.get(int(point), 0.0) + float(share)
