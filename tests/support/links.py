"""Links to replicas in this process, whose calls fail at a chosen moment: no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actors.messages import ReplicaInfo, SampleRequest, SampleResult
from actors.pool import Pool
from actors.replica import Replica
from actors.spec import PoolSpec


class Scripted:
    """A replica of ``capacity`` that answers with the seed, at once; never if the seed is -1. Calls are kept
    in ``calls``; ``before(method, argument)`` may wait, or raise what the link then raises."""

    id = ""

    def __init__(self, name: str, capacity: int = 4) -> None:
        self.name, self.capacity, self.pid = name, capacity, 1
        self.calls: list[tuple[str, Any]] = []
        self.before: Callable[[str, Any], Any] | None = None
        self.running: set[str] = set()
        self.ready: asyncio.Queue[SampleResult] = asyncio.Queue()

    async def call(self, method: str, argument: Any = None) -> Any:
        self.calls.append((method, argument))
        if self.before is not None and (waiting := self.before(method, argument)) is not None:
            await waiting
        return await getattr(self, method)(argument)

    def restart(self) -> None:
        self.calls.append(("restart", None))
        self.running.clear()

    def kill(self) -> None:
        self.calls.append(("kill", None))

    async def info(self, _: None) -> ReplicaInfo:
        return ReplicaInfo(self.name, "node", self.pid, 100, self.capacity, 1000, 0.0)

    async def submit(self, requests: list[SampleRequest]) -> None:
        for request in requests:
            if request.id in self.running:  # as a replica does
                continue
            self.running.add(request.id)
            if request.seed != -1:
                self.ready.put_nowait(SampleResult(request.id, (request.seed,), "step", 1, self.name))

    async def collect(self, _: None) -> list[SampleResult]:
        result = await self.ready.get()
        self.running.discard(result.id)
        return [result]

    async def abort(self, ids: list[str]) -> None:
        self.running.difference_update(ids)

    async def ping(self, _: None) -> float:
        return 0.0

    async def shutdown(self, _: None) -> None: ...

    def called(self, method: str) -> list[Any]:
        return [argument for name, argument in self.calls if name == method]


async def started(replicas: int = 1, **values: Any) -> tuple[Pool[SampleResult], list[Scripted]]:
    """A pool, and its replicas' links in the order of their making."""
    links: list[Scripted] = []

    def connect(_: PoolSpec, name: str) -> Scripted:
        links.append(Scripted(name))
        return links[-1]

    pool: Pool[SampleResult] = Pool(PoolSpec("scripted", Replica, "model", replicas, **values), connect)
    await pool.start(10)
    return pool, links


def request(id: str, seed: int) -> SampleRequest:
    return SampleRequest(id, (1,), seed, 1)


async def until(found: Callable[[], Any]) -> None:
    for _ in range(2000):
        if found():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in 20 s")
