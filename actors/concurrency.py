"""Limits the requests that a replica is given at once: a pure state machine, no clock and no I/O.

An engine is full by places (``max_num_seqs``, known beforehand) or by memory (its KV cache, which shows only
as pressure). The limit is always a little more than the engine runs: than its places at first, and under
pressure than the engine was seen to run. So requests that the engine cannot run go to the first replica that
has room, and fewer are preempted. The limit never falls below what the engine runs: vLLM's scheduler fills
its memory better than a guess from outside.

The limit changes once a turnover, which is as many results as the limit is large.

Invariant: 1 <= limit <= OVERCOMMIT · places, rounded up.
"""

from __future__ import annotations

import math

from actors.messages import Load

OVERCOMMIT = 1.25
"""The limit over what the engine runs at once: a next request is at hand when a place is free, and requests
are still bound late."""

FULL = 0.8
"""The share of the cache in use from which a request that waits in the engine waits for memory, not for a
place."""

GROWTH = 0.1
"""The share, and at least one request, by which the limit grows in a turnover without pressure."""


class ConcurrencyLimit:
    """The limit of one replica, whose engine runs ``places`` requests at once.

    Attributes:
        now: the limit, in requests.
        most: the largest that it can be.
    """

    def __init__(self, places: int) -> None:
        self.most = math.ceil(OVERCOMMIT * places)
        self.now = self.most
        self._preemptions = 0
        self._begin()

    def _begin(self) -> None:
        """Begins a turnover."""
        self._results, self._ran, self._pressed = 0, 0, False

    def observe(self, load: Load, results: int) -> int:
        """Returns the limit after a report of the engine's load that came with so many results."""
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
