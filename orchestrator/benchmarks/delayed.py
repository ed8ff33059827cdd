"""A replica without an engine: it answers after a delay, in its caller's process or as a Ray actor."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Container

from actors.messages import (
    Finish,
    ReplicaInfo,
    Request,
    Result,
    SampleResult,
    ScoreRequest,
)
from orchestrator.benchmarks.in_process import InProcess

SLOTS = 256
"""Requests that it runs at once."""
STEP = 7
"""Tokens of a step."""


class Delayed(InProcess):
    """Answers in ``seconds``, give or take half of that: solutions of ``depth`` steps after a prompt of so
    many tokens. ``timed``: ids whose time is noted; None: all."""

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
        self.name, self._prompt, self._timed = name, prompt, timed
        self._seconds, self._end = seconds, STEP * depth
        self._random = random.Random(name)
        steps = [tuple(3 + (i >> bit) % 6 for bit in range(STEP)) for i in range(64)]
        self._written = {"step": steps, "end": [step * depth for step in steps]}
        self._ready: list[Result] = []
        self._arrived = asyncio.Event()
        self.took: dict[str, float] = {}
        """How long the request of an id was here, in seconds."""
        self.busy = 0.0
        """Processor seconds of the answers themselves, which are not the controller's."""

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self.name, "delayed", os.getpid(), 10**6, SLOTS, 10**9, 0.0)

    async def submit(self, requests: list[Request]) -> None:
        began = time.thread_time()
        seconds = self._seconds * (0.5 + self._random.random())
        for request in requests:
            if self._timed is None or request.id in self._timed:
                self.took[request.id] = seconds
        asyncio.get_running_loop().call_later(seconds, self._finish, requests)
        self.busy += time.thread_time() - began

    async def collect(self) -> list[Result]:
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        ready, self._ready = self._ready, []
        return ready

    async def times(self) -> tuple[float, dict[str, float]]:
        """``busy`` and ``took``."""
        return self.busy, self.took

    def _finish(self, requests: list[Request]) -> None:
        began = time.thread_time()
        self._ready += [self._answer(request) for request in requests]
        self._arrived.set()
        self.busy += time.thread_time() - began

    def _answer(self, request: Request) -> Result:
        if isinstance(request, ScoreRequest):
            return self.scored(request, STEP)
        tokens = self._written[request.until][request.seed % 64]
        finish: Finish = "end" if len(request.prompt) - self._prompt + len(tokens) >= self._end else "step"
        return SampleResult(request.id, tokens, finish, STEP, self.name)
