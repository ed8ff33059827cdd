"""When the operations of a run were sent and answered: ``times.jsonl`` in its directory, a line for each
search as it ends.

The journal has no times, so that what is replayed does not depend on a clock. A run that goes on adds the
times of what it does itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from actors.messages import Request

log = logging.getLogger(__name__)

FILE = "times.jsonl"
"""The file's name. A line is ``[problem, began, {operation: [ms, ms, ms, [replica, …]]}]``: ``began`` in
seconds since 1970, then milliseconds from there to when the operation was sent, from that to its answer, and
how many of these passed before it was taken to the replica that answered. Then the replicas that were lost
with it, before that one. What is missing is not known, or there is none."""


class Taken:
    """When requests were taken to a replica, after they had waited for a place at one, and to which."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[float, str]] = {}
        self._lost: dict[str, list[str]] = {}
        """The replicas that were lost with a request."""

    def note(self, replica: str, requests: Iterable[Request]) -> None:
        """Notes requests that are taken to a replica now. One that was lost with its replica is taken
        again."""
        now = time.time()
        for request in requests:
            if (before := self._at.get(request.id)) is not None:
                self._lost.setdefault(request.id, []).append(before[1])
            self._at[request.id] = now, replica

    def pop(self, operation: str) -> tuple[float, list[str]] | None:
        """Returns when an operation was taken to the replica that answered, in seconds since 1970, and the
        names of those that were lost with it, and forgets it; None where that is not known."""
        if (taken := self._at.pop(operation, None)) is None:
            return None
        return taken[0], self._lost.pop(operation, [])


class TimesFile:
    """The times of a run's operations, on disk."""

    def __init__(self, directory: Path, taken: Taken | None = None) -> None:
        self._path = directory / FILE
        self._taken = taken or Taken()
        self._failed = False

    def add(self, problem: str, times: Mapping[str, tuple[float, float]]) -> None:
        """Appends the times of a search, by its operations' keys. A disk that does not take them costs the
        run its times alone."""
        if not times:
            return
        began = min(sent for sent, _ in times.values())
        line = msgspec.json.encode(
            (
                problem,
                round(began, 3),
                {
                    key.removeprefix(f"{problem}/"): (
                        _ms(sent - began),
                        _ms(answered - sent),
                        *self._waited(key, sent),
                    )
                    for key, (sent, answered) in times.items()
                },
            )
        )
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n" if self._whole() else b"\n" + line + b"\n")
        except OSError as error:
            if not self._failed:
                log.warning("%s: %s", self._path, error)
            self._failed = True

    def _waited(self, key: str, sent: float) -> tuple[int | list[str], ...]:
        if (found := self._taken.pop(key)) is None:
            return ()
        taken, lost = found
        return (_ms(taken - sent), lost) if lost else (_ms(taken - sent),)

    def _whole(self) -> bool:
        """Whether the last line has an end: one that was torn must not take the next one with it."""
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _ms(seconds: float) -> int:
    return max(0, round(1000 * seconds))
