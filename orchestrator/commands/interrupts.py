"""Ctrl-C, SIGTERM and SIGHUP: the first one ends a command in good order, a second Ctrl-C ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from orchestrator.commands.terminal import note_failure, say, show_failure

INTERRUPTED = 130
"""The exit status of a command that was interrupted."""
GRACE_SECONDS = 20.0
"""Seconds that SIGTERM leaves for an end in good order: who sends it kills after 30, as a rule."""
HINT_SECONDS = 3.0
"""Seconds after which an end in good order says how to end at once."""
LAST_SECONDS = 3.0
"""Seconds that the last words, and the end of a local Ray, may take."""


@contextmanager
def heard(errors: Console, stop: Callable[[], object], last: Callable[[], str]) -> Iterator[None]:
    """Calls ``stop`` in this thread, the main one, at the first Ctrl-C or SIGTERM, or where the terminal goes
    (SIGHUP). At a Ctrl-C after it, or ``GRACE_SECONDS`` after another signal, the program ends with
    ``INTERRUPTED``, whatever it does, after it has said ``last()``.

    In another thread it does nothing. Where SIGINT is ignored, as in a shell's background job, it stays so;
    so does SIGHUP, as by nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    timers: list[threading.Timer] = []

    def later(seconds: float, what: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    def hear(number: int, frame: object) -> None:
        again = bool(timers)
        if again and number == signal.SIGINT:
            end_now(errors, last)
        if number != signal.SIGINT:
            later(GRACE_SECONDS, lambda: end_now(errors, last))
        if not again:
            later(HINT_SECONDS, lambda: say(errors, "ending in good order; Ctrl-C again ends at once"))
            stop()

    others = (signal.SIGINT, signal.SIGHUP)
    numbers = [signal.SIGTERM, *(each for each in others if signal.getsignal(each) != signal.SIG_IGN)]
    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()


def end_now(errors: Console, last: Callable[[], str]) -> None:
    """Ends the program. A strategy that never yields, or a call that never returns, does not keep it."""

    def finish() -> None:
        errors.show_cursor()
        say(errors, f"ended at once; {last()}")
        note_failure("interrupted")
        show_failure()
        if "ray" in sys.modules:
            from actors.deployment import abandon

            abandon()

    finishing = threading.Thread(target=finish, daemon=True)
    finishing.start()
    finishing.join(LAST_SECONDS)
    os._exit(INTERRUPTED)
