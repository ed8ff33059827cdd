"""Measures how many operations one controller sustains, on replicas that only wait.

All is real but the engines: searches, ledger, journal, pools and routing. A replica answers after a delay,
with a step of the lab's length. In most cases it lives in the controller's process: its processor time is
counted apart, and there are no messages of Ray. In others it is a Ray actor, as a real one. Each case is a
process.
``make bench-controller`` runs it.
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
from orchestrator.benchmarks import harness, stand_in
from orchestrator.benchmarks.stand_in import SLOTS, STEP, Delayed
from orchestrator.budget.ledger import Lease
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.runs.controller import Controller, Search
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node

REPLICAS, RAY_REPLICAS = (8, 64, 512, 1000), (8, 32)
"""Replicas of the cases in one process, and of those on Ray, which share the controller's cores."""

TIMED = 7
"""One operation in so many is timed, so that the stopwatch costs little. Operations come in groups of 16,
which 7 does not divide: each place of a group is timed."""

Figures = dict[str, float]
Res = TypeVar("Res", bound=Result)


@dataclass(frozen=True)
class Case:
    """Searches on replicas that only wait."""

    replicas: int = 64
    """A quarter of them verify."""
    problems: int = 400
    at_once: int = 400
    """Problems in flight."""
    seconds: float = 0.02
    """Time of an answer, give or take half of that."""
    n: int = 16
    """Paths of a problem."""
    depth: int = 6
    """Steps of a solution."""
    whole: bool = False
    """True: a path is one sample; False: beam search."""
    a_second: float | None = None
    """Problems that begin a second, at random times, whatever is in flight; None: as ``at_once`` says."""
    flops: int = 10**18
    """Lease of the searches."""
    ray: bool = False
    """True: replicas are Ray actors."""

    @property
    def verifiers(self) -> int:
        return max(1, self.replicas // 4)

    @property
    def holds(self) -> bool:
        """True if the verifiers have places for all scores: time spent waiting for one is not the
        controller's."""
        scores = (self.a_second or 0) * self.n * self.depth
        return scores * self.seconds < SLOTS * self.verifiers


@dataclass
class Timed:
    """Pools that time one in ``TIMED`` of their operations."""

    generator: Pool[SampleResult]
    verifier: Pool[ScoreResult]
    here: dict[str, Delayed]
    """Replicas in this process, by name."""
    timed: set[str]
    """Ids of the timed operations in flight; the replicas here note the delays of these."""
    added: list[tuple[float, float]] = field(default_factory=list)
    """For each timed operation, the time of its request, and the seconds beyond the replica's delay."""
    whole: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The same with the delay included, by id, until the delay is known: the replica is not here."""
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

    def subtract(self, delays: Mapping[str, float]) -> None:
        """Completes the operations of replicas elsewhere with these delays, in seconds by id."""
        self.added += [(began, seconds - delays[id]) for id, (began, seconds) in self.whole.items()]


def spread(search: Search, a_second: float, problems: int) -> tuple[Search, float, float]:
    """Returns ``search`` with random beginnings, ``a_second`` a second, and the times between which the load
    is steady: the first fifth, and what follows the last beginning, do not count."""
    chance = random.Random(0)
    arrivals = list(itertools.accumulate(chance.expovariate(a_second) for _ in range(problems)))
    starts = iter(arrivals)
    began = time.perf_counter()

    async def later(ops: Operations) -> Sequence[Node]:
        await asyncio.sleep(began + next(starts) - time.perf_counter())
        return await search(ops)

    return later, began + 0.2 * arrivals[-1], began + arrivals[-1]


async def measure(case: Case, journal: Path) -> Figures:
    """Runs a case; returns operations a second, processor time and added latency an operation, and memory in
    bytes: ``bytes`` is its growth at the peak, ``held`` that of an operation while all are in flight."""
    prepared = stand_in.lab()
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
    context = stand_in.context(prepared, engines, STEP, case.depth, recorder)
    search = stand_in.search(case.n, case.whole)
    at_once, since, until = case.at_once, 0.0, math.inf
    before, most_before = resident(), peak()
    began, cpu = time.time(), time.process_time()
    if case.a_second is not None:
        search, since, until = spread(search, case.a_second, case.problems)
        at_once = case.problems
    controller = Controller(context, grader("exact"), Lease(case.flops), searches_at_once=at_once)
    holding = asyncio.create_task(resident_with(pools[0], most))
    await controller.run(stand_in.problems(case.problems), [prompt] * case.problems, search)
    recorder.flush()
    ended, busy = time.time(), time.process_time() - cpu
    memory = peak() - most_before
    recorder.close()
    times = [await handle.call("times") for handle in links]
    answering = 0.0 if case.ray else sum(seconds for seconds, _ in times)  # of this process
    engines.subtract({id: seconds for _, took in times for id, seconds in took.items()})
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
    """Waits until the pool has so many requests; returns this process's memory in bytes then, or None where
    some requests were answered before."""
    while pool.stats.requests < operations:  # noqa: ASYNC110 - nothing tells of a request
        await asyncio.sleep(0.01)
    return resident() if pool.running + pool.waiting == operations else None


def resident() -> int:
    """Returns this process's memory in bytes."""
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])


def peak() -> int:
    """Returns the most memory in bytes that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def start(case: Case) -> subprocess.Popen[str]:
    """Starts ``measure`` in a process of its own."""
    command = [sys.executable, "-m", "orchestrator.benchmarks.controller", "--case", json.dumps(vars(case))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def found_by(process: subprocess.Popen[str]) -> Figures:
    """Waits for the figures of ``start``. Raises CalledProcessError."""
    out, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(out.splitlines()[-1])  # Ray's own processes may say something before


def apart(case: Case, repeat: int = 1) -> Figures:
    """Runs a case ``repeat`` times; returns the figures of the median rate."""
    found = [found_by(start(case)) for _ in range(repeat)]
    return sorted(found, key=lambda figures: figures["rate"])[len(found) // 2]


def sharded(case: Case, shards: int) -> Figures:
    """Runs ``shards`` controllers at once, each a process with its share of the problems and replicas, and
    a lease of the one budget; returns their common figures."""
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
    for lease, figures in zip(leases, found, strict=True):
        spent = int(figures["spent"])
        lease.request(spent, lambda paid, spent=spent: paid.settle(spent))  # type: ignore
        lease.close()
    assert budget.settled == sum(figures["spent"] for figures in found)
    names = [name for name in found[0] if all(name in figures for figures in found)]
    mean = {name: statistics.fmean(figures[name] for figures in found) for name in names}
    seconds = max(figures["ended"] for figures in found) - min(figures["began"] for figures in found)
    total = {name: sum(figures[name] for figures in found) for name in ("operations", "bytes")}
    return {**mean, **total, "rate": total["operations"] / seconds}


def table(title: str, first: str, rows: Mapping[str, Figures]) -> Table:
    """Shows each case's operations, the controller's processor time an operation and that of the replicas in
    its process, an operation's time beyond its replica, the growth of the process's memory, and the memory
    of an operation while all are in flight."""
    columns = (first, "ops", "ops/s", "CPU µs", "engines'", "ms p50", "ms p99", "MB", "KB held")
    shown = harness.table(title, *columns, left=0)
    for name, row in rows.items():
        form = "{operations:,.0f} {rate:,.0f} {cpu_us:.0f} {engines_us:.1f} {p50_ms:.1f} {p99_ms:.1f}"
        held = f"{row['held'] / 1024:.2f}" if "held" in row else "-"
        shown.add_row(name, *form.format(**row).split(), f"{row['bytes'] / 2**20:.0f}", held)
    return shown


def tables(repeat: int, most_problems: int) -> Iterator[tuple[str, str, dict[str, Figures]]]:
    """Runs all cases; yields each table's title, its first column, and its rows."""

    def each(cases: Mapping[str, Case], repeat: int = repeat) -> dict[str, Figures]:
        return {name: apart(case, repeat) for name, case in cases.items()}

    for ray, replicas, where in ((False, REPLICAS, ""), (True, RAY_REPLICAS, ", replicas as Ray actors")):
        fast = each({str(n): Case(n, ray=ray) for n in replicas})
        yield f"as fast as it can, 6,400 paths in flight{where}", "replicas", fast
        searches = {name: row["rate"] / 2 / (row["operations"] / Case.problems) for name, row in fast.items()}
        half = {
            name: Case(int(name), int(15 * often), seconds=0.3, a_second=often, ray=ray)
            for name, often in searches.items()
        }
        held = {name: case for name, case in half.items() if case.holds}
        yield f"searches beginning by chance, at half that rate{where}", "replicas", each(held)
    at_once = {f"{16 * n:,}": Case(1000, n, n, 8.0, whole=True) for n in (250, 1000, 4000)}
    yield "by operations in flight at once", "in flight", each(at_once)
    shards = {str(n): sharded(Case(1000, 800, 800), n) for n in (1, 2)}
    yield "by controller processes (a core each)", "shards", shards
    sizes = [n for n in (100, 1000, 10_000, 100_000) if n <= most_problems]
    problems = {f"{n:,}": Case(64, n, 400, n=1, whole=True) for n in sizes}
    yield "by problems, one solution each", "problems", each(problems, 1)
    yield "by N, 4 problems", "N", each({f"{n:,}": Case(64, 4, 4, n=n) for n in (64, 256, 1024, 4096)}, 1)
    yield "by depth", "steps", each({str(n): Case(64, 100, 100, depth=n) for n in (6, 12, 24, 48)}, 1)


def main() -> None:
    parser = harness.parser(__doc__, repeat=3, out=Path("build/controller.json"))
    parser.add_argument("--most-problems", type=int, default=100_000, help="larger cases are left out")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        with tempfile.TemporaryDirectory() as directory:
            case = Case(**json.loads(options.case))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as ``launch`` does
                print(json.dumps(runner.run(measure(case, Path(directory) / "journal.sqlite"))))
        return
    console, found = Console(), dict[str, dict[str, Figures]]()
    for title, first, rows in tables(options.repeat, options.most_problems):
        found[title] = rows
        console.print(table(title, first, rows))
    harness.save(options.out, found)


if __name__ == "__main__":
    main()
