"""From a spool to the tracking store: in order, nothing dropped, no faster than the store bears.

What is written is marked only then, so a crash in between writes one call's entries again: the store must
bear that (``mlflow_store`` says how MLflow does).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol

from orchestrator.tracking.spool import Entry, Metric, Param

LIMITS: dict[type, int] = {Metric: 1000, Param: 100}
"""Entries in one call: what MLflow's log_batch takes at most; of other kinds, one."""
LARGEST = max(LIMITS.values())
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
"""How long to wait after the store was away once, and at most; doubled in between."""


class Away(Exception):
    """The store does not answer, or not for now: the same call may succeed later."""


class Refused(Exception):
    """The store will never take this call."""


class Store(Protocol):
    def write(self, entries: Sequence[Entry]) -> None:
        """One call: entries of one kind. Raises Away or Refused."""


class Source(Protocol):
    """A spool."""

    def read(self, most: int) -> list[tuple[Entry, int]]: ...

    def mark(self, position: int) -> None: ...


class Pace:
    """How much the next call takes, and how long to wait for it: the state of a delivery between calls."""

    def __init__(self) -> None:
        self._most = LARGEST
        self._failures = 0

    def call(self, waiting: Sequence[Entry]) -> Sequence[Entry]:
        """The entries of the next call: the first ones, of one kind."""
        kind = type(waiting[0])
        alike = list(takewhile(lambda entry: type(entry) is kind, waiting))
        return alike[: min(self._most, LIMITS.get(kind, 1))]

    def written(self) -> None:
        self._failures = 0

    def refused(self, size: int) -> bool:
        """Whether the entry that is to blame is known and so given up: until it is alone, each time the
        calls are half as large."""
        self._failures = 0
        self._most = size // 2 or LARGEST
        return size == 1

    def away(self) -> float:
        """Seconds to wait before the next call."""
        self._failures += 1
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10))

    def hurry(self) -> None:
        """Begin with short waits again."""
        self._failures = 0


def deliver(source: Source, store: Store, pace: Pace) -> tuple[int, str | None]:
    """Make the next call, if anything waits. Returns how many entries are done with, and, where one was
    given up, why. Raises Away."""
    waiting = source.read(LARGEST)
    if not waiting:
        return 0, None
    entries = pace.call([entry for entry, _ in waiting])
    given_up = None
    try:
        store.write(entries)
        pace.written()
    except Refused as error:
        if not pace.refused(len(entries)):
            return deliver(source, store, pace)
        given_up = str(error)
    source.mark(waiting[len(entries) - 1][1])
    return len(entries), given_up
