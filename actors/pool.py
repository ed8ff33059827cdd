"""A pool of replicas of one model: it starts them, routes requests to them, and replaces lost ones.

Two remote calls per replica move everything: ``submit`` takes a batch of requests, ``collect`` is a
long poll that returns all results that are there. Ray restarts a replica that dies; its unfinished requests
go to the others with the same seeds, so the results are the same. A replica that hangs is killed, which makes
it the same case. Requests wait while no replica can be had.

Replicas beyond ``PoolSpec.least`` join when the cluster has room for them: Ray keeps an actor that it cannot
place, and places it (or has its autoscaler start a node) when it can. So a lost node is the same case again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Generic, NoReturn, TypeVar

from actors.cluster import room
from actors.concurrency import ConcurrencyLimit
from actors.downloads import patiently
from actors.exchange import collect, submit, until_one_raises, watch
from actors.faults import may_pass, one_line
from actors.handle import Broken, Gone, Lost, RayReplicaHandle, ReplicaError, ReplicaHandle
from actors.member import Member
from actors.messages import Load, PoolFailed, ReplicaInfo, Request, Result
from actors.printed import PRINTED
from actors.requests import Requests
from actors.spec import PoolSpec

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # with no handler at all, Python would print over the live view
Res = TypeVar("Res", bound=Result)

FIRST_STARTS = 2
"""The pool is given up where one of its first replicas does not come up in so many starts."""

MAX_STARTS = 3
"""The pool gives a replica up after so many starts that raise, or errors of its methods without a result.

A start may raise because the process before still holds the GPU's memory."""

CLOSE_SECONDS = 10
"""The time that a closing pool gives its engines before it kills them."""


class Pool(Generic[Res]):
    """Replicas of one model. Used from one event loop: ``start``, then ``run``, then ``close``."""

    def __init__(
        self,
        spec: PoolSpec,
        connect: Callable[[PoolSpec, str], ReplicaHandle] = RayReplicaHandle,
        limit: Callable[[int], ConcurrencyLimit] = ConcurrencyLimit,
    ) -> None:
        self.spec = spec
        self.infos: list[ReplicaInfo] = []
        """The replicas in the order in which they were up for the first time."""
        self.on_notice: Callable[[str], None] = lambda line: None
        """Is called with one line for the user when a replica is lost, awaited, back or given up."""
        self.on_taken: Callable[[str, Sequence[Request]], None] = lambda replica, requests: None
        """Is called with a replica's name and the requests that have waited, and are sent to it now."""
        self.place_of: Callable[[str], str] | None = None
        """Names the node of a replica that is up, given the node's id; may take a moment."""
        self._connect = connect
        self._limit = limit
        self._requests = Requests(self._wake, self._abort)
        self.stats = self._requests.stats
        self._members: dict[str, Member] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: PoolFailed | None = None
        self._on_ready: Callable[[ReplicaInfo], None] = lambda info: None

    async def start(self, within: float, *, on_ready: Callable[[ReplicaInfo], None] | None = None) -> None:
        """Creates the replicas and waits until enough of them can serve.

        Raises PoolFailed after ``within`` seconds, downloads not counted, or with the error of a replica that
        does not start.
        """
        spec = self.spec
        if on_ready is not None:
            self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        for name in spec.names:
            self._members[name] = Member(name, self._connect(spec, name))
        self._tasks = [asyncio.create_task(self._life(member)) for member in self._members.values()]
        try:
            await patiently(self._started, within, spec.names)
        except TimeoutError:
            late = ", ".join(
                PRINTED.with_phase(member.name) for member in self._members.values() if member.info is None
            )
            missing = await asyncio.to_thread(room, spec)
            raise PoolFailed(f"{late}: not up after {within:g} s ({missing})") from None

    async def run(self, request: Request) -> Res:
        """Returns the result of one request; a caller that is cancelled aborts it in the engine.

        Raises RequestFailed if the request can never be answered, PoolFailed if no replica is left.
        """
        if self._broken is not None:
            raise self._broken
        result: Res = await self._requests.answer(request)
        return result

    async def forget(self) -> None:
        """Empties the caches of all replicas. A lost replica comes back with an empty one."""
        within = self.spec.probe_timeout  # a replica that hangs is replaced by then
        up = [m.handle.call("forget") for m in self._members.values() if self._requests.has(m.name)]
        forgetting = [asyncio.wait_for(call, within) for call in up]
        for done in await asyncio.gather(*forgetting, return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, Lost | Gone | TimeoutError):
                raise done

    async def close(self) -> None:
        """Closes every engine and ends every actor. No process outlives the pool."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        up = [member.handle.call("shutdown") for member in self._members.values() if member.info is not None]
        await asyncio.gather(
            *(asyncio.wait_for(closing, CLOSE_SECONDS) for closing in up), return_exceptions=True
        )
        for member in self._members.values():
            member.kill()
        self._members.clear()

    @property
    def busy_seconds(self) -> float:
        """The time in which a replica had running requests, summed over replicas, up to now."""
        return self._requests.busy_seconds

    @property
    def up(self) -> list[ReplicaInfo]:
        """The replicas that can be given requests now."""
        return [m.info for m in self._members.values() if m.info and self._requests.has(m.name)]

    async def ask(self, name: str, method: str) -> Any:
        """Returns what the replica ``name`` answers to ``method``. Raises ReplicaError where it cannot."""
        return await self._members[name].handle.call(method)

    def limit_by(self, limit: Callable[[int], ConcurrencyLimit]) -> None:
        """Replaces the limit of running requests: ``limit`` makes one from a replica's ``max_num_seqs``."""
        self._limit = limit
        for member in self._members.values():
            if member.info is not None:
                member.limit = limit(member.info.max_num_seqs)
                self._requests.resize(member.name, member.limit.now)

    def replace_on(self, nodes: Collection[str]) -> None:
        """Starts a successor, on another node, for each replica that is on one of these nodes (by id) and can
        be given requests. The replica serves until that is up, or until it is lost."""
        for member in self._members.values():
            on_it = member.info is not None and member.info.node in nodes and self._requests.has(member.name)
            if on_it and not member.leaves.is_set():
                member.leaves.set()
                self.on_notice(f"{member.name}{_on(member.info)} gets a successor: its node is to end")

    @property
    def absent(self) -> dict[str, str]:
        """The replicas that cannot be given requests now: each name with the cluster's id of its actor."""
        return {m.name: m.handle.id for m in self._members.values() if not self._requests.has(m.name)}

    @property
    def loads(self) -> list[tuple[int, Load]]:
        """Each replica's limit of running requests, and the last load that its engine reported."""
        return [(m.limit.now, m.load) for m in self._members.values() if m.load is not None]

    @property
    def running(self) -> int:
        """The number of requests that are bound to a replica."""
        return self._requests.running

    @property
    def waiting(self) -> int:
        """The number of requests that no replica has room for yet."""
        return self._requests.waiting

    # -- one replica -------------------------------------------------------------------------------

    async def _life(self, member: Member) -> None:
        """Starts a replica, exchanges requests and results with it, and replaces it when it is lost."""
        starts = 1
        try:
            while True:
                try:
                    # A first start takes as long as its caller waits, or until there is a node for it.
                    limit = self.spec.start_timeout if member.info else math.inf
                    info = await patiently(self._up(member), limit, [member.name])
                except TimeoutError:
                    member.handle.kill()
                    self.on_notice(f"{member.name} is not up after {self.spec.start_timeout:g} s; made anew")
                    member.handle = self._connect(self.spec, member.name)
                    continue
                except (Gone, Lost) as error:
                    member.handle.kill()  # so that its placement group is free for the next
                    log.error("%s does not start\n%s", member.name, error.traceback or error)
                    again = self._started.done() or isinstance(error, Lost) or may_pass(error.reason)
                    if again or _points_elsewhere(error):  # what it printed comes in meanwhile
                        await asyncio.sleep(self.spec.return_poll * 2**starts)
                    printed = PRINTED.take(member.name) if _points_elsewhere(error) else ""
                    why = f"{error}; it printed: {printed}" if printed else str(error)
                    if not self._started.done():
                        if not again or starts == FIRST_STARTS:
                            times = f" (tried {starts} times)" if starts > 1 else ""
                            raise PoolFailed(f"{member.name}: does not start{times}: {why}") from error
                        self.on_notice(f"{member.name} does not start ({why}); it is tried once more")
                    elif starts == MAX_STARTS:
                        self._give_up(member, f"attempts to start it: {why}")
                        return
                    starts += 1
                    member.handle = self._connect(self.spec, member.name)
                    continue
                if self.place_of is not None:
                    info = replace(info, place=await asyncio.to_thread(self.place_of, info.node))
                self._join(member, info)
                starts = 0
                try:
                    await until_one_raises(
                        submit(member, self._requests, lambda name, batch: self.on_taken(name, batch)),
                        collect(member, self._requests, lambda line: self.on_notice(line)),
                        watch(member, self.spec),
                        self._succession(member),
                    )
                except (Lost, Gone) as error:
                    self._leave(member, error)
                    member.succeed()
                except Broken as error:
                    self._leave(member, error)
                    if self._is_hopeless(member, str(error)):
                        return
        except PoolFailed as error:
            self._break(error)
        except Exception as error:
            if not isinstance(error, ReplicaError):
                error = ReplicaError(one_line(error), traceback.format_exc())
            log.error("%s fails its pool\n%s", member.name, error.traceback or error)
            self._break(PoolFailed(f"{self.spec.name}: {member.name}: {error}"))

    async def _up(self, member: Member) -> ReplicaInfo:
        """Waits until the replica can serve. Raises Gone if it never will, and Lost if it died before it was
        up for the first time."""
        while True:
            try:
                info = await member.handle.call("info")
                # A replica that was only out of reach still has requests that run elsewhere by now.
                if ids := [*member.lost, *member.aborts]:
                    await member.handle.call("abort", ids)
                member.lost, member.aborts = [], []
                return info
            except (Lost, Broken):
                if member.info is None:
                    raise
                await asyncio.sleep(self.spec.return_poll)

    async def _succession(self, member: Member) -> NoReturn:
        """Raises Lost when the successor of a replica whose node is to end can serve. One that does not start
        has no successor: the replica itself is made anew when it is lost."""
        await member.leaves.wait()
        if member.successor is None:
            member.successor = self._connect(self.spec, member.name)
        try:
            await member.successor.call("info")
        except ReplicaError as error:
            log.warning("the successor of %s does not start: %s\n%s", member.name, error, error.traceback)
            member.successor.kill()
            member.successor = None
            await asyncio.Event().wait()
        raise Lost("its node is to end, and its successor is up")

    def _join(self, member: Member, info: ReplicaInfo) -> None:
        if member.info is None:
            self.infos.append(info)
            self._on_ready(info)
        else:
            away = time.monotonic() - member.lost_at
            self.on_notice(f"{member.name} is back{_on(info)} after {away:.0f} s")
        member.info, member.heard = info, time.monotonic()
        member.limit = self._limit(info.max_num_seqs)
        self._requests.join(member.name, member.limit.now)
        least = self.spec.replicas if self.spec.least is None else self.spec.least
        if len(self.infos) >= least and not self._started.done():
            self._started.set_result(None)

    def _leave(self, member: Member, error: ReplicaError) -> None:
        """Gives a lost replica's requests to the others; fails a request that kills its replicas."""
        where = _on(member.info)
        log.warning("%s%s is lost: %s\n%s", member.name, where, error, error.traceback)
        member.lost = self._requests.leave(member.name, str(error))
        member.lost_at = time.monotonic()
        self.on_notice(
            f"{member.name}{where} is lost ({error}); its {len(member.lost)} requests are done again"
        )
        if not self._requests.replicas:
            self.on_notice(
                f"{self.spec.name}: no replica is left for now; {self.waiting} requests wait until one is "
                f"back (it needs {self.spec.needs})"
            )

    def _is_hopeless(self, member: Member, reason: str) -> bool:
        """Restarts a replica whose method raised. Returns True if that has not helped and it is given up."""
        member.broken += 1
        if member.broken < MAX_STARTS:
            member.handle.restart()
            return False
        member.kill()
        self._give_up(member, f"errors without a result: {reason}")
        return True

    def _give_up(self, member: Member, reason: str) -> None:
        """Removes a replica after ``MAX_STARTS`` of the events that ``reason`` names.

        Raises PoolFailed if it was the last one, or if the pool has not started yet.
        """
        del self._members[member.name]
        notice = f"{member.name} is given up after {MAX_STARTS} {reason}"
        self.on_notice(notice)
        if not self._members:
            raise PoolFailed(f"{self.spec.name}: no replica is left: {notice}")
        if not self._started.done():
            raise PoolFailed(notice)

    def _wake(self, replica: str) -> None:
        if replica in self._members:
            self._members[replica].wake.set()

    def _abort(self, replica: str, request: str) -> None:
        if replica in self._members:
            self._members[replica].aborts.append(request)
            self._members[replica].wake.set()

    def _break(self, error: PoolFailed) -> None:
        self._broken = error
        if not self._started.done():
            self._started.set_exception(error)
        self._requests.fail(error)


def _on(info: ReplicaInfo | None) -> str:
    return f" on {info.place}" if info is not None and info.place else ""


def _points_elsewhere(error: ReplicaError) -> bool:
    """Tells whether only what was printed says why a replica did not start: its process died, or vLLM points
    to the log of a worker of its own."""
    return isinstance(error, Lost) or "root cause" in error.reason
