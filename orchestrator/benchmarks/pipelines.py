"""How full each pool is over time, by how many of the replicas generate and by the memory of their engines.

The searches, the pools and their routing and limits are real; engines are modelled step by step (places,
memory, preemption), on a clock that jumps to the next event: a run is a function of its numbers, and time is
the engines' alone. Run with ``make bench-pipelines``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.concurrency import ConcurrencyLimit
from actors.deployment import Deployment, connect, disconnect
from actors.messages import Load
from actors.pool import Pool
from actors.spec import PoolSpec
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.benchmarks.lockstep import Lockstep
from orchestrator.benchmarks.modelled import DEPTH, PLACES, STEP, AtOnce, Engine, JumpingLoop
from orchestrator.benchmarks.tables import narrow_table
from orchestrator.budget.ledger import Lease
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.durability.journal import Journal
from orchestrator.problems.answers import ANSWERS
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import digest
from orchestrator.runs.run import controller_of
from orchestrator.runs.session import pool_specs
from orchestrator.search.context import Sampling, SearchContext
from orchestrator.strategies.registry import find

REPLICAS = 8
SERIES = 40
"""Points of a pool's utilisation over time."""


@dataclass(frozen=True)
class Case:
    """``generators`` of the replicas, the others verify. An engine's memory holds ``memory`` tokens. Limits
    follow the engine's load where ``adaptive``; else they are what its places allow. So many problems a batch
    in ``lockstep``; 0: none waits for another."""

    generators: int
    memory: int = 10**9
    adaptive: bool = True
    whole: bool = False
    problems: int = 24
    n: int = 16
    lockstep: int = 0


class Fixed(ConcurrencyLimit):
    """The limit that the places allow, whatever the engine says."""

    def observe(self, load: Load, results: int) -> int:
        return self.now


async def measure(case: Case) -> dict[str, Any]:
    """Seconds of the whole run, each pool's utilisation (places in use, over all of its places), over the run
    and over time; tokens that were computed twice, over all; preemptions."""
    prepared = prepare(load(LAB_CONFIG, ["problems.limit=1"]))
    prompt = prepared.prompts[0]
    engines: dict[str, list[Engine]] = {"generator": [], "verifier": []}

    def connect(spec: PoolSpec, name: str) -> Any:
        engines[spec.name].append(Engine(name, case.memory))
        return engines[spec.name][-1]

    sizes = {"generator": case.generators, "verifier": REPLICAS - case.generators}
    pools: dict[str, Pool[Any]] = {
        name: Pool(
            PoolSpec(name, Engine, "modelled", count),  # type: ignore[arg-type]
            connect,
            ConcurrencyLimit if case.adaptive else Fixed,
        )
        for name, count in sizes.items()
    }
    for pool in pools.values():
        await pool.start(60)

    class Pools:
        sample = revise = staticmethod(pools["generator"].run)
        score = staticmethod(pools["verifier"].run)

    lockstep = Lockstep(Pools()) if case.lockstep else None
    setting = SearchContext(
        lockstep or Pools(),
        prepared.codec,
        prepared.generator,
        prepared.verifier,
        sampling=Sampling(1.0, 1.0, STEP, STEP * DEPTH),
    )
    loop = asyncio.get_running_loop()
    problems = [Problem(f"p{i}", "", "") for i in range(case.problems)]
    began = loop.time()
    strategy, params = ("best_of_n", {}) if case.whole else ("beam_search", {"width": 4})
    search = partial(find(strategy).search, n=case.n, **params)
    at_once = case.lockstep or case.problems
    for batch in (problems[start : start + at_once] for start in range(0, case.problems, at_once)):
        controller = Controller(setting, ANSWERS["exact"], Lease(10**18))
        controller._judge = AtOnce()
        await controller.run(batch, [prompt] * len(batch), search)
    seconds = loop.time() - began
    if lockstep is not None:
        await lockstep.close()
    limits = {name: statistics.fmean(limit for limit, _ in pool.loads) for name, pool in pools.items()}
    for pool in pools.values():
        await pool.close()
    used = {name: [(at - began, each) for e in of for at, each in e.used] for name, of in engines.items()}
    every = [each for of in engines.values() for each in of]
    return {
        "seconds": seconds,
        **{name: sum(each for _, each in used[name]) / (seconds * PLACES * sizes[name]) for name in used},
        "computed": sum(each.computed for each in every),
        "twice": sum(each.again for each in every) / sum(each.computed for each in every),
        "preemptions": sum(each.preemptions for each in every),
        "limits": limits,
        "series": {name: over_time(used[name], seconds / SERIES, sizes[name]) for name in used},
    }


def over_time(used: list[tuple[float, float]], wide: float, replicas: int) -> list[float]:
    """A pool's utilisation in each of ``SERIES`` intervals of ``wide`` seconds."""
    sums = [0.0] * SERIES
    for at, each in used:
        sums[min(SERIES - 1, int(at / wide))] += each / (wide * PLACES * replicas)
    return [round(each, 3) for each in sums]


def run(case: Case) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(measure(case))


async def on_engines(blocks: int, rounds: int) -> list[dict[str, Any]]:
    """A real lab generator whose cache has so few blocks, under fixed and adaptive limits in turn; the first
    run warms up and is dropped."""
    changes = ["problems.limit=32", "generator.replicas=1", "budget.flops=1e18"]
    prepared = prepare(load(LAB_CONFIG, [*changes, f"generator.engine.num_gpu_blocks_override={blocks}"]))
    generators, verifiers, _ = pool_specs(prepared)
    connect(None, [generators, verifiers] if verifiers is not None else [generators])
    deployment = Deployment(generators, verifiers)
    pool, rows, same = deployment.generator, [], set[str]()
    try:
        await deployment.start(600)
        with tempfile.TemporaryDirectory() as directory:
            for number in range(2 * rounds + 1):
                adaptive = bool(number % 2)
                pool.limit_by(ConcurrencyLimit if adaptive else Fixed)
                await deployment.forget()
                before = sum(each.preemptions for _, each in pool.loads)
                journal = Journal(Path(directory) / f"{number}.sqlite")
                controller = controller_of(prepared, deployment, journal)
                began = time.perf_counter()
                results = await controller.run(prepared.problems, prepared.prompts, prepared.strategy)
                seconds = time.perf_counter() - began
                if errors := [result.error for result in results if result.error]:
                    raise RuntimeError(f"{len(errors)} searches failed: {errors[0]}")
                same.add(digest(results))
                journal.close()
                usage = controller.usage
                row = {
                    "adaptive": adaptive,
                    "seconds": seconds,
                    "computed": usage.computed_generator_tokens / usage.generator_tokens,
                    "preemptions": sum(each.preemptions for _, each in pool.loads) - before,
                    "limit": statistics.fmean(limit for limit, _ in pool.loads),
                }
                rows += [row] if number else []
    finally:
        await deployment.close()
        disconnect()
    if len(same) != 1:
        raise RuntimeError("the limits found different solutions")
    return rows


def engines_table(blocks: int, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"a lab generator of {blocks} cache blocks, medians of runs", title_justify="left")
    for column in ("limits", "seconds", "computed / charged tokens", "preemptions", "limit at the end"):
        table.add_column(column, justify="right")
    for adaptive in (False, True):
        found = [row for row in rows if row["adaptive"] is adaptive]
        names = ("seconds", "computed", "preemptions", "limit")
        middle = [statistics.median(row[name] for row in found) for name in names]
        table.add_row("adaptive" if adaptive else "fixed", *(f"{each:.4g}" for each in middle))
    return table


def against_lockstep(console: Console) -> list[dict[str, Any]]:
    """Beam search against the same in lockstep, all problems at once and one after the other."""
    table = Table(title="beam search, 48 problems, 8 replicas, against lockstep", title_justify="left")
    for column in ("generators", "problems a batch", "seconds", "times as long", "generator", "verifier"):
        table.add_column(column, justify="right")
    rows: list[dict[str, Any]] = []
    for generators in (4, 5, 6):
        cases = [Case(generators, problems=48, lockstep=batch) for batch in (0, 48, 12, 1)]
        of_split = [{**asdict(case), **run(case)} for case in cases]
        for row in of_split:
            table.add_row(
                f"{generators} of {REPLICAS}",
                f"{row['lockstep'] or 'no lockstep'}",
                f"{row['seconds']:.1f}",
                f"{row['seconds'] / of_split[0]['seconds']:.2f}",
                f"{row['generator']:.2f}",
                f"{row['verifier']:.2f}",
            )
        rows += of_split
    console.print(table)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/pipelines.json"))
    parser.add_argument("--blocks", type=int, default=40, help="of a real generator's cache")
    parser.add_argument("--rounds", type=int, default=5, help="with real engines; 0: none")
    options = parser.parse_args()
    console, found = Console(), dict[str, Any]()
    if options.rounds:
        found["engines"] = asyncio.run(on_engines(options.blocks, options.rounds))
        console.print(engines_table(options.blocks, found["engines"]))
    memories = {"ample": 10**9, "half": PLACES * 150 // 2, "quarter": PLACES * 150 // 4}
    rows: list[dict[str, Any]] = []
    table = narrow_table(f"beam search, 24 problems, by how many of {REPLICAS} replicas generate")
    columns = (
        f"of {REPLICAS}",
        "memory",
        "limits",
        "seconds",
        "of best",
        "generator",
        "verifier",
        "twice",
        "out",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for memory, tokens in memories.items():
        of_memory = []
        for generators in (1, 2, 4, 6, 7):
            for adaptive in (False, True):
                case = Case(generators, tokens, adaptive)
                of_memory.append({**asdict(case), "memory": memory, **run(case)})
        best = min(row["seconds"] for row in of_memory)
        for row in of_memory:
            table.add_row(
                f"{row['generators']}",
                memory,
                "adaptive" if row["adaptive"] else "fixed",
                f"{row['seconds']:.1f}",
                f"{best / row['seconds']:.2f}",
                f"{row['generator']:.2f}",
                f"{row['verifier']:.2f}",
                f"{row['twice']:.3f}",
                f"{row['preemptions']}",
            )
        rows += of_memory
    console.print(table)
    found["modelled"] = rows
    found["lockstep"] = against_lockstep(console)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
