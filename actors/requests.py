"""The requests of a pool: each waits, or runs at a replica, and its caller awaits the result.

No I/O: what a replica must be told, its pool is asked to tell it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actors.messages import Failure, Request, RequestFailed, Result, SampleResult
from actors.routing import Router

MAX_LOSSES = 5
"""A request with so many losses (see ``Router.losses``) is what kills its replicas, and fails."""


@dataclass
class PoolStats:
    """Counts of one pool since its start."""

    requests: int = 0
    retried: int = 0
    """Requests that ran at a replica when it was lost, once for each loss."""
    lost_replicas: int = 0
    tokens: int = 0
    """New tokens of the samples that were made."""
    busy_seconds: float = 0.0
    """The time in which a replica had running requests, summed over replicas, up to when it last had none."""


class Requests:
    """Gives requests to replicas and results to callers.

    Attributes:
        stats: what was counted since the start.
    """

    def __init__(self, wake: Callable[[str], None], abort: Callable[[str, str], None]) -> None:
        """``wake`` is called with the name of a replica that should ``take`` now; ``abort`` with a replica's
        name and the id of a request that runs there and that nobody awaits any more."""
        self.stats = PoolStats()
        self._router = Router()
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._busy_since: dict[str, float] = {}
        self._wake = wake
        self._abort = abort

    async def answer(self, request: Request) -> Any:
        """Returns the result of ``request``. Raises RequestFailed where it can never be answered, and what
        ``fail`` is given."""
        if request.id in self._futures:
            raise ValueError(f"request {request.id} is already in flight")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._futures[request.id] = future
        self.stats.requests += 1
        self._router.put(request)
        self._changed()
        try:
            return await future
        finally:
            del self._futures[request.id]
            if (name := self._router.drop(request.id)) is not None:  # no result came: nobody awaits it now
                self._abort(name, request.id)
                self._changed(name)

    def join(self, replica: str, capacity: int) -> None:
        """Adds a replica that runs at most ``capacity`` requests at a time."""
        self._router.join(replica, capacity)
        self._changed()

    def resize(self, replica: str, capacity: int) -> None:
        """Sets the number of requests that the replica runs at most."""
        self._router.resize(replica, capacity)
        self._changed()

    def leave(self, replica: str, why: str) -> list[str]:
        """Gives a lost replica's requests to the others, and fails one that kills its replicas. Returns the
        ids of those that ran there."""
        lost = self._router.leave(replica)
        self.stats.lost_replicas += 1
        self.stats.retried += len(lost)
        for id in lost:
            future = self._futures.get(id)
            if self._router.losses(id) >= MAX_LOSSES and future is not None and not future.done():
                self._router.drop(id)
                problem = f"request {id} was in flight at {MAX_LOSSES} replicas when they were lost; "
                problem += f"the last one, {replica}: {why} (a resumed run tries it again)"
                future.set_exception(RequestFailed(problem))
        self._changed(replica)
        return lost

    def take(self, replica: str) -> Sequence[Request]:
        """Returns the requests that the replica runs from now on."""
        batch = self._router.take(replica)
        self._changed(replica)
        return batch

    def settle(self, replica: str, results: Sequence[Result | Failure]) -> None:
        """Gives results to their callers. One of a request that does not run there any more is ignored."""
        for result in results:
            if self._router.done(replica, result.id):  # else aborted, or already done by another replica
                self._give(result)
        self._changed(replica)

    def _give(self, result: Result | Failure) -> None:
        future = self._futures.get(result.id)
        if future is None or future.done():
            return
        if isinstance(result, Failure):
            future.set_exception(RequestFailed(result.error))
        else:
            if isinstance(result, SampleResult):
                self.stats.tokens += len(result.tokens)
            future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Raises ``error`` in all callers that wait."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)

    def has(self, replica: str) -> bool:
        """Returns True if the replica can be given requests now."""
        return self._router.has(replica)

    @property
    def replicas(self) -> int:
        """The number of replicas that can be given requests now."""
        return self._router.replicas

    @property
    def running(self) -> int:
        """The number of requests that are bound to a replica."""
        return self._router.all_running

    @property
    def waiting(self) -> int:
        """The number of requests that no replica has room for yet."""
        return self._router.waiting

    @property
    def busy_seconds(self) -> float:
        """The time in which a replica had running requests, summed over replicas, up to now."""
        now = time.monotonic()
        return self.stats.busy_seconds + sum(now - since for since in self._busy_since.values())

    def _changed(self, replica: str | None = None) -> None:
        """Starts or stops the clock of the replica's busy time, and wakes those that have room and work."""
        if replica is not None:
            since = self._busy_since.get(replica)
            if since is None and self._router.running(replica):
                self._busy_since[replica] = time.monotonic()
            elif since is not None and not self._router.running(replica):
                self.stats.busy_seconds += time.monotonic() - since
                del self._busy_since[replica]
        for name in self._router.drain_wakeups():
            self._wake(name)
