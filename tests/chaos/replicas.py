"""Trials that kill or stop replicas; one session of engines serves all of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from actors.deployment import Deployment
from actors.messages import ReplicaInfo
from orchestrator.config.preparation import Prepared
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.run import Run
from orchestrator.runs.session import Session, pool_specs, session
from tests.chaos.trials import InjectedFault, RunOutcome, Trial, compared, outcome_of, plan
from tests.support.leftovers import Footprint, Left, segments, unmapped
from tests.support.processes import alive, running

BACK_SECONDS = 900.0
"""Seconds that replicas may take to serve again: a busy machine starts engines slowly."""
ENDED_SECONDS = 30.0
"""Seconds that processes may take to end after their session."""


@dataclass(frozen=True)
class Blow:
    """A fault that met a replica."""

    fault: InjectedFault
    replica: ReplicaInfo
    at: float
    """Time by the monotonic clock."""


class Watcher:
    """Receives a session's notices in place of the display; keeps the times at which replicas came back."""

    def __init__(self) -> None:
        self.back: list[tuple[str, float]] = []

    def starting(self, names: Sequence[str]) -> None: ...

    def ready(self, info: ReplicaInfo) -> None: ...

    def ended(self) -> None: ...

    def sampling_baseline(self, samples: int) -> None: ...

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None: ...

    def result(self, result: SearchResult) -> None: ...

    def notice(self, line: str) -> None:
        if " is back " in line:
            self.back.append((line.split()[0], time.monotonic()))

    def recovery(self, blows: Sequence[Blow]) -> list[tuple[str, float]]:
        """Returns the kind of each fault and the seconds until its replica served again."""
        return [(blow.fault.kind, self._back_after(blow)) for blow in blows]

    def _back_after(self, blow: Blow) -> float:
        return min(at for name, at in self.back if name == blow.replica.name and at > blow.at) - blow.at


async def replica_trials(prepared: Prepared, numbers: Sequence[int]) -> AsyncIterator[Trial]:
    """Yields each trial as it ends. The last one waits for the end of the engines, and includes what they
    leave."""
    footprint, last = Footprint(), None
    os.environ |= footprint.environment  # what is started from here on inherits it
    async for trial in _trials(prepared, numbers):
        if last is not None:
            yield last
        last = trial
    left = await asyncio.to_thread(footprint.left, time.monotonic() + ENDED_SECONDS)
    if last is not None:
        yield replace(
            last,
            orphans=[*last.orphans, *left.processes],
            segments=[*last.segments, *left.segments],
            sockets=[*last.sockets, *left.sockets],
        )
    footprint.remove()


async def _trials(prepared: Prepared, numbers: Sequence[int]) -> AsyncIterator[Trial]:
    watcher = Watcher()
    async with session(pool_specs(prepared), prepared.config.cluster, watcher) as engines:

        async def search() -> RunOutcome:
            name = f"chaos-{uuid.uuid4().hex[:8]}"
            with Run(prepared, name) as run:
                summary = await run.search(engines, watcher)
            return outcome_of(run.directory, summary.to_dict())

        await search()  # warms up
        undisturbed = await search()
        for number in numbers:
            watcher.back.clear()
            blows: list[Blow] = []
            shared = segments()
            faults = plan(number, controller=False)
            inflicting = asyncio.create_task(inflict(faults, undisturbed, engines, blows))
            end: RunOutcome | str
            try:
                end = await search()
                await all_back(engines)
            except Exception as error:
                end = f"{type(error).__name__}: {error}"
            inflicting.cancel()
            recovery = [] if isinstance(end, str) else watcher.recovery(blows)
            left = Left(
                tuple(blow.replica.name for blow in blows if alive(blow.replica.pid)),
                tuple(sorted(unmapped(segments() - shared))),
            )
            yield compared(
                number, "replicas", undisturbed, end, [blow.fault for blow in blows], left, recovery
            )
            if isinstance(end, str):
                return  # these engines may be of no use any more


async def inflict(
    faults: Sequence[InjectedFault], undisturbed: RunOutcome, engines: Session, blows: list[Blow]
) -> None:
    """Sends each fault at its moment to a random replica that is up then, if there is one."""
    began, rng = time.monotonic(), random.Random(repr(faults))
    for fault in faults:
        await asyncio.sleep(max(0.0, began + fault.moment * undisturbed.seconds - time.monotonic()))
        (pool,) = (pool for pool in engines.deployment.pools if pool.spec.name == fault.victim)
        struck = {blow.replica.pid for blow in blows}
        up = [info for info in pool.up if info.pid not in struck]
        if up:
            replica = rng.choice(up)
            os.kill(replica.pid, signal.Signals[fault.signal])
            blows.append(Blow(fault, replica, time.monotonic()))


async def all_back(engines: Session) -> None:
    """Waits until every replica serves again: trials do not depend on each other. Raises TimeoutError."""
    deadline = time.monotonic() + BACK_SECONDS
    for pool in engines.deployment.pools:
        while len(pool.up) < pool.spec.replicas or not all(running(info.pid) for info in pool.up):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pool.spec.name}: not all back after {BACK_SECONDS:g} s: {pool.up}")
            await asyncio.sleep(0.1)
