"""Runs of the lab over the hosts of ``tests.support.hosts``: undisturbed; with one host cut off for 20
seconds; with it cut off for good. Prints what they ended with. A process of its own, since what Ray once was
in a process (its token, its cluster) stays with it.

``python -m tests.support.on_hosts ADDRESS RUNS``
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.runs.run import Run
from orchestrator.runs.session import pool_specs, session
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
    "generator.replicas=2",
    "generator.resources={num_cpus: 1, num_gpus: 0, custom: {host: 1}}",
    "generator.engine.max_num_seqs=8",
    "verifier.resources={num_cpus: 1, num_gpus: 0, custom: {head: 1}}",
    "cluster.start_timeout_seconds=240",
    f"cluster.probe_after_seconds={PROBE_AFTER}",
    f"cluster.probe_timeout_seconds={PROBE_TIMEOUT}",
    "tracking.traces=0",
)


class Notices(Watcher):
    """All notices, each with its time."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []

    def notice(self, line: str) -> None:
        super().notice(line)
        self.said.append((time.monotonic(), line))


async def main(address: str, runs: Path) -> None:
    config = load(LAB_CONFIG, [*CONFIG, f"cluster.address={address}", f"runs={runs}"])
    prepared, notices = prepare(config), Notices()
    async with session(pool_specs(prepared), config.cluster, notices) as engines:

        async def search(name: str) -> RunOutcome:
            with Run(prepared, name) as run:
                summary = await run.search(engines, notices)
            return outcome_of(run.directory, summary.to_dict())

        async def begun(name: str) -> asyncio.Task[RunOutcome]:
            """A run, of which a quarter is done."""
            work = asyncio.create_task(search(name))
            while recorded(runs / name / "journal.sqlite") < len(undisturbed.operations) / 4:
                await asyncio.sleep(0.01)
                assert not work.done(), await work
            return work

        generators = engines.deployment.generator
        nodes = {info.name: info.node for info in generators.infos}
        undisturbed = await search("undisturbed")

        work = await begun("for-20-seconds")
        cut("b")
        await asyncio.sleep(CUT_SECONDS)
        waited = not work.done()
        join("b")
        healed = await work
        lost = generators.stats.lost_replicas

        work = await begun("for-good")
        cut("b")
        at = time.monotonic()
        alone = await work
        said = [line for when, line in notices.said if when > at]
    print(
        json.dumps(
            {
                "nodes": nodes,
                "same": [compared(each, undisturbed) for each in (healed, alone)],
                "operations": len(undisturbed.operations),
                "waited": waited,
                "lost_while_away": lost,
                "notices": said,
                "seconds": [undisturbed.seconds, healed.seconds, alone.seconds],
            }
        )
    )


def compared(end: RunOutcome, undisturbed: RunOutcome) -> bool:
    mine, its = ((e.solutions, e.spent, e.operations, e.failed) for e in (end, undisturbed))
    return mine == its


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
