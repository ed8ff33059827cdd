"""A pool of replicas of one model: routing, in-flight caps, and what happens when a replica is lost.

Two remote calls per replica move everything: ``submit`` takes a batch of requests, ``collect`` is a
long poll that returns whatever has finished. A replica that dies is restarted by Ray; its unfinished
requests go to the others with the same seeds, so the results are the same. One that hangs is killed,
which makes it the same case. Work waits while no replica can be had.

Replicas beyond ``least`` join when the cluster has room for them: Ray keeps what it cannot place yet, and
places it (or has its autoscaler start a node) when it can. A lost node is the same case again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from actors.concurrency import ConcurrencyLimit
from actors.handle import Broken, Gone, Lost, RayReplicaHandle, ReplicaError, ReplicaHandle, cluster_resources
from actors.messages import Failure, Load, PoolFailed, ReplicaInfo, Request, RequestFailed, Result
from actors.routing import Router
from actors.spec import PoolSpec

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # with no handler at all, Python would print over the live view
Res = TypeVar("Res", bound=Result)

MAX_LOSSES = 5
"""A request that so many lost replicas are put down to (actors/routing.py) is what kills them, and fails."""

MAX_STARTS = 3
"""So often a replica is made anew whose start raises (its predecessor may still hold the GPU's memory), or
restarted whose methods raise with no result in between, before the pool goes on without it."""

RETURN_POLL_SECONDS = 0.5
"""How often a lost replica is asked whether it is back."""


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
    link: ReplicaHandle
    info: ReplicaInfo | None = None
    """None until it is up for the first time."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    aborts: list[str] = field(default_factory=list)
    """Nobody wants these any more; not told yet."""
    lost: list[str] = field(default_factory=list)
    """What was in flight here when it was lost."""
    lost_at: float = 0.0
    broken: int = 0
    """How often its methods raised since its last result."""
    heard: float = 0.0
    busy_since: float | None = None
    limit: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(1))
    load: Load | None = None


class Pool(Generic[Res]):
    """Replicas of one model. Use from one event loop: ``start``, then ``run``, then ``close``.

    ``on_notice`` is told in one line what a user would want to know of lost and awaited replicas.
    """

    def __init__(
        self,
        spec: PoolSpec,
        connect: Callable[[PoolSpec, str], ReplicaHandle] = RayReplicaHandle,
        limit: Callable[[int], ConcurrencyLimit] = ConcurrencyLimit,
    ) -> None:
        self.spec = spec
        self.stats = PoolStats()
        self.infos: list[ReplicaInfo] = []
        """Of the replicas, in the order in which they were up for the first time."""
        self.on_notice: Callable[[str], None] = lambda line: None
        self._connect = connect
        self._limit = limit
        self._router = Router()
        self._members: dict[str, _Member] = {}
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: PoolFailed | None = None
        self._on_ready: Callable[[ReplicaInfo], None] = lambda info: None

    async def start(self, within: float, *, on_ready: Callable[[ReplicaInfo], None] | None = None) -> None:
        """Create the replicas and wait until enough of them can serve. Raises PoolFailed after ``within``
        seconds, or with what stopped a replica."""
        spec = self.spec
        if on_ready is not None:
            self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        for name in (f"{spec.name}-{i}" for i in range(spec.replicas)):
            self._members[name] = _Member(name, self._connect(spec, name))
        self._tasks = [asyncio.create_task(self._life(member)) for member in self._members.values()]
        try:
            await asyncio.wait_for(self._started, within)
        except TimeoutError:
            late = ", ".join(member.name for member in self._members.values() if member.info is None)
            raise PoolFailed(
                f"{late}: not up after {within:g} s (each needs {spec.needs}; the cluster has "
                f"{cluster_resources()})"
            ) from None

    async def run(self, request: Request) -> Res:
        """The result of one request. Cancelling it aborts the request in the engine. Raises
        RequestFailed, or PoolFailed when no replica is left."""
        if self._broken is not None:
            raise self._broken
        if request.id in self._futures:
            raise ValueError(f"request {request.id} is already in flight")
        future: asyncio.Future[Res] = self._loop.create_future()
        self._futures[request.id] = future
        self.stats.requests += 1
        self._router.put(request)
        self._wake()
        try:
            return await future
        finally:
            del self._futures[request.id]
            if future.cancelled() and (holder := self._router.drop(request.id)) is not None:
                self._members[holder].aborts.append(request.id)
                self._members[holder].wake.set()
                self._wake()

    async def forget(self) -> None:
        """Empty the caches of all replicas; one that is lost comes back with an empty one."""
        within = self.spec.probe_timeout  # one that hangs is replaced, and need not be waited for
        up = [m.link.call("forget") for m in self._members.values() if self._router.has(m.name)]
        forgetting = [asyncio.wait_for(call, within) for call in up]
        for done in await asyncio.gather(*forgetting, return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, Lost | Gone | TimeoutError):
                raise done

    async def close(self) -> None:
        """Close every engine and end every actor. No process outlives the pool."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        up = [member.link.call("shutdown") for member in self._members.values() if member.info is not None]
        await asyncio.gather(*(asyncio.wait_for(closing, 10) for closing in up), return_exceptions=True)
        for member in self._members.values():
            member.link.kill()
        self._members.clear()

    @property
    def busy_seconds(self) -> float:
        """The time in which each replica had work in flight, summed over replicas, so far."""
        now = time.monotonic()
        running = sum(now - m.busy_since for m in self._members.values() if m.busy_since is not None)
        return self.stats.busy_seconds + running

    @property
    def up(self) -> list[ReplicaInfo]:
        """Of the replicas that can be had now."""
        return [m.info for m in self._members.values() if m.info and self._router.has(m.name)]

    def limit_by(self, limit: Callable[[int], ConcurrencyLimit]) -> None:
        """From now on limit what is in flight by a ``limit`` of each replica's places."""
        self._limit = limit
        for member in self._members.values():
            if member.info is not None:
                member.limit = limit(member.info.max_num_seqs)
                self._router.resize(member.name, member.limit.now)

    @property
    def loads(self) -> list[tuple[int, Load]]:
        """Each replica's limit, and what its engine said last."""
        return [(m.limit.now, m.load) for m in self._members.values() if m.load is not None]

    @property
    def in_flight(self) -> int:
        return sum(self._router.in_flight(name) for name in self._members)

    @property
    def queued(self) -> int:
        return self._router.queued

    # -- one replica -------------------------------------------------------------------------------

    async def _life(self, member: _Member) -> None:
        """Start a replica, feed it, take its results, replace it when it is lost: until the pool closes."""
        starts = 1
        try:
            while True:
                try:
                    # A first start takes as long as its caller waits, or until there is a node for it.
                    async with asyncio.timeout(self.spec.start_timeout if member.info else None):
                        info = await self._up(member)
                except TimeoutError:
                    member.link.kill()
                    self.on_notice(f"{member.name} is not up after {self.spec.start_timeout:g} s; made anew")
                    member.link = self._connect(self.spec, member.name)
                    continue
                except Gone as error:
                    member.link.kill()  # what it held, as a placement group, is free for the next
                    log.error("%s does not start\n%s", member.name, error.traceback or error)
                    if not self._started.done():
                        raise PoolFailed(f"{member.name}: does not start: {error}") from error
                    if starts == MAX_STARTS:
                        self._without(member, f"attempts to start it: {error}")
                        return
                    await asyncio.sleep(RETURN_POLL_SECONDS * 2**starts)
                    starts += 1
                    member.link = self._connect(self.spec, member.name)
                    continue
                self._join(member, info)
                starts = 0
                try:
                    await self._exchange(member)
                except (Lost, Gone) as error:
                    self._leave(member, error)
                except Broken as error:
                    self._leave(member, error)
                    if self._is_hopeless(member, str(error)):
                        return
        except PoolFailed as error:
            self._break(error)
        except Exception as error:
            remote = error.traceback if isinstance(error, ReplicaError) else ""
            log.error("%s fails its pool\n%s", member.name, remote, exc_info=error)
            self._break(PoolFailed(f"{self.spec.name}: {member.name}: {error or type(error).__name__}"))

    async def _up(self, member: _Member) -> ReplicaInfo:
        """Wait until the replica can serve. Raises Gone if it never will."""
        while True:
            try:
                info = await member.link.call("info")
                # If it was only out of reach it still has them; others run them now, or nobody wants them.
                if ids := [*member.lost, *member.aborts]:
                    await member.link.call("abort", ids)
                member.lost, member.aborts = [], []
                return info
            except (Lost, Broken) as error:
                if isinstance(error, Broken) and member.info is None:
                    raise
                await asyncio.sleep(RETURN_POLL_SECONDS)

    async def _exchange(self, member: _Member) -> NoReturn:
        """Submit and collect until the replica is lost. Raises Lost, Gone or Broken."""
        work = (self._submit(member), self._collect(member), self._watch(member))
        loops = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.gather(*loops)
            raise AssertionError("unreachable: the loops are endless")
        finally:
            for task in loops:
                task.cancel()

    async def _submit(self, member: _Member) -> None:
        while True:
            await member.wake.wait()
            member.wake.clear()
            # Until none is left: an id that comes again must not be taken before its abort was sent.
            while count := len(member.aborts):
                await member.link.call("abort", member.aborts[:count])
                del member.aborts[:count]
            batch = self._router.take(member.name)
            self._mark(member)
            self._wake()
            if batch:
                await member.link.call("submit", batch)

    async def _collect(self, member: _Member) -> None:
        while True:
            answers = await member.link.call("collect")
            member.heard = time.monotonic()
            for answer in answers:
                if isinstance(answer, Load):
                    member.load = answer
                    self._router.resize(member.name, member.limit.observe(answer, len(answers) - 1))
                else:
                    member.broken = 0
                    self._settle(member, answer)
            self._mark(member)
            self._wake()

    async def _watch(self, member: _Member) -> None:
        """Raises Lost if the replica is silent and has no token to show for it."""
        spec = self.spec
        while True:
            silent = time.monotonic() - member.heard
            if silent < spec.probe_after:
                await asyncio.sleep(spec.probe_after - silent)
                continue
            try:
                async with asyncio.timeout(spec.probe_timeout):
                    await member.link.call("ping")
                    info = await member.link.call("info")
            except TimeoutError:
                member.link.restart()
                raise Lost(f"silent for {silent:.0f} s, then no token in {spec.probe_timeout:g} s") from None
            except Broken as error:
                member.link.restart()
                raise Lost(f"silent for {silent:.0f} s, then {error.reason}", error.traceback) from error
            if member.info is not None and (info.node, info.pid) != (member.info.node, member.info.pid):
                raise Lost("it has been restarted, and knows nothing of its requests")
            member.heard = time.monotonic()

    def _join(self, member: _Member, info: ReplicaInfo) -> None:
        if member.info is None:
            self.infos.append(info)
            self._on_ready(info)
        else:
            away = time.monotonic() - member.lost_at
            self.on_notice(f"{member.name} is back after {away:.0f} s")
        member.info, member.heard = info, time.monotonic()
        member.limit = self._limit(info.max_num_seqs)
        self._router.join(member.name, member.limit.now)
        least = self.spec.replicas if self.spec.least is None else self.spec.least
        if len(self.infos) >= least and not self._started.done():
            self._started.set_result(None)
        self._wake()

    def _leave(self, member: _Member, error: ReplicaError) -> None:
        """Gives a lost replica's requests to the others; fails a request that kills its replicas."""
        log.warning("%s is lost: %s\n%s", member.name, error, error.traceback)
        member.lost = self._router.leave(member.name)
        member.lost_at = time.monotonic()
        self._mark(member)
        self.stats.lost_replicas += 1
        self.stats.retried += len(member.lost)
        for request_id in member.lost:
            future = self._futures.get(request_id)
            if self._router.losses(request_id) >= MAX_LOSSES and future is not None and not future.done():
                self._router.drop(request_id)
                said = f"request {request_id} was in flight at {MAX_LOSSES} replicas when they were lost; "
                said += f"the last one, {member.name}: {error} (a resumed run tries it again)"
                future.set_exception(RequestFailed(said))
        self.on_notice(f"{member.name} is lost ({error}); its {len(member.lost)} requests are done again")
        if not self._router.replicas:
            self.on_notice(
                f"{self.spec.name}: no replica is left for now; {self.queued} requests wait until one is "
                f"back (it needs {self.spec.needs})"
            )
        self._wake()

    def _is_hopeless(self, member: _Member, reason: str) -> bool:
        """Restart a replica whose method raised, or end it for good if that has not helped."""
        member.broken += 1
        if member.broken < MAX_STARTS:
            member.link.restart()
            return False
        member.link.kill()
        self._without(member, f"errors without a result: {reason}")
        return True

    def _without(self, member: _Member, reason: str) -> None:
        """Go on without a replica that cannot be had any more, after MAX_STARTS of what ``reason`` says."""
        del self._members[member.name]
        said = f"{member.name} is given up after {MAX_STARTS} {reason}"
        self.on_notice(said)
        if not self._members:
            raise PoolFailed(f"{self.spec.name}: no replica is left: {said}")
        if not self._started.done():
            raise PoolFailed(said)

    # -- requests ----------------------------------------------------------------------------------

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

    def _wake(self) -> None:
        for name in self._router.drain_wakeups():
            if name in self._members:
                self._members[name].wake.set()

    def _mark(self, member: _Member) -> None:
        """Keep the account of busy time."""
        busy = self._router.in_flight(member.name) > 0
        if busy and member.busy_since is None:
            member.busy_since = time.monotonic()
        elif not busy and member.busy_since is not None:
            self.stats.busy_seconds += time.monotonic() - member.busy_since
            member.busy_since = None

    def _break(self, error: PoolFailed) -> None:
        self._broken = error
        if not self._started.done():
            self._started.set_exception(error)
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)
