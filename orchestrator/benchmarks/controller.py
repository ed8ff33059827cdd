"""How many operations one controller sustains, against engines that only wait.

Everything is real but the engines: searches, ledger, journal, pools and routing. A replica answers after a
delay, with a step of the lab's length. In most cases it lives in the controller's process, so that its cost
is in the figures and Ray's messages are not; in others it is a Ray actor, as a real one. Each case is a
process of its own. Run with ``make bench-controller``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from rich.console import Console
from rich.table import Table

from actors.deployment import connect, disconnect
from actors.handle import RayReplicaHandle, ReplicaHandle
from actors.messages import Request, Result, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from actors.pool import Pool
from actors.spec import PoolSpec
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.benchmarks.delayed import SLOTS, STEP, Delayed
from orchestrator.benchmarks.tables import narrow_table
from orchestrator.budget.ledger import Lease
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.durability.journal import Journal
from orchestrator.problems.answers import ANSWERS
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller, Search
from orchestrator.search.context import Sampling, SearchContext
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.registry import find

REPLICAS, RAY_REPLICAS = (8, 64, 512, 1000), (8, 32)
"""Each of the latter a process beside the controller's, on the same cores."""

TIMED = 7
"""One operation in so many is timed, for the stopwatch not to be in the figures. Sixteen come together: no
divisor of that, so that none of their places is left out."""

Res = TypeVar("Res", bound=Result)


@dataclass(frozen=True)
class Case:
    """``problems`` searches on so many replicas, a quarter of them verifiers: ``at_once`` of them in flight,
    or, with ``a_second``, beginning by chance at so many a second, whatever is in flight. An answer takes
    ``seconds``, give or take half of that. Search over ``n`` paths of ``depth`` steps, by beams or, where
    ``whole``, one sample a path. ``flops``: the lease of the searches. ``ray``: the replicas are Ray
    actors."""

    replicas: int = 64
    problems: int = 400
    at_once: int = 400
    seconds: float = 0.02
    n: int = 16
    depth: int = 6
    whole: bool = False
    a_second: float | None = None
    flops: int = 10**18
    ray: bool = False

    @property
    def verifiers(self) -> int:
        return max(1, self.replicas // 4)

    @property
    def holds(self) -> bool:
        """Whether the verifiers have places for what comes by chance: else what waits there would be taken
        for the controller's doing."""
        scores = (self.a_second or 0) * self.n * self.depth
        return scores * self.seconds < SLOTS * self.verifiers


@dataclass
class Timed:
    """The pools, and how long one in ``TIMED`` of their operations took: when it was asked for, and the
    seconds beyond the replica's own (``added``), or, where those are not known here, all of them (``whole``,
    by id)."""

    generator: Pool[SampleResult]
    verifier: Pool[ScoreResult]
    here: dict[str, Delayed]
    """Replicas in this process, by name."""
    timed: set[str]
    """Ids of the operations in flight that are timed; the replicas here note these."""
    added: list[tuple[float, float]] = field(default_factory=list)
    whole: dict[str, tuple[float, float]] = field(default_factory=dict)
    _turn: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(TIMED)))

    def sample(self, request: SampleRequest) -> Awaitable[SampleResult]:
        return self._run(self.generator, request)

    def revise(self, request: SampleRequest) -> Awaitable[SampleResult]:
        return self.sample(request)

    def score(self, request: ScoreRequest) -> Awaitable[ScoreResult]:
        return self._run(self.verifier, request)

    def _run(self, pool: Pool[Res], request: Request) -> Awaitable[Res]:
        return pool.run(request) if next(self._turn) else self._timed(pool, request)

    async def _timed(self, pool: Pool[Res], request: Request) -> Res:
        self.timed.add(request.id)
        began = time.perf_counter()
        result = await pool.run(request)
        seconds = time.perf_counter() - began
        self.timed.remove(request.id)
        if (replica := self.here.get(result.replica)) is not None:
            self.added.append((began, seconds - replica.took.pop(result.id)))
        else:
            self.whole[result.id] = (began, seconds)
        return result

    def told(self, took: Mapping[str, float]) -> None:
        """What the operations took at replicas that are not here."""
        self.added += [(began, seconds - took[id]) for id, (began, seconds) in self.whole.items()]


def spread(search: Search, a_second: float, problems: int) -> tuple[Search, float, float]:
    """``search``, begun by chance ``a_second`` times a second; and between which seconds from the first the
    load is steady: the first fifth and what follows the last arrival do not count."""
    chance = random.Random(0)
    arrivals = list(itertools.accumulate(chance.expovariate(a_second) for _ in range(problems)))
    starts = iter(arrivals)
    began = time.perf_counter()

    async def later(ops: Operations) -> Sequence[Node]:
        await asyncio.sleep(began + next(starts) - time.perf_counter())
        return await search(ops)

    return later, began + 0.2 * arrivals[-1], began + arrivals[-1]


async def measure(case: Case, journal: Path) -> dict[str, float]:
    """One run: operations/s, processor time and added latency an operation; memory in bytes: at its peak, and
    an operation when all were in flight."""
    prepared = prepare(load(LAB_CONFIG, ["problems.limit=1"]))
    prompt, links, here, timed = prepared.prompts[0], list[ReplicaHandle](), dict[str, Delayed](), set[str]()

    def link(spec: PoolSpec, name: str) -> ReplicaHandle:
        if not case.ray:
            here[name] = Delayed(name, spec.model, timed=timed, **spec.options)
        links.append(RayReplicaHandle(spec, name) if case.ray else here[name])
        return links[-1]

    sizes = {"generator": case.replicas - case.verifiers, "verifier": case.verifiers}
    options = {"seconds": case.seconds, "depth": case.depth, "prompt": len(prompt)}
    specs = [
        PoolSpec(name, Delayed, "delayed", count, options=options)  # type: ignore[arg-type]
        for name, count in sizes.items()
    ]
    if case.ray:
        connect(None, specs)
    pools = [Pool[Any](spec, link) for spec in specs]
    for pool in pools:
        await pool.start(300)
    most = case.n * min(case.at_once, case.problems)
    engines, recorder = Timed(pools[0], pools[1], here, timed), Journal(journal)
    setting = SearchContext(
        engines,
        prepared.codec,
        prepared.generator,
        prepared.verifier,
        sampling=Sampling(1.0, 1.0, STEP, STEP * case.depth),
        journal=recorder,
    )
    problems = [Problem(f"p{i}", "", "") for i in range(case.problems)]
    strategy, params = ("best_of_n", {}) if case.whole else ("beam_search", {"width": 4})
    search: Search = partial(find(strategy).search, n=case.n, **params)
    at_once, since, until = case.at_once, 0.0, math.inf
    before, most_before = resident(), peak()
    began, cpu = time.time(), time.process_time()
    if case.a_second is not None:
        search, since, until = spread(search, case.a_second, case.problems)
        at_once = case.problems
    controller = Controller(setting, ANSWERS["exact"], Lease(case.flops), searches_at_once=at_once)
    holding = asyncio.create_task(resident_with(pools[0], most))
    await controller.run(problems, [prompt] * case.problems, search)
    recorder.flush()
    ended, busy = time.time(), time.process_time() - cpu
    memory = peak() - most_before
    recorder.close()
    times = [await each.call("times") for each in links]
    answering = 0.0 if case.ray else sum(seconds for seconds, _ in times)  # of this process
    engines.told({id: seconds for _, took in times for id, seconds in took.items()})
    for pool in pools:
        await pool.close()
    if case.ray:
        disconnect()
    operations = controller.usage.operations
    added = sorted(beyond for asked, beyond in engines.added if since <= asked <= until)
    return {
        "operations": operations,
        "spent": controller.usage.flops,
        "began": began,
        "ended": ended,
        "rate": operations / (ended - began),
        "cpu_us": 1e6 * (busy - answering) / operations,
        "engines_us": 1e6 * answering / operations,
        "p50_ms": 1e3 * statistics.median(added),
        "p99_ms": 1e3 * added[int(0.99 * len(added))],
        "bytes": memory,
        **({"held": (held - before) / most} if (held := await holding) is not None else {}),
    }


async def resident_with(pool: Pool[Any], operations: int) -> int | None:
    """The memory of this process, in bytes, once it has asked ``pool`` for so many; None if some have been
    answered by then."""
    while pool.stats.requests < operations:  # noqa: ASYNC110 - nothing tells of a request
        await asyncio.sleep(0.01)
    return resident() if pool.running + pool.waiting == operations else None


def resident() -> int:
    """The memory that this process has now, in bytes."""
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def start(case: Case) -> subprocess.Popen[str]:
    """``measure`` in a process of its own."""
    command = [sys.executable, "-m", "orchestrator.benchmarks.controller", "--case", json.dumps(vars(case))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def found_by(process: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(out.splitlines()[-1])  # Ray's own processes may say something before


def apart(case: Case, repeat: int = 1) -> dict[str, float]:
    """The median of ``repeat`` by rate."""
    found = [found_by(start(case)) for _ in range(repeat)]
    return sorted(found, key=lambda each: each["rate"])[len(found) // 2]


def sharded(case: Case, shards: int) -> dict[str, float]:
    """``shards`` controllers at once, each a process with its share of the problems and replicas of ``case``,
    and a lease of the one budget."""
    budget = Lease(case.flops)
    leases = [budget.lease(case.flops // shards, f"shard {i}") for i in range(shards)]
    parts = [
        replace(
            case,
            replicas=case.replicas // shards,
            problems=case.problems // shards,
            at_once=case.at_once // shards,
            flops=lease.limit,
        )
        for lease in leases
    ]
    found = [found_by(process) for process in [start(part) for part in parts]]
    for lease, each in zip(leases, found, strict=True):
        lease.request(int(each["spent"]), lambda paid, spent=int(each["spent"]): paid.settle(spent))  # type: ignore
        lease.close()
    assert budget.settled == sum(each["spent"] for each in found)
    told = [name for name in found[0] if all(name in each for each in found)]
    mean = {name: statistics.fmean(each[name] for each in found) for name in told}
    seconds = max(each["ended"] for each in found) - min(each["began"] for each in found)
    total = {name: sum(each[name] for each in found) for name in ("operations", "bytes")}
    return {**mean, **total, "rate": total["operations"] / seconds}


def table(title: str, first: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Of each case, beside its operations: the controller's processor time an operation and that of the
    replicas in its process, what an operation took beyond its replica, the memory by which the process grew,
    and that of an operation while all were in flight."""
    shown = narrow_table(title)
    columns = (first, "ops", "ops/s", "CPU µs", "engines'", "ms p50", "ms p99", "MB", "KB held")
    for column in columns:
        shown.add_column(column, justify="right")
    for name, row in rows.items():
        shown.add_row(
            name,
            f"{row['operations']:,.0f}",
            f"{row['rate']:,.0f}",
            f"{row['cpu_us']:.0f}",
            f"{row['engines_us']:.1f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['bytes'] / 2**20:.0f}",
            f"{row['held'] / 1024:.2f}" if "held" in row else "-",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--most-problems", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("build/controller.json"))
    options = parser.parse_args()
    if options.case is not None:
        with tempfile.TemporaryDirectory() as directory:
            case = Case(**json.loads(options.case))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as ``launch`` does
                print(json.dumps(runner.run(measure(case, Path(directory) / "journal.sqlite"))))
        return
    console = Console()
    found: dict[str, dict[str, dict[str, float]]] = {}

    def show(title: str, first: str, rows: dict[str, dict[str, float]]) -> None:
        found[title] = rows
        console.print(table(title, first, rows))

    def each(cases: Mapping[str, Case], repeat: int = options.repeat) -> dict[str, dict[str, float]]:
        return {name: apart(case, repeat) for name, case in cases.items()}

    for ray, replicas, where in ((False, REPLICAS, ""), (True, RAY_REPLICAS, ", replicas as Ray actors")):
        fast = each({str(n): Case(n, ray=ray) for n in replicas})
        show(f"as fast as it can, 6,400 paths in flight{where}", "replicas", fast)
        searches = {name: row["rate"] / 2 / (row["operations"] / Case.problems) for name, row in fast.items()}
        half = {
            name: Case(int(name), int(15 * often), seconds=0.3, a_second=often, ray=ray)
            for name, often in searches.items()
        }
        held = {name: case for name, case in half.items() if case.holds}
        show(f"searches beginning by chance, at half that rate{where}", "replicas", each(held))
    at_once = {f"{16 * n:,}": Case(1000, n, n, 8.0, whole=True) for n in (250, 1000, 4000)}
    show("by operations in flight at once", "in flight", each(at_once))
    shards = {str(n): sharded(Case(1000, 800, 800), n) for n in (1, 2)}
    show("by controller processes (a core each)", "shards", shards)
    sizes = [n for n in (100, 1000, 10_000, 100_000) if n <= options.most_problems]
    problems = {f"{n:,}": Case(64, n, 400, n=1, whole=True) for n in sizes}
    show("by problems, one solution each", "problems", each(problems, 1))
    show("by N, 4 problems", "N", each({f"{n:,}": Case(64, 4, 4, n=n) for n in (64, 256, 1024, 4096)}, 1))
    show("by depth", "steps", each({str(n): Case(64, 100, 100, depth=n) for n in (6, 12, 24, 48)}, 1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
