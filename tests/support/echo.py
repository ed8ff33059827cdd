"""Replicas that compute nothing, and requests to them."""

from __future__ import annotations

import asyncio
import os
import time

from actors.messages import Failure, ReplicaInfo, SampleRequest, SampleResult


class Echo:
    """A replica without an engine: answers with the seed, after ``seconds``; never if the seed is -1."""

    def __init__(
        self,
        name: str,
        model: str,
        *,
        seconds: float = 0.0,
        capacity: int = 4,
        blocker: str = "",
        hang: str = "",
    ) -> None:
        if hang and os.path.exists(hang):
            with open(hang, "a") as file:
                print(os.getpid(), file=file)
            time.sleep(3600)
        if model == "broken" or (blocker and os.path.exists(blocker)):
            raise ValueError("the model does not load")
        self.name, self.seconds, self.capacity = name, seconds, capacity
        self.tasks: dict[str, asyncio.Task] = {}
        self.ready: asyncio.Queue = asyncio.Queue()
        self.aborted: list[str] = []

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self.name, "node", os.getpid(), 100, self.capacity, 1000, 0.0)

    async def submit(self, requests: list[SampleRequest]) -> None:
        for request in requests:
            self.tasks[request.id] = asyncio.create_task(self.answer(request))

    async def answer(self, request: SampleRequest) -> None:
        await asyncio.sleep(3600 if request.seed == -1 else self.seconds)
        if request.seed == -3:
            os._exit(1)
        if request.seed == -2:
            await self.ready.put(Failure(request.id, f"{self.name}: prompt too long", self.name))
        await self.ready.put(SampleResult(request.id, (request.seed,), "step", 1, self.name))

    async def collect(self) -> list:
        return [await self.ready.get()]

    async def ping(self) -> float:
        return 0.0

    async def forget(self) -> None:
        pass

    async def abort(self, ids: list[str]) -> None:
        for id in ids:
            self.aborted.append(id)
            if id in self.tasks:
                self.tasks[id].cancel()

    async def shutdown(self) -> None:
        pass


def request(index: int, *, seed: int | None = None) -> SampleRequest:
    return SampleRequest(str(index), (1,), index if seed is None else seed, 1, affinity=str(index % 5))
