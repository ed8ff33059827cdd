"""From a solution's text to its answer, and whether two answers are the same."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

SECONDS = 10.0
"""The longest that one answer may take to be read or compared: a model can write 9^(9^(9^9))."""


class Answers(Protocol):
    """How the answers of a problem set are read and compared. May block: not for an event loop."""

    def extract(self, text: str) -> str | None:
        """The answer in canonical form (equal strings are equal answers), or None if there is none."""

    def correct(self, answer: str | None, truth: str) -> bool:
        """Whether an extracted answer is the problem's."""


class Exact:
    """The whole text, without space at its ends, is the answer (the lab's completed grid)."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def correct(self, answer: str | None, truth: str) -> bool:
        return answer is not None and answer == truth.strip()


class Math:
    """The last boxed or final mathematical expression, as LaTeX; math-verify parses and compares it.

    In a process of its own, which is ended when it takes too long: then there is no answer, or the two
    are not the same.
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


class Apart:
    """Calls of module-level functions in one process of its own, started at the first call and anew
    after a call that took more than ``seconds``. Safe to use from several threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any, otherwise: Any) -> Any:
        """What the function returns; ``otherwise`` if it takes too long or fails."""
        with self._lock:
            try:
                pipe = self._pipe or self._start()
                pipe.send((function, arguments))
                if pipe.poll(self._seconds):
                    worked, value = pipe.recv()
                    return value if worked else otherwise
            except (EOFError, OSError):
                pass
            self._end()
            return otherwise

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if self._pipe.poll(60.0):  # its imports are not the first answer's time
            self._pipe.recv()
        return self._pipe

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process
    import math_verify  # noqa: F401

    # It warns that it has no limit of time; the parent has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    pipe.send("ready")
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
