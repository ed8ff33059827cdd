"""Compares beam search through the orchestrator with the same search in lockstep, in seconds.

Peers run beam search depth by depth: one blocking batch of samples over all problems, then one of scores, so
that each engine waits for the other, and both for the slowest path. ``Lockstep`` does that to the very same
searches, on engines as vLLM makes them (batched, with prefix caching and incremental scoring), for a given
number of problems a batch; one problem a batch is the per-question form. Both sides reach their engines by
the same messages, a batch at a time.

The orchestrator runs on its own engines, which reuse by the token (``actors/block_reuse.py``), and on the
peers', which reuse by the block. All sides run in turn and find the same solutions. ``--paced`` gives the
engines the speed of a device (``paced``). ``make bench`` runs it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from actors.deployment import Deployment
from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.benchmarks import LAB_CONFIG, harness
from orchestrator.benchmarks.paced import PACED
from orchestrator.config.preparation import Prepared
from orchestrator.search.context import Transport

QUIET_TURNS = 50
"""Turns of the event loop without a new request after which a batch is complete: a few times as many as a
search takes from a result to its next request, in a fraction of a millisecond."""


class Lockstep:
    """An engine that runs its requests in batches, and answers when the whole batch has ended."""

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


async def run(
    prepared: Prepared, by_block: Prepared, batches: list[int], rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of each side, round by round. Raises RuntimeError where sides find different
    solutions."""
    async with harness.engines(prepared, by_block) as (ours, peers):

        async def free(deployment: Deployment) -> harness.Searched:
            await deployment.forget()
            return await harness.searched(prepared, deployment)

        async def held(at_once: int) -> harness.Searched:
            await peers.forget()
            lockstep = Lockstep(peers)
            try:
                return await harness.searched(prepared, lockstep, at_once)
            finally:
                await lockstep.close()

        sides: dict[str, Callable[[], Awaitable[harness.Searched]]] = {
            "orchestrator": partial(free, ours),
            "orchestrator, reuse by the block": partial(free, peers),
            **{f"lockstep, {batch} at once": partial(held, batch) for batch in batches},
        }
        found = await harness.in_turn(sides, rounds)
    harness.same([searched.digest for side in found.values() for searched in side])
    return {name: [searched.seconds for searched in side] for name, side in found.items()}


def main() -> None:
    parser = harness.parser(
        __doc__, config=LAB_CONFIG, problems=64, n=16, rounds=5, cores=2, out=Path("build/lockstep.json")
    )
    parser.add_argument("--paced", nargs=2, **PACED)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[64, 32, 16, 1], help="problems a batch in lockstep"
    )
    options = parser.parse_args()
    cores = harness.hold_to(options.cores)
    n = f"strategy.n={options.n}"
    ours, peers = harness.prepared(options, n), harness.prepared(options, n, *harness.BY_BLOCK)
    seconds = asyncio.run(run(ours, peers, options.batches, options.rounds))
    title = f"beam search, n = {options.n}, {len(ours.problems)} problems of {ours.config.name}"
    table = harness.table(f"{title}, on {cores} cores", "", "seconds, median", "ratio: min", "median", "max")
    for name, values in seconds.items():
        ratios = harness.ratios(values, seconds["orchestrator"])
        table.add_row(name, f"{statistics.median(values):.2f}", *harness.spread(ratios, ".2f"))
    Console().print(table)
    harness.save(options.out, {"seconds": seconds, "cores": cores})


if __name__ == "__main__":
    main()
