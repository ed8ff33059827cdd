"""Says which strategy lets nothing else work, or gets no further.

One event loop runs all searches. A strategy that computes without ever awaiting stops them all, and the
terminal would go on to show a run that looks slow; so a thread looks whether the loop still turns.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

from orchestrator.errors import users_place
from orchestrator.runs.at_work import AtWork

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
BLOCKED_LOOKS, IDLE_LOOKS = 10, 30
LOOP_FILES = ("asyncio/runners.py", "asyncio/base_events.py", "asyncio/events.py")


class Patience:
    """Counts looks that see no progress, and tells when it is time to say so: after ``first`` of them, then
    each time that they are twice as many."""

    def __init__(self, first: int) -> None:
        self._first = self._next = first
        self._count = 0
        self._seen: object = None

    def look(self, progress: object) -> int:
        """Returns how many looks saw the same ``progress`` where it is time to say so, else 0."""
        if progress != self._seen:
            self._seen, self._count, self._next = progress, 0, self._first
            return 0
        self._count += 1
        if self._count < self._next:
            return 0
        self._next *= 2
        return self._count


class Watchdog:
    """Looks after the searches of one run while it is entered, from the thread of their event loop."""

    def __init__(
        self, strategy: str, at_work: AtWork, busy: Callable[[], bool], notice: Callable[[str], None]
    ) -> None:
        """``busy`` tells whether engines have requests; ``notice`` is called with a line, also from another
        thread."""
        self._strategy, self._at_work, self._busy, self._notice = strategy, at_work, busy, notice
        self._beats = 0
        self._blocked, self._idle = Patience(BLOCKED_LOOKS), Patience(IDLE_LOOKS)
        self._ended = threading.Event()
        self._beat: asyncio.TimerHandle | None = None

    def __enter__(self) -> Watchdog:
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._turn()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._beat is not None:
            self._beat.cancel()

    def _turn(self) -> None:
        """Is called by the event loop, as long as it turns."""
        self._beats += 1
        progress = object() if self._busy() else (self._at_work.ended, self._at_work.operations)
        if looks := self._idle.look(progress):
            self._say_idle(looks * LOOK_SECONDS)
        self._beat = self._loop.call_later(LOOK_SECONDS, self._turn)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            if looks := self._blocked.look(self._beats):
                self._say_blocked(looks * LOOK_SECONDS)

    def _say_blocked(self, seconds: float) -> None:
        stack = traceback.extract_stack(sys._current_frames().get(self._thread))
        inner = [i for i, frame in enumerate(stack) if frame.filename.endswith(LOOP_FILES)]
        frames = stack[inner[-1] + 1 :] if inner else list(stack)
        place = users_place(frames)
        if place is None:
            log.warning(
                "the controller computes for %.0f s:\n%s", seconds, "".join(traceback.format_list(frames))
            )
            return
        line = f"strategy {self._strategy} computes for {seconds:.0f} s without an await: {place}"
        log.warning("%s", line)
        self._notice(f"{line}; all other searches wait for it. Ctrl-C twice ends the run")

    def _say_idle(self, seconds: float) -> None:
        for place, problems in self._at_work.places.items():
            others = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            line = (
                f"strategy {self._strategy} has no operation under way for {seconds:.0f} s: {place} "
                f"(problem {problems[0]}{others})"
            )
            log.warning("%s", line)
            self._notice(line)
