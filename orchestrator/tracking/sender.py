"""Sends the spooled entries of a run to the tracking store: in order, nothing dropped, as fast as the store
bears.

An entry is marked only once it is written, so a crash in between writes the entries of one call again. The
store must bear that; ``mlflow_store`` says how MLflow does.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from itertools import takewhile

from orchestrator.tracking.mlflow_store import Away, MlflowStore, Refused
from orchestrator.tracking.spool import Entry, Held, Metric, Param, Spool

log = logging.getLogger(__name__)

LIMITS: dict[type, int] = {Metric: 1000, Param: 100}
"""The most entries in one call, by their kind: what MLflow's log_batch takes. One of any other kind."""
LARGEST = max(LIMITS.values())
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
"""Seconds to wait after the store was away once, and at most; the wait doubles in between."""
TOLD_AFTER = 3
"""Calls in a row that fail before somebody is told: some seconds, which a server takes to start."""


class Sender:
    """Writes the entries of one spool to the store, in a thread of its own from ``start`` on."""

    def __init__(self, spool: Spool, store: MlflowStore, *, temporary: bool = False) -> None:
        """``temporary``: the spool's directory is removed once all is written."""
        self.away = "too slow"
        """Why not all is written yet."""
        self.refused: list[str] = []
        """Why the store did not take some entries, one line for each."""
        self._spool, self._store, self._temporary = spool, store, temporary
        self._most = LARGEST
        self._failures = 0
        self._notice: Callable[[str], None] | None = None
        self._told = False
        self._progress = 0.0
        self._logged, self._closed, self._left = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="tracking", daemon=True)

    @property
    def waiting(self) -> int:
        """The number of entries that the store does not have."""
        return self._spool.waiting()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def tell(self, notice: Callable[[str], None]) -> None:
        """Has ``notice`` called, from the thread, with one line when the store is away for a while before
        ``close``, and with one when it is back. Where it is away now, it is called at once."""
        self._notice = notice
        self._tell_away()

    def wake(self) -> None:
        """Tells the thread that something was logged."""
        self._logged.set()

    def close(self) -> None:
        """Tells the thread that nothing more will be logged."""
        self._closed.set()
        self._logged.set()

    def finished(self, patience: float) -> bool:
        """Waits until all is written, at most ``patience`` seconds from now or from the last call that
        succeeded.

        Returns False where that was not enough; then the thread writes no more than the call it is in.
        """
        self._progress = time.monotonic()
        while self._thread.is_alive():
            remaining = self._progress + patience - time.monotonic()
            if remaining <= 0:
                self._left.set()
                self._thread.join(0.1)
                return False
            self._thread.join(remaining)
        return True

    def send_next(self) -> int:
        """Makes the next call, if anything waits. Returns how many entries are done with. Raises Away.

        Where the store refuses a call, calls are halved until the entry that is to blame is alone; that one
        is given up.
        """
        while waiting := self._spool.read(LARGEST):
            entries = self._next_call([entry for entry, _ in waiting])
            try:
                self._store.write(entries)
            except Refused as error:
                self._most = len(entries) // 2 or LARGEST
                if len(entries) > 1:
                    continue
                self.refused.append(str(error))
            self._failures = 0
            self._spool.mark(waiting[len(entries) - 1][1])
            return len(entries)
        return 0

    def backoff(self) -> float:
        """Returns the seconds to wait before the next call, now that the store was away once more."""
        self._failures += 1
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10))

    def _next_call(self, waiting: Sequence[Entry]) -> Sequence[Entry]:
        """The first entries, all of one kind and no more than a call takes."""
        kind = type(waiting[0])
        alike = list(takewhile(lambda entry: type(entry) is kind, waiting))
        return alike[: min(self._most, LIMITS.get(kind, 1))]

    def _send_all(self) -> None:
        try:
            while not self._left.is_set():
                self._logged.clear()
                closed = self._closed.is_set()
                try:
                    self._spool.hold()
                    done = self.send_next()
                except (Away, Held, OSError) as error:
                    self.away = str(error)
                    self._pause(closed)
                    continue
                if done:
                    self._progress = time.monotonic()
                    self._tell_back()
                elif closed:
                    if self._temporary:
                        shutil.rmtree(self._spool.directory, ignore_errors=True)
                    break
                else:
                    self._logged.wait()
        finally:
            self._spool.release()

    def _pause(self, closed: bool) -> None:
        """Waits before the next call. The end of the run cuts that short once, and begins with short
        waits."""
        seconds = self.backoff()
        if closed:
            self._left.wait(seconds)
            return
        self._tell_away()
        if self._closed.wait(seconds):
            self._failures = 0

    def _tell_away(self) -> None:
        if self._notice is not None and not self._told and self._failures >= TOLD_AFTER:
            self._told = True
            self._say(self._notice, f"{self.away}; what is logged waits, and the run goes on")

    def _tell_back(self) -> None:
        if self._notice is not None and self._told:
            self._told = False
            self._say(self._notice, "what is logged is written again")

    def _say(self, notice: Callable[[str], None], line: str) -> None:
        """Tells a line. Where that fails, as on a terminal that is gone, the store is written on."""
        try:
            notice(line)
        except Exception:
            log.warning("not told: %s", line, exc_info=True)
