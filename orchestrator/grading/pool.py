"""Calls functions in a few processes of their own, each call within a time limit.

What hangs is ended, and what ends its process is tried once more; then it is remembered and never called
again. The processes start when there is work, and yield the processors to whatever else runs.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from orchestrator.errors import in_one_line

log = logging.getLogger(__name__)

SECONDS = 10.0
"""The most seconds of one call."""
START_SECONDS = 60.0
"""The most seconds until a process is up."""
CHUNK = 64
"""Calls that a process is given at once."""
NICE = 5
"""How far the processes stand back behind the engines."""


class AnswersFailed(Exception):
    """The process that reads and compares answers cannot be had: no answer is judged, right or wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call."""

    value: Any = None
    failure: str | None = None
    """Why there is no value: ``TIMED_OUT``, ``DIED``, ``REFUSED``, or an error in one line; None where there
    is one."""


TIMED_OUT, DIED, REFUSED = "timed out", "ended its process", "refused"


@dataclass
class _Batch:
    """Calls that were submitted together."""

    function: Callable[..., Any]
    items: Sequence[tuple[Any, ...]]
    future: Future[list[Outcome]] = field(default_factory=Future)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def done(self, index: int, outcome: Outcome) -> None:
        with self.lock:
            self.outcomes[index] = outcome
            whole = len(self.outcomes) == len(self.items)
        if whole and self.future.set_running_or_notify_cancel():
            self.future.set_result([self.outcomes[i] for i in range(len(self.items))])

    def failed(self, error: Exception) -> None:
        with self.lock:
            over = self.future.done()
            if not over and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)


class Pool:
    """A few processes, each fed by a thread. Safe to use from several threads and event loops."""

    def __init__(
        self, processes: int | None = None, *, seconds: float = SECONDS, start_seconds: float = START_SECONDS
    ) -> None:
        self._most = processes or max(1, len(os.sched_getaffinity(0)))
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._queue: queue.SimpleQueue[tuple[_Batch, list[int]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._idle = 0
        self._hostile: set[bytes] = set()

    def submit(self, function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Future[list[Outcome]]:
        """Calls a function of a module once for each item's arguments. Returns a future of the outcomes, in
        the order of the items; it raises AnswersFailed where no process starts."""
        batch = _Batch(function, items)
        if not items:
            batch.future.set_result([])
            return batch.future
        calls = []
        for index, arguments in enumerate(items):
            if self._hostile and _identity(function, arguments) in self._hostile:
                batch.done(index, Outcome(failure=REFUSED))
            else:
                calls.append(index)
        # Smaller chunks where there are few calls, so that all processes have some.
        size = max(1, min(CHUNK, -(-len(calls) // self._most)))
        chunks = [calls[at : at + size] for at in range(0, len(calls), size)]
        with self._lock:
            wanted = min(self._most, len(self._workers) + max(0, len(chunks) - self._idle))
            while len(self._workers) < wanted:
                self._workers.append(_Worker(self))
        for chunk in chunks:
            self._queue.put((batch, chunk))
        return batch.future

    def close(self) -> None:
        """Ends the processes once what was submitted is done. A call after that starts new ones."""
        with self._lock:
            workers, self._workers = self._workers, []
        for _ in workers:
            self._queue.put(None)
        for worker in workers:
            worker.thread.join()

    def take(self) -> tuple[_Batch, list[int]] | None:
        """Waits for work; called by the threads."""
        with self._lock:
            self._idle += 1
        try:
            return self._queue.get()
        finally:
            with self._lock:
                self._idle -= 1

    def remember(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Refuses this call from now on."""
        self._hostile.add(_identity(function, arguments))

    def start(self) -> _Process:
        """Returns a process that is up. Raises AnswersFailed."""
        return _Process(self._seconds, self._start_seconds)


def _identity(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(pickle.dumps((function, arguments))).digest()


class _Worker:
    """A thread that feeds one process at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._process: _Process | None = None
        self.thread = threading.Thread(target=self._run, name="grading", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (work := self._pool.take()) is not None:
            batch, indices = work
            try:
                self._do(batch, indices)
            except Exception as error:
                if self._process is not None:
                    self._process.end()
                    self._process = None
                batch.failed(error)
        if self._process is not None:
            self._process.end()

    def _do(self, batch: _Batch, indices: list[int]) -> None:
        died = -1
        while indices and not batch.future.cancelled():
            if self._process is None:
                self._process = self._pool.start()
            first = indices[0]
            # What ended a process is called again alone: its neighbours are not suspected.
            now = indices[:1] if first == died else indices
            done, failure = self._process.call(batch.function, [batch.items[i] for i in now])
            for index, outcome in zip(now, done, strict=False):
                batch.done(index, outcome)
            indices = indices[len(done) :]
            if failure is None:
                continue
            culprit = indices[0]
            status = self._process.end()
            self._process = None
            if failure == DIED and culprit != died:
                died = culprit
                log.warning(
                    "the process that reads answers died (exit status %s) at the first attempt on %.300r",
                    status,
                    batch.items[culprit],
                )
                continue
            self._pool.remember(batch.function, batch.items[culprit])
            log.warning("an answer %s, and is not tried again: %.300r", failure, batch.items[culprit])
            batch.done(culprit, Outcome(failure=failure))
            indices = indices[1:]


class _Process:
    """A process that serves calls."""

    def __init__(self, seconds: float, start_seconds: float) -> None:
        self._seconds, self._start_seconds = seconds, start_seconds
        context = multiprocessing.get_context("spawn")
        try:
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
        except OSError as error:  # no memory, no descriptors
            problem = in_one_line(error)
            raise AnswersFailed(f"the process that reads answers does not start ({problem})") from error
        theirs.close()
        try:  # its imports are not the first answer's time
            problem = self._pipe.recv() if self._pipe.poll(start_seconds) else "it is not up in time"
        except (EOFError, OSError):
            problem = "it died as it started"
        if problem is not None:
            status = self.end()
            raise AnswersFailed(
                f"the process that reads answers does not start ({problem}; exit status {status}): "
                "no answer is judged"
            )

    def call(
        self, function: Callable[..., Any], items: list[tuple[Any, ...]]
    ) -> tuple[list[Outcome], str | None]:
        """Returns the outcomes up to the call that hangs or ends the process, and which of the two it did;
        None where all returned. Raises AnswersFailed where what is called is not loaded in time."""
        done: list[Outcome] = []
        try:
            self._pipe.send((function, items))
            if not self._pipe.poll(self._start_seconds):
                raise AnswersFailed(f"{function.__name__} is not loaded in {self._start_seconds:g} s")
            if (problem := self._pipe.recv()) is not None:  # a user's file may have changed
                return [Outcome(failure=problem)] * len(items), None
            for _ in items:
                if not self._pipe.poll(self._seconds):
                    return done, TIMED_OUT
                worked, value = self._pipe.recv()
                done.append(Outcome(value) if worked else Outcome(failure=value))
        except (EOFError, OSError):
            return done, DIED
        return done, None

    def end(self) -> int | None:
        """Ends the process. Returns the exit status with which it had ended by itself, or None."""
        self._process.join(0.1)
        status = self._process.exitcode
        self._process.kill()
        self._process.join()
        self._pipe.close()
        return status


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process
    os.nice(NICE)
    os.dup2(2, 1)  # what a user's code prints is not the command's output
    try:
        import orchestrator.grading.registry  # noqa: F401
    except Exception as error:
        pipe.send(in_one_line(error))
        return
    pipe.send(None)
    while True:
        try:
            function, items = pipe.recv()
        except EOFError:
            return
        except BaseException as error:
            pipe.send(in_one_line(error, frame=True))
            continue
        pipe.send(None)  # imports, a user's file among them, are not the first call's time
        for arguments in items:
            try:
                reply = True, function(*arguments)
            except BaseException as error:  # a user's code may call exit()
                reply = False, in_one_line(error, frame=True)
            pipe.send(reply)


_shared: Pool | None = None


def shared() -> Pool:
    """Returns the pool that all runs of this process share."""
    global _shared
    if _shared is None:
        _shared = Pool()
    return _shared
