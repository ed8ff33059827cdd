"""Shows how full each pool is over time, by the number of generators and the memory of the engines.

The searches, the pools, their routing and their limits are real. The engines are modelled step by step
(``modelled``), on a clock that jumps to the next event: results depend on the case alone. One table is of a
real lab generator with little memory (``--rounds 0``: none). ``make bench-pipelines`` runs it.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.concurrency import ConcurrencyLimit
from actors.messages import Load
from actors.pool import Pool
from actors.spec import PoolSpec
from orchestrator.benchmarks import LAB_CONFIG, harness, stand_in
from orchestrator.benchmarks.lockstep import Lockstep
from orchestrator.benchmarks.modelled import DEPTH, PLACES, STEP, AtOnce, Engine, JumpingLoop
from orchestrator.budget.ledger import Lease
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.grading.grader import grader
from orchestrator.runs.controller import Controller

REPLICAS = 8
SERIES = 40
"""Points of a pool's utilisation over time."""
MEMORIES = {"ample": 10**9, "half": PLACES * 150 // 2, "quarter": PLACES * 150 // 4}
"""Tokens of an engine's cache; a finished path of beam search has about 150."""


@dataclass(frozen=True)
class Case:
    """Beam search on modelled engines."""

    generators: int
    """Generators of the ``REPLICAS``; the others verify."""
    memory: int = 10**9
    """Tokens of an engine's cache."""
    adaptive: bool = True
    """True: a replica's limit of requests follows its load; False: its places determine it."""
    problems: int = 24
    n: int = 16
    lockstep: int = 0
    """Problems a batch in lockstep; 0: no search waits for another."""


class Fixed(ConcurrencyLimit):
    """A limit that stays what the places allow, whatever the load."""

    def observe(self, load: Load, results: int) -> int:
        return self.now


async def measure(case: Case) -> dict[str, Any]:
    """Runs a case; returns its seconds, each pool's utilisation (places in use over all of its places) as a
    whole and over time, the share of tokens that were computed twice, and preemptions."""
    prepared = stand_in.lab()
    engines: dict[str, list[Engine]] = {"generator": [], "verifier": []}

    def connect(spec: PoolSpec, name: str) -> Any:
        engines[spec.name].append(Engine(name, case.memory))
        return engines[spec.name][-1]

    sizes = {"generator": case.generators, "verifier": REPLICAS - case.generators}
    limit = ConcurrencyLimit if case.adaptive else Fixed
    pools: dict[str, Pool[Any]] = {
        name: Pool(PoolSpec(name, Engine, "modelled", count), connect, limit)  # type: ignore[arg-type]
        for name, count in sizes.items()
    }
    for pool in pools.values():
        await pool.start(60)

    class Pools:
        sample = revise = staticmethod(pools["generator"].run)
        score = staticmethod(pools["verifier"].run)

    lockstep = Lockstep(Pools()) if case.lockstep else None
    context = stand_in.context(prepared, lockstep or Pools(), STEP, DEPTH)
    problems, at_once = stand_in.problems(case.problems), case.lockstep or case.problems
    loop = asyncio.get_running_loop()
    began = loop.time()
    for batch in (problems[start : start + at_once] for start in range(0, case.problems, at_once)):
        controller = Controller(context, grader("exact"), Lease(10**18))
        controller._decoding = AtOnce()
        search = stand_in.search(case.n, whole=False)
        await controller.run(batch, [prepared.prompts[0]] * len(batch), search)
    seconds = loop.time() - began
    if lockstep is not None:
        await lockstep.close()
    limits = {name: statistics.fmean(limit for limit, _ in pool.loads) for name, pool in pools.items()}
    for pool in pools.values():
        await pool.close()
    used = {
        name: [(at - began, busy) for engine in pool for at, busy in engine.used]
        for name, pool in engines.items()
    }
    every = [engine for pool in engines.values() for engine in pool]
    computed = sum(engine.computed for engine in every)
    return {
        "seconds": seconds,
        **{name: sum(busy for _, busy in used[name]) / (seconds * PLACES * sizes[name]) for name in used},
        "computed": computed,
        "twice": sum(engine.again for engine in every) / computed,
        "preemptions": sum(engine.preemptions for engine in every),
        "limits": limits,
        "series": {name: over_time(used[name], seconds / SERIES, sizes[name]) for name in used},
    }


def over_time(used: list[tuple[float, float]], wide: float, replicas: int) -> list[float]:
    """Returns a pool's utilisation in each of ``SERIES`` intervals of ``wide`` seconds."""
    sums = [0.0] * SERIES
    for at, busy in used:
        sums[min(SERIES - 1, int(at / wide))] += busy / (wide * PLACES * replicas)
    return [round(share, 3) for share in sums]


def run(case: Case) -> dict[str, Any]:
    """Runs a case on a clock of its own; returns the case and its figures."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return {**asdict(case), **runner.run(measure(case))}


async def on_engines(blocks: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Runs a real lab generator with ``blocks`` cache blocks under both kinds of limits in turn; returns the
    figures of each. Raises RuntimeError where the limits find different solutions."""
    overrides = ["problems.limit=32", "generator.replicas=1", "budget.flops=1e18"]
    overrides += [
        "strategy.n=16",
        "strategy.distinct=false",
    ]  # as much at once as the figures were taken with
    prepared = prepare(load(LAB_CONFIG, [*overrides, f"generator.engine.num_gpu_blocks_override={blocks}"]))
    digests = []
    async with harness.engines(prepared) as (deployment,):
        pool = deployment.generator

        def preemptions() -> int:
            return sum(load.preemptions for _, load in pool.loads)

        async def limited(limit: type[ConcurrencyLimit]) -> dict[str, Any]:
            pool.limit_by(limit)
            await deployment.forget()
            before = preemptions()
            found = await harness.searched(prepared, deployment)
            digests.append(found.digest)
            return {
                "seconds": found.seconds,
                "computed": found.usage.computed_generator_tokens / found.usage.generator_tokens,
                "preemptions": preemptions() - before,
                "limit": statistics.fmean(limit for limit, _ in pool.loads),
            }

        sides = {"fixed": partial(limited, Fixed), "adaptive": partial(limited, ConcurrencyLimit)}
        rows = await harness.in_turn(sides, rounds)
    harness.same(digests)
    return rows


def engines_table(blocks: int, found: dict[str, list[dict[str, Any]]]) -> Table:
    table = harness.table(
        f"a lab generator of {blocks} cache blocks, medians of runs",
        *("limits", "seconds", "computed / charged tokens", "preemptions", "limit at the end"),
    )
    for name, rows in found.items():
        names = ("seconds", "computed", "preemptions", "limit")
        table.add_row(name, *(f"{statistics.median(row[name] for row in rows):.4g}" for name in names))
    return table


def by_split() -> tuple[Table, list[dict[str, Any]]]:
    """Runs beam search by the number of generators, the memory, and the kind of limits."""
    table = harness.table(
        f"beam search, 24 problems, by how many of {REPLICAS} replicas generate",
        *(f"of {REPLICAS}", "memory", "limits", "seconds"),
        *("of best", "generator", "verifier", "twice", "out"),
        left=0,
    )
    form = "{generators} {memory} {limit} {seconds:.1f} {of_best:.2f} {generator:.2f} {verifier:.2f} "
    form += "{twice:.3f} {preemptions}"
    every: list[dict[str, Any]] = []
    for memory, tokens in MEMORIES.items():
        cases = [Case(split, tokens, adaptive) for split in (1, 2, 4, 6, 7) for adaptive in (False, True)]
        rows = [{**run(case), "memory": memory} for case in cases]
        best = min(row["seconds"] for row in rows)
        for row in rows:
            limit = "adaptive" if row["adaptive"] else "fixed"
            table.add_row(*form.format(**row, limit=limit, of_best=best / row["seconds"]).split())
        every += rows
    return table, every


def against_lockstep() -> tuple[Table, list[dict[str, Any]]]:
    """Runs beam search without lockstep, and in lockstep of all problems, of twelve and of one."""
    table = harness.table(
        f"beam search, 48 problems, by how many of {REPLICAS} replicas generate, against lockstep",
        *(f"of {REPLICAS}", "problems a batch", "seconds", "times as long", "generator", "verifier"),
        left=0,
    )
    every: list[dict[str, Any]] = []
    for generators in (4, 5, 6):
        rows = [run(Case(generators, problems=48, lockstep=batch)) for batch in (0, 48, 12, 1)]
        for row in rows:
            ratio = row["seconds"] / rows[0]["seconds"]
            figures = "{seconds:.1f} {ratio:.2f} {generator:.2f} {verifier:.2f}".format(**row, ratio=ratio)
            table.add_row(f"{generators}", f"{row['lockstep'] or 'no lockstep'}", *figures.split())
        every += rows
    return table, every


def main() -> None:
    parser = harness.parser(__doc__, rounds=5, out=Path("build/pipelines.json"))
    parser.add_argument("--blocks", type=int, default=40, help="cache blocks of the real generator")
    options = parser.parse_args()
    console, found = Console(), dict[str, Any]()
    if options.rounds:
        found["engines"] = asyncio.run(on_engines(options.blocks, options.rounds))
        console.print(engines_table(options.blocks, found["engines"]))
    for name, tabled in (("modelled", by_split), ("lockstep", against_lockstep)):
        table, found[name] = tabled()
        console.print(table)
    harness.save(options.out, found)


if __name__ == "__main__":
    main()
