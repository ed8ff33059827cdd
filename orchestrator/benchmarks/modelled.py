"""Engines modelled step by step (places, memory, preemption), on a clock that jumps to the next event: what
they do is a function of their numbers, and time is theirs alone."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from actors.load_meter import LoadMeter
from actors.messages import (
    Finish,
    ReplicaInfo,
    Request,
    Result,
    SampleRequest,
    SampleResult,
    ScoreRequest,
)
from orchestrator.benchmarks.in_process import InProcess

PLACES = 16
STEP, DEPTH = 32, 6
"""The most tokens of a step; steps of a solution."""
STEP_SECONDS, TOKEN_SECONDS = 4e-3, 15e-5
"""What an engine step takes, and each token in it."""
TURNAROUND = 1e-4
"""Seconds from one step to the next."""


class Clock:
    """A selector that does not wait: time jumps to the next timer where nothing else is to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self._real = selectors.DefaultSelector()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> Any:
        events = self._real.select(None if timeout is None else 0)
        if not events and timeout is not None:
            self.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = Clock()
        super().__init__(self._clock)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._clock.now


class AtOnce(Executor):
    """Judging takes none of the engines' time."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def length(seed: int) -> int:
    """Tokens of a step, by chance: from a quarter of the most."""
    return STEP // 4 + seed % (STEP - STEP // 4 + 1)


@dataclass
class Running:
    request: Request
    written: int = 0
    """Tokens that it has sampled."""
    known: bool = True
    """Whether all but its last token, or the step to be scored, is in the cache."""

    @property
    def memory(self) -> int:
        """Tokens that it holds."""
        if isinstance(self.request, ScoreRequest):
            return len(self.request.tokens)
        return len(self.request.prompt) + self.written

    @property
    def done(self) -> bool:
        if isinstance(self.request, ScoreRequest):
            return True
        return self.written == self.most

    @property
    def most(self) -> int:
        """Tokens that it is to sample."""
        assert isinstance(self.request, SampleRequest)
        return length(self.request.seed) * (1 if self.request.until == "step" else DEPTH)

    def step(self) -> int:
        """Take a step; the tokens that it computes."""
        known, self.known = self.known, True
        if isinstance(self.request, ScoreRequest):
            return STEP if known else self.memory
        computed = 1 if known else self.memory
        self.written += 1
        return computed


@dataclass
class Engine(InProcess):
    """An engine as vLLM is one: it runs what its places and its memory hold; where memory runs
    out, what was admitted last is taken out again, and later all of its tokens are computed once more."""

    name: str
    memory: int
    used: list[tuple[float, float]] = field(default_factory=list)
    """When a step began, and the places that it used times the seconds that it took."""
    computed: int = 0
    again: int = 0
    """Tokens, and those of them that were computed once more."""
    _waiting: deque[Running] = field(default_factory=deque)
    _running: list[Running] = field(default_factory=list)
    _ready: list[Result] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _ticking: bool = False
    _gauge: LoadMeter = field(default_factory=LoadMeter)
    _usage: float = 0.0
    """Of its memory, by the step that runs."""
    preemptions: int = 0

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self.name, "modelled", os.getpid(), 10**6, PLACES, self.memory, 0.0)

    async def submit(self, requests: list[Request]) -> None:
        self._waiting.extend(Running(request) for request in requests)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TURNAROUND, self._tick)

    async def collect(self) -> list[Any]:
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        ready, self._ready = self._ready, []
        return [*ready, self._gauge.report()]

    def _tick(self) -> None:
        """Decide on the next step and take it; what it finishes is ready when it ends."""
        held = sum(each.memory for each in self._running)
        while self._waiting and len(self._running) < PLACES:
            if self._running and held + self._waiting[0].memory > self.memory:
                break
            held += self._waiting[0].memory
            self._running.append(self._waiting.popleft())
        while held + len(self._running) > self.memory and len(self._running) > 1:
            out = self._running.pop()
            held -= out.memory
            out.known = False
            self.preemptions += 1
            self._waiting.appendleft(out)
        again = sum(each.memory for each in self._running if not each.known)
        computed = sum(each.step() for each in self._running)
        self.computed += computed
        self.again += again
        self._usage = held / self.memory
        loop, seconds = asyncio.get_running_loop(), STEP_SECONDS + TOKEN_SECONDS * computed
        self.used.append((loop.time(), len(self._running) * seconds))
        loop.call_later(seconds, self._stepped)

    def _stepped(self) -> None:
        done = [each for each in self._running if each.done]
        self._running = [each for each in self._running if not each.done]
        self._gauge.stepped(
            running=len(self._running),
            finished=len(done),
            waiting=len(self._waiting),
            kv_usage=self._usage,
            preemptions=self.preemptions,
        )
        self._ready += [self._answer(each.request) for each in done]
        if done:
            self._arrived.set()
        self._ticking = bool(self._running or self._waiting)
        if self._ticking:
            # After what these results bring: as an engine, which looks for new requests before each step.
            asyncio.get_running_loop().call_later(TURNAROUND, self._tick)

    def _answer(self, request: Request) -> Result:
        if isinstance(request, ScoreRequest):
            return self.scored(request, STEP)
        step = tuple(3 + (request.seed >> i) % 6 for i in range(length(request.seed)))
        if request.until == "end":
            return SampleResult(request.id, step * DEPTH, "end", len(step) * DEPTH, self.name)
        finish: Finish = "end" if request.id.count(".") == DEPTH - 1 else "step"  # its path is in its id
        return SampleResult(request.id, step, finish, len(step), self.name)
