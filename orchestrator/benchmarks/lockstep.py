"""Benchmark: beam search through the orchestrator against the same search in lockstep.

Peers run beam search depth by depth: one blocking batch of samples over all problems, then one of scores, so
that each engine waits for the other, and both for the slowest path. ``Lockstep`` does that to the very same
searches on engines as vLLM makes them (batched, prefix caching and incremental scoring on), with as many
problems in a batch as it is told, one batch after the other; one problem a batch is the per-question form.
Both sides reach their engines by the same messages, a batch of them at a time. The orchestrator runs on its
own engines, which reuse by the token (``actors/block_reuse.py``), and on the peers', which reuse by the
block. All sides find the same solutions, in turn; the figures are ratios of wall time. With ``--paced`` the
engines take the time of a device (``paced``). Run with ``make bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment, connect, disconnect
from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.benchmarks.paced import PACED, paced
from orchestrator.benchmarks.recomputation import BY_BLOCK
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.results import digest
from orchestrator.runs.run import controller_of
from orchestrator.runs.session import pool_specs
from orchestrator.search.context import Transport

QUIET_TURNS = 50
"""So many turns of the event loop without a new request, and all searches wait for the next batch: a few
times as many as a search takes from a result to its next request, in a fraction of a millisecond."""


class Lockstep:
    """An engine that runs its requests in batches, and answers when the whole batch is done."""

    def __init__(self, engine: Transport) -> None:
        self._engine = engine
        self._waiting: list[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._arrived = asyncio.Event()
        self._loop = asyncio.create_task(self._batches())

    async def sample(self, request: SampleRequest) -> SampleResult:
        return await self._in_batch(lambda: self._engine.sample(request))

    async def revise(self, request: SampleRequest) -> SampleResult:
        return await self._in_batch(lambda: self._engine.revise(request))

    async def score(self, request: ScoreRequest) -> ScoreResult:
        return await self._in_batch(lambda: self._engine.score(request))

    async def close(self) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    async def _in_batch(self, run: Callable[[], Awaitable[Any]]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((run, future))
        self._arrived.set()
        return await future

    async def _batches(self) -> None:
        while True:
            await self._arrived.wait()
            while self._arrived.is_set():
                self._arrived.clear()
                for _ in range(QUIET_TURNS):
                    await asyncio.sleep(0)
            batch, self._waiting = self._waiting, []
            results = await asyncio.gather(*(run() for run, _ in batch))
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)


async def searched(prepared: Prepared, engine: Transport, at_once: int, journal: Path) -> tuple[float, str]:
    """Seconds of a whole run, ``at_once`` problems after the other, and the digest of what it found."""
    recorder, results = Journal(journal), []
    began = time.perf_counter()
    for start in range(0, len(prepared.problems), at_once):
        controller = controller_of(prepared, engine, recorder)
        controller.searches_at_once = at_once
        batch = slice(start, start + at_once)
        results += await controller.run(prepared.problems[batch], prepared.prompts[batch], prepared.strategy)
    recorder.close()
    return time.perf_counter() - began, digest(results)


@dataclass(frozen=True)
class Side:
    """``batch`` problems at once in lockstep; 0: the orchestrator, all of them. ``by_block``: on the peers'
    engines."""

    batch: int
    by_block: bool

    @property
    def name(self) -> str:
        if self.batch:
            return f"lockstep, {self.batch} at once"
        return "orchestrator, reuse by the block" if self.by_block else "orchestrator"


async def run(prepared: Prepared, peers: Prepared, batches: list[int], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round, all in turn; the first round warms up and is dropped."""
    pools = [pool_specs(each).started for each in (prepared, peers)]
    connect(None, [spec for specs in pools for spec in specs])
    ours, theirs = (Deployment(*specs) for specs in pools)
    sides = [Side(0, False), Side(0, True), *(Side(batch, True) for batch in batches)]
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    found: set[str] = set()
    try:
        await ours.start(600)
        await theirs.start(600)
        with tempfile.TemporaryDirectory() as directory:
            for index in range(rounds + 1):
                for side in sides:
                    deployment = theirs if side.by_block else ours
                    await deployment.forget()
                    lockstep = Lockstep(deployment) if side.batch else None
                    took, sha = await searched(
                        prepared,
                        lockstep or deployment,
                        side.batch or len(prepared.problems),
                        Path(directory) / f"{index}-{side.name}.sqlite",
                    )
                    if lockstep is not None:
                        await lockstep.close()
                    found.add(sha)
                    if index:
                        seconds[side.name].append(took)
    finally:
        await ours.close()
        await theirs.close()
        disconnect()
    if len(found) != 1:
        raise RuntimeError("the sides found different solutions")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=LAB_CONFIG)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 16, 1])
    parser.add_argument("--cores", type=int, default=2, help="all processes are held to so many cores")
    parser.add_argument("--paced", nargs=2, **PACED)
    parser.add_argument("--out", type=Path, default=Path("build/lockstep.json"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)
    overrides = [
        "generator.replicas=1",
        f"problems.limit={options.problems}",
        f"strategy.n={options.n}",
        "budget.flops=1e18",
        *paced(*options.paced),
    ]
    ours, peers = (prepare(load(options.config, [*overrides, *more])) for more in ([], BY_BLOCK))
    seconds = asyncio.run(run(ours, peers, options.batches, options.rounds))
    own = seconds["orchestrator"]
    title = f"beam search, n = {options.n}, {len(ours.problems)} problems of {ours.config.name}"
    title += f", on {len(cores)} cores"
    table = Table(title=title, title_justify="left")
    for column in ("", "seconds, median", "times as long: min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in seconds.items():
        ratios = [value / mine for value, mine in zip(values, own, strict=True)]
        shown = [f"{each:.2f}" for each in (min(ratios), statistics.median(ratios), max(ratios))]
        table.add_row(name, f"{statistics.median(values):.2f}", *shown)
    Console().print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"seconds": seconds, "cores": len(cores)}, indent=2))


if __name__ == "__main__":
    main()
