"""Benchmark: beam search through the orchestrator against the same search in lockstep.

Peers run beam search depth by depth: one blocking batch of samples over all problems, then one of scores, so
that each engine waits for the other, and both for the slowest path. ``Lockstep`` does that to the very same
searches on the very same engines (batched, prefix caching and incremental scoring on), with as many problems
in a batch as it is told; one problem a batch is the per-question form. All sides find the same solutions, in
turn in one run; the figures are ratios of wall time. Run with ``make bench``.
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
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment, connect, disconnect
from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.config import load
from orchestrator.journal import Journal
from orchestrator.preparation import Prepared, prepare
from orchestrator.results import digest
from orchestrator.run import controller_of, search_of
from orchestrator.session import pool_specs
from orchestrator.setting import Engine

QUIET_SECONDS = 0.002
"""Without a new request for so long, all searches wait for the next batch."""


class Lockstep:
    """An engine that runs its requests in batches, and answers when the whole batch is done."""

    def __init__(self, engine: Engine) -> None:
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
                await asyncio.sleep(QUIET_SECONDS)
            batch, self._waiting = self._waiting, []
            results = await asyncio.gather(*(run() for run, _ in batch))
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)


async def searched(prepared: Prepared, engine: Engine, at_once: int, journal: Path) -> tuple[float, str]:
    """Seconds of a whole run, and the digest of what it found."""
    recorder = Journal(journal)
    controller = controller_of(prepared, engine, recorder)
    controller.searches_at_once = at_once
    began = time.perf_counter()
    results = await controller.run(prepared.problems, prepared.prompts, search_of(prepared.config))
    recorder.close()
    return time.perf_counter() - began, digest(results)


async def run(prepared: Prepared, batches: list[int], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round, all in turn; the first round warms up and is dropped."""
    generators, verifiers, _ = pool_specs(prepared.config)
    assert verifiers is not None
    connect(None, [generators, verifiers])
    deployment = Deployment(generators, verifiers)
    seconds: dict[str, list[float]] = {}
    found: set[str] = set()
    try:
        await deployment.start(600)
        with tempfile.TemporaryDirectory() as directory:
            for index in range(rounds + 1):
                for batch in (0, *batches):
                    await deployment.forget()
                    lockstep = Lockstep(deployment) if batch else None
                    took, sha = await searched(
                        prepared,
                        lockstep or deployment,
                        batch or len(prepared.problems),
                        Path(directory) / f"{index}-{batch}.sqlite",
                    )
                    if lockstep is not None:
                        await lockstep.close()
                    found.add(sha)
                    if index:
                        name = f"lockstep, {batch} at once" if batch else "orchestrator"
                        seconds.setdefault(name, []).append(took)
    finally:
        await deployment.close()
        disconnect()
    if len(found) != 1:
        raise RuntimeError("the sides found different solutions")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 16, 1])
    parser.add_argument("--cores", type=int, default=2, help="all processes are held to so many cores")
    parser.add_argument("--out", type=Path, default=Path("build/lockstep.json"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)
    config = load(
        Path(__file__).parents[2] / "configs" / "lab.yaml",
        [
            "generator.replicas=1",
            f"problems.limit={options.problems}",
            f"strategy.n={options.n}",
            "budget.flops=1e18",
        ],
    )
    seconds = asyncio.run(run(prepare(config), options.batches, options.rounds))
    ours = seconds["orchestrator"]
    title = f"beam search, n = {options.n}, {options.problems} problems, on {len(cores)} cores"
    table = Table(title=title, title_justify="left")
    for column in ("", "seconds, median", "times as long: min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in seconds.items():
        ratios = [value / own for value, own in zip(values, ours, strict=True)]
        shown = [f"{each:.2f}" for each in (min(ratios), statistics.median(ratios), max(ratios))]
        table.add_row(name, f"{statistics.median(values):.2f}", *shown)
    Console().print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"seconds": seconds, "cores": len(cores)}, indent=2))


if __name__ == "__main__":
    main()
