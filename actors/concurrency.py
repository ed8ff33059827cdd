"""How many requests a replica has in flight at most: a pure state machine, no clock and no I/O.

An engine is full by places (``max_num_seqs``, known beforehand) or by memory (its KV cache, which shows only
as pressure). The limit is always a little more than the engine runs: by places at first, and under pressure
by what it has been seen to run. Then what cannot run is not bound to this replica but to the first that has
room, and less is taken out of a batch to be computed once more. It never falls below what the engine runs:
its own scheduler fills its memory better than a guess from outside.

It is decided once a turnover, when as many results have come as the limit is large: at the engine's own pace.

Invariant: 1 <= limit <= OVERCOMMIT · places, rounded up.
"""

from __future__ import annotations

import math

from actors.messages import Load

OVERCOMMIT = 1.25
"""Requests in flight at a replica, over what its engine runs at once: the next ones are at hand when a slot
frees, and late binding still holds."""

FULL = 0.8
"""Use of the cache from which what waits at the engine is taken to wait for memory, and not for a place."""

GROWTH = 0.1
"""By which share, and at least one request, the limit grows in a turnover without pressure."""


class ConcurrencyLimit:
    """The limit of one replica, whose engine runs ``places`` requests at once. ``now`` is what it is."""

    def __init__(self, places: int) -> None:
        self.most = math.ceil(OVERCOMMIT * places)
        self.now = self.most
        self._preemptions = 0
        self._begin()

    def _begin(self) -> None:
        """A turnover: results so far, what the engine ran at most, whether it was short of memory."""
        self._results, self._ran, self._pressed = 0, 0, False

    def observe(self, load: Load, results: int) -> int:
        """The limit after a report that came with so many results."""
        self._results += results
        self._ran = max(self._ran, load.running)
        self._pressed |= load.preemptions > self._preemptions or (load.waiting > 0 and load.kv_usage >= FULL)
        self._preemptions = load.preemptions
        if self._results >= self.now:
            if self._pressed:
                self.now = min(self.now, math.ceil(OVERCOMMIT * self._ran) + 1)
            else:
                self.now = min(self.most, self.now + max(1, int(GROWTH * self.now)))
            self._begin()
        return self.now
