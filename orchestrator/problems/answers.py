"""Reads the answer of a solution's text, and tells whether two answers are the same."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from orchestrator.errors import in_one_line

log = logging.getLogger(__name__)

SECONDS = 10.0
"""The most seconds to read or compare one answer: a model can write 9^(9^(9^9))."""


class Answers(Protocol):
    """Reads and compares the answers of a problem set. Its methods may block: an event loop must not call
    them."""

    def extract(self, text: str) -> str | None:
        """Returns the answer in canonical form (equal strings are equal answers), or None if there is
        none."""

    def correct(self, answer: str | None, truth: str) -> bool:
        """Tells whether an extracted answer is the problem's."""


class Exact:
    """Takes the whole text, without space at its ends, as the answer (the lab's completed grid)."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def correct(self, answer: str | None, truth: str) -> bool:
        return answer is not None and answer == truth.strip()


class Math:
    """Takes the last boxed or final mathematical expression, as LaTeX; math-verify parses and compares it.

    It works in a process of its own, which is ended when it takes too long: then there is no answer, or the
    two are not the same.
    """

    def __init__(self) -> None:
        self._apart = Apart(SECONDS)

    def extract(self, text: str) -> str | None:
        return self._apart(_extract, text, otherwise=None)

    def correct(self, answer: str | None, truth: str) -> bool:
        return answer is not None and self._apart(_same, answer, truth, otherwise=False)


def _extract(text: str) -> str | None:
    import sympy
    from math_verify import parse

    parsed = parse(text, parsing_timeout=None)
    if not parsed:
        return None
    return parsed[0] if isinstance(parsed[0], str) else sympy.latex(parsed[0])


def _same(answer: str, truth: str) -> bool:
    from math_verify import parse, verify

    gold = parse(truth, parsing_timeout=None) or parse(f"${truth}$", parsing_timeout=None)
    given = parse(f"${answer}$", parsing_timeout=None)
    return bool(verify(gold, given, timeout_seconds=None))


class AnswersFailed(Exception):
    """The process that reads and compares answers cannot be had: no answer is judged, right or wrong."""


class Apart:
    """Calls module-level functions in a process of its own. Safe to use from several threads.

    The process starts at the first call, and anew after a call that took more than ``seconds``.
    """

    def __init__(self, seconds: float, *, start_seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any, otherwise: Any) -> Any:
        """Returns what the function returns; ``otherwise`` where it takes too long or raises.

        A process that dies during a call is replaced and the call made once more; a call that ends two
        processes gives ``otherwise`` too, with a warning. Raises AnswersFailed where no process starts.
        """
        with self._lock:
            for attempt in ("first", "second"):
                pipe = self._pipe or self._start()
                try:
                    pipe.send((function, arguments))
                    if pipe.poll(self._seconds):
                        worked, value = pipe.recv()
                        return value if worked else otherwise
                    log.warning("an answer took longer than %g s: %.200r", self._seconds, arguments)
                    self._end()
                    return otherwise
                except (EOFError, OSError):
                    status = self._end()
                    log.warning(
                        "the process that reads answers died (exit status %s) at the %s attempt on %.200r",
                        status,
                        attempt,
                        arguments,
                    )
            return otherwise

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        try:
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
        except OSError as error:  # no memory, no descriptors
            problem = in_one_line(error)
            raise AnswersFailed(f"the process that reads answers does not start ({problem})") from error
        self._pipe, self._process = pipe, process
        theirs.close()
        try:  # its imports are not the first answer's time
            problem = self._pipe.recv() if self._pipe.poll(self._start_seconds) else "it is not up in time"
        except (EOFError, OSError):
            problem = "it died as it started"
        if problem is None:
            return self._pipe
        status = self._end()
        raise AnswersFailed(
            f"the process that reads answers does not start ({problem}; exit status {status}): "
            "no answer is judged"
        )

    def _end(self) -> int | None:
        """Ends the process. Returns the exit status with which it had ended by itself, or None."""
        status = None
        if self._process is not None:
            self._process.join(0.1)
            status = self._process.exitcode
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
        return status


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process
    try:
        import math_verify  # noqa: F401
    except Exception as error:
        pipe.send(in_one_line(error))
        return
    # It warns that it has no limit of time; the parent has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, function(*arguments)))
        except Exception:
            pipe.send((False, None))


ANSWERS: dict[str, Answers] = {"exact": Exact(), "math": Math()}
