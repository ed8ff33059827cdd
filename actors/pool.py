"""A pool of replicas of one model: routing, in-flight caps, retry when a replica is lost.

Two remote calls per replica move everything: ``submit`` takes a batch of requests, ``collect`` is a
long poll that returns whatever has finished. A replica that dies is restarted by Ray; its unfinished
requests go to the others with the same seeds, so the results are the same.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError

from actors.messages import Failure, PoolFailed, ReplicaInfo, Request, RequestFailed, Result
from actors.replica import Replica
from actors.routing import Router

log = logging.getLogger(__name__)
Res = TypeVar("Res", bound=Result)

OVERCOMMIT = 1.25
"""Requests in flight at a replica, over what its engine runs at once: the next ones are at hand when
a slot frees, and late binding still holds."""

MAX_LOSSES = 5
"""A request in flight at so many lost replicas is taken to be what kills them, and fails."""

RETURN_POLL_SECONDS = 0.5
"""How often a lost replica is asked whether it is back."""


@dataclass(frozen=True)
class PoolSpec:
    """What a pool is made of. ``options`` are the replica class's keyword arguments."""

    name: str
    replica: type[Replica]
    model: str
    replicas: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class PoolStats:
    """``busy_seconds`` is summed over replicas: the time in which each had work in flight."""

    requests: int = 0
    retried: int = 0
    lost_replicas: int = 0
    busy_seconds: float = 0.0


@dataclass
class _Member:
    name: str
    handle: Any
    info: ReplicaInfo
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    aborts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    busy_since: float | None = None


class Pool(Generic[Res]):
    """Replicas of one model. Use from one event loop: ``start``, then ``run``, then ``close``."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self.stats = PoolStats()
        self.infos: list[ReplicaInfo] = []
        self._router = Router()
        self._members: dict[str, _Member] = {}
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._losses: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._handles: list[Any] = []
        self._broken: PoolFailed | None = None

    async def start(self, within: float, *, on_ready: Callable[[ReplicaInfo], None] | None = None) -> None:
        """Create the replicas and wait until each can serve. Raises PoolFailed after ``within`` seconds,
        or with what stopped a replica."""
        spec = self.spec
        actor = ray.remote(spec.replica)
        names = [f"{spec.name}-{i}" for i in range(spec.replicas)]
        for name in names:
            options = actor.options(
                num_cpus=spec.num_cpus, num_gpus=spec.num_gpus, max_restarts=-1, max_task_retries=0
            )
            self._handles.append(options.remote(name, spec.model, **spec.options))

        async def ready(name: str, handle: Any) -> None:
            try:
                info = await asyncio.wait_for(_reply(handle.info.remote()), within)
            except (TimeoutError, GetTimeoutError):
                raise PoolFailed(
                    f"{name}: not up after {within:g} s (it needs {spec.num_cpus:g} CPU and "
                    f"{spec.num_gpus:g} GPU; the cluster has {_resources()})"
                ) from None
            except RayError as error:
                raise PoolFailed(f"{name}: does not start: {_reason(error)}") from error
            self.infos.append(info)
            self._members[name] = _Member(name, handle, info)
            if on_ready is not None:
                on_ready(info)

        starting = [asyncio.create_task(ready(*each)) for each in zip(names, self._handles, strict=True)]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()
        for member in self._members.values():
            self._router.join(member.name, self._capacity(member.info))
            self._tasks.append(asyncio.create_task(self._serve(member)))
        self._wake()

    async def run(self, request: Request) -> Res:
        """The result of one request. Cancelling it aborts the request in the engine. Raises
        RequestFailed, or PoolFailed when no replica is left."""
        if self._broken is not None:
            raise self._broken
        if request.id in self._futures:
            raise ValueError(f"request {request.id} is already in flight")
        future: asyncio.Future[Res] = asyncio.get_running_loop().create_future()
        self._futures[request.id] = future
        self.stats.requests += 1
        self._router.put(request)
        self._wake()
        try:
            return await future
        finally:
            del self._futures[request.id]
            self._losses.pop(request.id, None)
            if future.cancelled() and (holder := self._router.drop(request.id)) is not None:
                self._members[holder].aborts.append(request.id)
                self._wake()

    async def forget(self) -> None:
        """Empty the caches of all replicas; one that is lost comes back with an empty one."""
        forgetting = [_reply(member.handle.forget.remote()) for member in self._members.values()]
        for done in await asyncio.gather(*forgetting, return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, RayError):
                raise done

    async def close(self) -> None:
        """Close every engine and end every actor. No process outlives the pool."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        closing = [asyncio.wait_for(_reply(handle.shutdown.remote()), 10) for handle in self._handles]
        await asyncio.gather(*closing, return_exceptions=True)
        for handle in self._handles:
            ray.kill(handle)
        self._handles.clear()
        self._members.clear()

    @property
    def busy_seconds(self) -> float:
        """The time in which each replica had work in flight, summed over replicas, so far."""
        now = time.monotonic()
        running = sum(now - m.busy_since for m in self._members.values() if m.busy_since is not None)
        return self.stats.busy_seconds + running

    @property
    def in_flight(self) -> int:
        return sum(self._router.in_flight(name) for name in self._members)

    @property
    def queued(self) -> int:
        return self._router.queued

    # -- one replica -------------------------------------------------------------------------------

    async def _serve(self, member: _Member) -> None:
        """Feed a replica and take its results, for as long as it can be had."""
        try:
            while True:
                reason = await self._exchange(member)
                self._lost(member, reason)
                member.info = await self._returned(member)
                member.aborts.clear()
                self._router.join(member.name, self._capacity(member.info))
                self._wake()
        except ActorDiedError as error:
            del self._members[member.name]
            if not self._members:
                self._break(f"no replica is left; the last one, {member.name}: {_reason(error)}")
        except Exception as error:
            self._break(f"{member.name}: {_reason(error)}")

    async def _exchange(self, member: _Member) -> str:
        """Submit and collect until the replica is lost; says why. Raises RayTaskError if it fails itself."""
        loops = [asyncio.create_task(self._submit(member)), asyncio.create_task(self._collect(member))]
        try:
            await asyncio.gather(*loops)
            raise AssertionError("unreachable: both loops are endless")
        except RayTaskError:
            raise
        except RayError as error:  # the actor, its node, its memory or the way to it
            return _reason(error)
        finally:
            for task in loops:
                task.cancel()

    def _lost(self, member: _Member, reason: str) -> None:
        """Give a lost replica's requests to the others; fail those that were lost too often."""
        log.warning("%s is lost: %s", member.name, reason)
        member.lost = self._router.leave(member.name)
        self._mark(member)
        self.stats.lost_replicas += 1
        self.stats.retried += len(member.lost)
        for request_id in member.lost:
            self._losses[request_id] = self._losses.get(request_id, 0) + 1
            future = self._futures.get(request_id)
            if self._losses[request_id] >= MAX_LOSSES and future is not None and not future.done():
                self._router.drop(request_id)
                future.set_exception(
                    RequestFailed(
                        f"request {request_id} was in flight at {MAX_LOSSES} replicas when they were lost; "
                        f"the last one, {member.name}: {reason}"
                    )
                )
        self._wake()

    async def _submit(self, member: _Member) -> None:
        while True:
            await member.wake.wait()
            member.wake.clear()
            if member.aborts:
                aborts, member.aborts = member.aborts, []
                await _reply(member.handle.abort.remote(aborts))
            batch = self._router.take(member.name)
            self._mark(member)
            self._wake()
            if batch:
                await _reply(member.handle.submit.remote(batch))

    async def _collect(self, member: _Member) -> None:
        while True:
            for result in await _reply(member.handle.collect.remote()):
                self._settle(member, result)
            self._mark(member)
            self._wake()

    def _settle(self, member: _Member, result: Result | Failure) -> None:
        if not self._router.done(member.name, result.id):
            return  # aborted, or already done by another replica
        future = self._futures.get(result.id)
        if future is None or future.done():
            return
        if isinstance(result, Failure):
            future.set_exception(RequestFailed(result.error))
        else:
            future.set_result(result)

    async def _returned(self, member: _Member) -> ReplicaInfo:
        """Wait until Ray has restarted the replica. Raises ActorDiedError if it never will."""
        while True:
            try:
                info = await _reply(member.handle.info.remote())
                # If it was only out of reach it still has them; others run them now.
                await _reply(member.handle.abort.remote(member.lost))
                return info
            except (ActorDiedError, RayTaskError):
                raise
            except RayError:
                await asyncio.sleep(RETURN_POLL_SECONDS)

    def _wake(self) -> None:
        for name in self._router.awake():
            if name in self._members:
                self._members[name].wake.set()
        for member in self._members.values():
            if member.aborts:
                member.wake.set()

    def _mark(self, member: _Member) -> None:
        """Keep the account of busy time."""
        busy = self._router.in_flight(member.name) > 0
        if busy and member.busy_since is None:
            member.busy_since = time.monotonic()
        elif not busy and member.busy_since is not None:
            self.stats.busy_seconds += time.monotonic() - member.busy_since
            member.busy_since = None

    def _break(self, message: str) -> None:
        self._broken = PoolFailed(f"{self.spec.name}: {message}")
        for future in self._futures.values():
            if not future.done():
                future.set_exception(self._broken)

    def _capacity(self, info: ReplicaInfo) -> int:
        return math.ceil(OVERCOMMIT * info.max_num_seqs)


async def _reply(ref: Any) -> Any:
    """The value of a remote call. Cancelling it does not cancel the call."""
    return await ref


def _reason(error: BaseException) -> str:
    """The last telling line of a remote traceback."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and ":" in line]
    return (telling or lines or [type(error).__name__])[-1]


def _resources() -> str:
    total = ray.cluster_resources()
    return f"{total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU"
