"""Replicas without an engine, and the searches that run on them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Container
from functools import partial
from typing import Any

from actors.messages import Finish, ReplicaInfo, Request, Result, SampleResult, ScoreRequest, ScoreResult
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Search
from orchestrator.search.context import Sampling, SearchContext, Transport
from orchestrator.strategies.registry import find

STEP = 7
"""Tokens of a ``Delayed`` replica's step, as the lab's."""
SLOTS = 256
"""Requests that a ``Delayed`` replica runs at once."""


class StandIn:
    """A replica without an engine, which is also its own handle and is never lost."""

    name: str
    places: int
    memory: int
    id = ""

    def __init__(self) -> None:
        self._ready: list[Result] = []
        self._arrived = asyncio.Event()

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self, method)(*args)

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self.name, "stand-in", os.getpid(), 10**6, self.places, self.memory, 0.0)

    async def collect(self) -> list[Any]:
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        ready, self._ready = self._ready, []
        return ready

    def restart(self) -> None: ...

    def kill(self) -> None: ...

    async def abort(self, ids: list[str]) -> None: ...

    async def ping(self) -> float:
        return 0.0

    async def forget(self) -> None: ...

    async def shutdown(self) -> None: ...

    def finish(self, results: list[Result]) -> None:
        """Makes the results ready to be collected."""
        self._ready += results
        self._arrived.set()

    def scored(self, request: ScoreRequest, computed: int) -> ScoreResult:
        """Returns scores that depend on the path alone, for which ``computed`` tokens were computed."""
        scores = tuple(request.tokens[end - 1] / 16 for end in request.step_ends)
        return ScoreResult(request.id, scores, computed, self.name)


class Delayed(StandIn):
    """A replica that answers after a delay, in its caller's process or as a Ray actor."""

    places, memory = SLOTS, 10**9

    def __init__(
        self,
        name: str,
        model: str,
        *,
        seconds: float,
        depth: int,
        prompt: int,
        timed: Container[str] | None = None,
    ) -> None:
        """Answers take ``seconds``, give or take half of that; solutions have ``depth`` steps after a prompt
        of ``prompt`` tokens. The delay is noted of requests whose id is in ``timed`` (None: of all)."""
        super().__init__()
        self.name, self._prompt, self._timed = name, prompt, timed
        self._seconds, self._end = seconds, STEP * depth
        self._random = random.Random(name)
        steps = [tuple(3 + (i >> bit) % 6 for bit in range(STEP)) for i in range(64)]
        self._written = {"step": steps, "end": [step * depth for step in steps]}
        self.took: dict[str, float] = {}
        """The delay of each noted request, in seconds."""
        self.busy = 0.0
        """Processor seconds of the answers themselves, which are not the controller's."""

    async def submit(self, requests: list[Request]) -> None:
        began = time.thread_time()
        seconds = self._seconds * (0.5 + self._random.random())
        for request in requests:
            if self._timed is None or request.id in self._timed:
                self.took[request.id] = seconds
        asyncio.get_running_loop().call_later(seconds, self._answer_all, requests)
        self.busy += time.thread_time() - began

    async def times(self) -> tuple[float, dict[str, float]]:
        """Returns ``busy`` and ``took``."""
        return self.busy, self.took

    def _answer_all(self, requests: list[Request]) -> None:
        began = time.thread_time()
        self.finish([self._answer(request) for request in requests])
        self.busy += time.thread_time() - began

    def _answer(self, request: Request) -> Result:
        if isinstance(request, ScoreRequest):
            return self.scored(request, STEP)
        tokens = self._written[request.until][request.seed % 64]
        finish: Finish = "end" if len(request.prompt) - self._prompt + len(tokens) >= self._end else "step"
        return SampleResult(request.id, tokens, finish, STEP, self.name)


def lab() -> Prepared:
    """Returns the lab with one problem, whose prompt all searches on stand-ins share."""
    return prepare(load(LAB_CONFIG, ["problems.limit=1"]))


def context(
    prepared: Prepared, engine: Transport, step: int, depth: int, journal: Journal | None = None
) -> SearchContext:
    """Returns the context of searches for solutions of ``depth`` steps of at most ``step`` tokens."""
    sampling = Sampling(1.0, 1.0, step, step * depth)
    verifier = prepared.verifier.costs if prepared.verifier is not None else None
    return SearchContext(
        engine, prepared.codec, prepared.generator, verifier, sampling=sampling, journal=journal
    )


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", "", "") for i in range(count)]


def search(n: int, whole: bool) -> Search:
    """Returns best-of-N where solutions are sampled ``whole``, else beam search that scores every sample."""
    params = {} if whole else {"width": 4, "distinct": False}
    name = "best_of_n" if whole else "beam_search"
    return partial(find(name).search, n=n, **params)
