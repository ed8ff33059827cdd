"""Engines modelled step by step (places, memory, preemption), on a clock that jumps to the next event.

Results depend on the engines' numbers alone, and only engines take time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from actors.load_meter import LoadMeter
from actors.messages import Finish, Request, Result, SampleRequest, SampleResult, ScoreRequest
from orchestrator.benchmarks.stand_in import StandIn

PLACES = 16
"""Requests that an engine runs at once."""
STEP, DEPTH = 32, 6
"""Most tokens of a search's step; steps of a solution."""
STEP_SECONDS, TOKEN_SECONDS = 4e-3, 15e-5
"""Seconds of an engine's step, and of each token in it."""
TURNAROUND = 1e-4
"""Seconds between two steps of an engine."""


class Clock:
    """A selector that does not wait: its time jumps to the next timer where there is nothing else to do."""

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
    """An event loop whose time is a ``Clock``'s."""

    def __init__(self) -> None:
        self._clock = Clock()
        super().__init__(self._clock)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._clock.now


class AtOnce(Executor):
    """An executor that runs a call at once: reading texts takes none of the engines' time."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def length(seed: int) -> int:
    """Returns a random number of tokens of a step, at least a quarter of the most."""
    return STEP // 4 + seed % (STEP - STEP // 4 + 1)


@dataclass
class Running:
    """A request in an engine."""

    request: Request
    written: int = 0
    """Tokens sampled so far."""
    known: bool = True
    """True if all but the last token, or all but the step to be scored, is in the cache."""

    @property
    def memory(self) -> int:
        """Returns the tokens that the request holds in the cache."""
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
        """Returns the tokens to sample."""
        assert isinstance(self.request, SampleRequest)
        return length(self.request.seed) * (1 if self.request.until == "step" else DEPTH)

    def step(self) -> int:
        """Takes a step; returns the tokens that it computes."""
        known, self.known = self.known, True
        if isinstance(self.request, ScoreRequest):
            return STEP if known else self.memory
        computed = 1 if known else self.memory
        self.written += 1
        return computed


@dataclass
class Engine(StandIn):
    """An engine that runs, as vLLM does, the requests that its places and its memory hold. Where memory runs
    out, the request that was admitted last is taken out, and later all of its tokens are computed again."""

    name: str
    memory: int
    """Tokens that the cache holds."""
    places: int = PLACES
    used: list[tuple[float, float]] = field(default_factory=list)
    """For each step, the time of its start, and the places in use times its seconds."""
    computed: int = 0
    """Tokens computed."""
    again: int = 0
    """Tokens of these that were computed before."""
    preemptions: int = 0
    _waiting: deque[Running] = field(default_factory=deque)
    _running: list[Running] = field(default_factory=list)
    _ticking: bool = False
    _meter: LoadMeter = field(default_factory=LoadMeter)
    _usage: float = 0.0
    """Share of the memory that the running step uses."""

    def __post_init__(self) -> None:
        super().__init__()

    async def submit(self, requests: list[Request]) -> None:
        self._waiting.extend(Running(request) for request in requests)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TURNAROUND, self._tick)

    async def collect(self) -> list[Any]:
        return [*await super().collect(), self._meter.report()]

    def _tick(self) -> None:
        """Takes the next step; what it finishes is ready when the step ends."""
        held = sum(request.memory for request in self._running)
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
        again = sum(request.memory for request in self._running if not request.known)
        computed = sum(request.step() for request in self._running)
        self.computed += computed
        self.again += again
        self._usage = held / self.memory
        loop, seconds = asyncio.get_running_loop(), STEP_SECONDS + TOKEN_SECONDS * computed
        self.used.append((loop.time(), len(self._running) * seconds))
        loop.call_later(seconds, self._stepped)

    def _stepped(self) -> None:
        done = [request for request in self._running if request.done]
        self._running = [request for request in self._running if not request.done]
        self._meter.stepped(
            running=len(self._running),
            finished=len(done),
            waiting=len(self._waiting),
            kv_usage=self._usage,
            preemptions=self.preemptions,
        )
        if done:
            self.finish([self._answer(running.request) for running in done])
        self._ticking = bool(self._running or self._waiting)
        if self._ticking:
            # Not at once: an engine looks for the requests that its results lead to before its next step.
            asyncio.get_running_loop().call_later(TURNAROUND, self._tick)

    def _answer(self, request: Request) -> Result:
        if isinstance(request, ScoreRequest):
            return self.scored(request, STEP)
        step = tuple(3 + (request.seed >> i) % 6 for i in range(length(request.seed)))
        if request.until == "end":
            return SampleResult(request.id, step * DEPTH, "end", len(step) * DEPTH, self.name)
        finish: Finish = "end" if request.id.count(".") == DEPTH - 1 else "step"  # its path is in its id
        return SampleResult(request.id, step, finish, len(step), self.name)
