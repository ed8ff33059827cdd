"""Runs of the lab over the hosts of ``tests.support.hosts``: undisturbed and then disturbed. Prints what they
ended with. A process of its own, since what Ray once was in a process (its token, its cluster) stays with it.

``python -m tests.support.on_hosts SCENARIO ADDRESS RUNS``
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.runs.run import Run
from orchestrator.runs.session import Session, pool_specs, session
from tests.chaos.controllers import recorded
from tests.chaos.replicas import Watcher
from tests.chaos.trials import RunOutcome, outcome_of
from tests.support.hosts import cut, join
from tests.support.paths import LAB_CONFIG

CUT_SECONDS = 20
PROBE_AFTER, PROBE_TIMEOUT = 30, 10
"""A link may be away for 20 s, and its packets are sent again up to 13 s later: what is silent for longer is
asked, and is lost 10 s later."""
CONFIG = (
    "problems.limit=16",
    "strategy.n=8",
    "cluster.start_timeout_seconds=240",
    f"cluster.probe_after_seconds={PROBE_AFTER}",
    f"cluster.probe_timeout_seconds={PROBE_TIMEOUT}",
    "tracking.traces=0",
)
ON_HOST = "{num_cpus: 1, num_gpus: 0, custom: {host: 0.001}}"
ON_HEAD = "{num_cpus: 1, num_gpus: 0, custom: {head: 0.001}}"
TWO_HOSTS = (
    "generator.replicas=2",
    "generator.resources={num_cpus: 1, num_gpus: 0, custom: {host: 1}}",
    "generator.engine.max_num_seqs=8",
    f"verifier.resources={ON_HEAD}",
)
ONE_HOST = (
    "problems.limit=8",
    "strategy.n=64",
    "generator.engine.max_num_seqs=4",
    f"generator.resources={ON_HOST}",
    f"verifier.resources={ON_HOST}",
    "cluster.probe_after_seconds=120",
)
"""It lasts for longer than a head needs to be back."""
BEGUN = "a quarter is done"
"""Is printed when the host that a scenario loses is to be lost."""


class Notices(Watcher):
    """All notices, each with its time."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []

    def notice(self, line: str) -> None:
        super().notice(line)
        self.said.append((time.monotonic(), line))

    async def hear(self, words: str, work: asyncio.Task[RunOutcome]) -> None:
        """Waits until one says so, while a run goes on."""
        while not any(words in line for _, line in self.said):
            await asyncio.sleep(0.01)
            assert not work.done(), (words, self.said, await work)


class Runs:
    """Runs of one configuration on one set of engines."""

    def __init__(self, prepared: Prepared, engines: Session, notices: Notices) -> None:
        self.engines, self.notices = engines, notices
        self._prepared = prepared

    async def search(self, name: str) -> RunOutcome:
        with Run(self._prepared, name) as run:
            summary = await run.search(self.engines, self.notices)
        return outcome_of(run.directory, summary.to_dict())

    async def begun(self, name: str, undisturbed: RunOutcome) -> asyncio.Task[RunOutcome]:
        """A run, of which a quarter is done."""
        work = asyncio.create_task(self.search(name))
        journal = Path(self._prepared.config.runs) / name / "journal.sqlite"
        while recorded(journal) < len(undisturbed.operations) / 4:
            await asyncio.sleep(0.01)
            assert not work.done(), await work
        return work


@asynccontextmanager
async def begin(address: str, runs: str, *overrides: str) -> AsyncIterator[Runs]:
    config = load(LAB_CONFIG, [*CONFIG, *overrides, f"cluster.address={address}", f"runs={runs}"])
    prepared, notices = prepare(config), Notices()
    async with session(pool_specs(prepared), config.cluster, notices) as engines:
        yield Runs(prepared, engines, notices)


async def cut_off(address: str, runs: str) -> dict[str, Any]:
    """One of two hosts is cut off for 20 seconds, and then for good."""
    async with begin(address, runs, *TWO_HOSTS) as begun:
        generators = begun.engines.deployment.generator
        nodes = {info.name: info.node for info in generators.infos}
        undisturbed = await begun.search("undisturbed")

        work = await begun.begun("for-20-seconds", undisturbed)
        cut("b")
        await asyncio.sleep(CUT_SECONDS)
        waited = not work.done()
        join("b")
        healed = await work
        lost = generators.stats.lost_replicas

        work = await begun.begun("for-good", undisturbed)
        cut("b")
        at = time.monotonic()
        alone = await work
        said = [line for when, line in begun.notices.said if when > at]
    return {
        "nodes": nodes,
        "same": [compared(each, undisturbed) for each in (healed, alone)],
        "operations": len(undisturbed.operations),
        "waited": waited,
        "lost_while_away": lost,
        "notices": said,
        "seconds": [undisturbed.seconds, healed.seconds, alone.seconds],
    }


async def without_head(address: str, runs: str) -> dict[str, Any]:
    """The head is killed and comes back; then a replica is killed, which the head must start anew."""
    async with begin(address, runs, *ONE_HOST) as begun:
        undisturbed = await begun.search("undisturbed")
        work = await begun.begun("disturbed", undisturbed)
        print(BEGUN, flush=True)
        await begun.notices.hear(f"{address} is back", work)
        (generator,) = begun.engines.deployment.generator.infos
        os.kill(generator.pid, signal.SIGKILL)
        await begun.notices.hear("generator-0 is back", work)
        disturbed = await work
    return {
        "same": compared(disturbed, undisturbed),
        "notices": [line for _, line in begun.notices.said],
        "seconds": [undisturbed.seconds, disturbed.seconds],
    }


def compared(end: RunOutcome, undisturbed: RunOutcome) -> bool:
    mine, its = ((e.solutions, e.spent, e.operations, e.failed) for e in (end, undisturbed))
    return mine == its


SCENARIOS = {each.__name__: each for each in (cut_off, without_head)}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(SCENARIOS[sys.argv[1]](*sys.argv[2:]))))
