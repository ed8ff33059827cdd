"""How many operations one controller sustains, against engines that only wait.

Everything is real but the engines: searches, ledger, journal, pools and routing. A modelled replica answers
after a delay, with a step of the lab's length; it lives in the controller's process, so that its cost is in
the figures and Ray's messages are not. Each case is a process of its own. Run with ``make bench-controller``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.messages import (
    ReplicaInfo,
    Request,
    Result,
    SampleRequest,
    SampleResult,
    ScoreRequest,
    ScoreResult,
)
from actors.pool import Pool, PoolSpec
from orchestrator.answers import ANSWERS
from orchestrator.config import load
from orchestrator.controller import Controller
from orchestrator.journal import Journal
from orchestrator.ledger import Lease
from orchestrator.preparation import prepare
from orchestrator.problems import Problem
from orchestrator.setting import Sampling, Setting
from orchestrator.strategies import find

LAB = Path(__file__).parents[2] / "configs" / "lab.yaml"
SLOTS = 256
"""Requests that a modelled engine runs at once."""
STEP = 7
"""Tokens of a step."""


@dataclass(frozen=True)
class Case:
    """``problems`` searches, ``at_once`` of them in flight, on so many replicas, a quarter of them verifiers.
    An answer takes ``seconds``, give or take half of that. Beam search over ``n`` paths of ``depth`` steps;
    ``n`` 1: one whole solution a problem."""

    replicas: int = 64
    problems: int = 400
    at_once: int = 400
    seconds: float = 0.02
    n: int = 16
    depth: int = 6


class Modelled:
    """A replica without an engine. ``took``: how long the request of an id was with it, in seconds."""

    def __init__(self, name: str, case: Case, prompt: int, took: dict[str, float]) -> None:
        self.name, self._case, self._prompt, self._took = name, case, prompt, took
        self._random = random.Random(name)
        self._ready: list[Result] = []
        self._arrived = asyncio.Event()

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self, method)(*args)

    def restart(self) -> None: ...

    def kill(self) -> None: ...

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self.name, "modelled", os.getpid(), 10**6, SLOTS, 10**9, 0.0)

    async def submit(self, requests: list[Request]) -> None:
        seconds = self._case.seconds * (0.5 + self._random.random())
        self._took.update(dict.fromkeys((request.id for request in requests), seconds))
        done = [self._answer(request) for request in requests]
        asyncio.get_running_loop().call_later(seconds, self._finish, done)

    async def collect(self) -> list[Result]:
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        ready, self._ready = self._ready, []
        return ready

    async def abort(self, ids: list[str]) -> None: ...

    async def ping(self) -> float:
        return 0.0

    async def forget(self) -> None: ...

    async def shutdown(self) -> None: ...

    def _finish(self, results: list[Result]) -> None:
        self._ready += results
        self._arrived.set()

    def _answer(self, request: Request) -> Result:
        if isinstance(request, ScoreRequest):
            scores = tuple(request.tokens[end - 1] / 16 for end in request.step_ends)
            return ScoreResult(request.id, scores, STEP, self.name)
        steps = 1 if request.until == "step" else self._case.depth
        tokens = tuple(3 + (request.seed >> i % 60) % 6 for i in range(STEP * steps))
        written = len(request.prompt) - self._prompt + len(tokens)
        finish = "end" if written >= STEP * self._case.depth else "step"
        return SampleResult(request.id, tokens, finish, STEP, self.name)  # type: ignore[arg-type]


@dataclass
class Engines:
    """The pools; ``added``: the seconds that operations took beyond the engines' own."""

    generator: Pool[SampleResult]
    verifier: Pool[ScoreResult]
    took: dict[str, float]
    added: list[float] = field(default_factory=list)

    async def sample(self, request: SampleRequest) -> SampleResult:
        began = time.perf_counter()
        result = await self.generator.run(request)
        self.added.append(time.perf_counter() - began - self.took.pop(request.id))
        return result

    async def revise(self, request: SampleRequest) -> SampleResult:
        return await self.sample(request)

    async def score(self, request: ScoreRequest) -> ScoreResult:
        began = time.perf_counter()
        result = await self.verifier.run(request)
        self.added.append(time.perf_counter() - began - self.took.pop(request.id))
        return result


async def measure(case: Case, journal: Path) -> dict[str, float]:
    """One run: operations/s, processor time and added latency an operation, peak memory in bytes."""
    prepared = prepare(load(LAB, ["problems.limit=1"]))
    prompt, took = prepared.prompts[0], dict[str, float]()

    def connect(spec: PoolSpec, name: str) -> Any:
        return Modelled(name, case, len(prompt), took)

    verifiers = max(1, case.replicas // 4)
    pools = [
        Pool[Any](PoolSpec(name, Modelled, "modelled", count), connect)  # type: ignore[arg-type]
        for name, count in (("generator", case.replicas - verifiers), ("verifier", verifiers))
    ]
    for pool in pools:
        await pool.start(60)
    engines, recorder = Engines(pools[0], pools[1], took), Journal(journal)
    setting = Setting(
        engines,
        prepared.codec,
        prepared.generator,
        prepared.verifier,
        sampling=Sampling(1.0, 1.0, STEP, STEP * case.depth),
        journal=recorder,
    )
    problems = [Problem(f"p{i}", "", "") for i in range(case.problems)]
    controller = Controller(setting, ANSWERS["exact"], Lease(10**18), searches_at_once=case.at_once)
    strategy, params = ("beam_search", {"width": 4}) if case.n > 1 else ("best_of_n", {})
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    search = partial(find(strategy).search, n=case.n, **params)
    await controller.run(problems, [prompt] * case.problems, search)
    recorder.flush()
    seconds, busy = time.perf_counter() - began, time.process_time() - cpu
    memory = peak() - before
    recorder.close()
    for pool in pools:
        await pool.close()
    operations, added = controller.usage.operations, sorted(engines.added)
    return {
        "operations": operations,
        "rate": operations / seconds,
        "cpu_us": 1e6 * busy / operations,
        "p50_ms": 1e3 * statistics.median(added),
        "p99_ms": 1e3 * added[int(0.99 * len(added))],
        "bytes": memory,
    }


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def apart(case: Case, repeat: int = 1) -> dict[str, float]:
    """``measure`` in a process of its own; the median of ``repeat`` by rate."""
    command = [sys.executable, "-m", "orchestrator.benchmarks.controller", "--case", json.dumps(vars(case))]
    found = []
    for _ in range(repeat):
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(out))
    return sorted(found, key=lambda each: each["rate"])[len(found) // 2]


def table(title: str, first: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    shown = Table(title=title, title_justify="left")
    columns = (first, "operations", "a second", "CPU µs", "added ms p50", "p99", "KB")
    for column in columns:
        shown.add_column(column, justify="right")
    for name, row in rows.items():
        shown.add_row(
            name,
            f"{row['operations']:,.0f}",
            f"{row['rate']:,.0f}",
            f"{row['cpu_us']:.0f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['bytes'] / row['operations'] / 1024:.2f}",
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
            print(json.dumps(asyncio.run(measure(case, Path(directory) / "journal.sqlite"))))
        return
    console = Console()
    found: dict[str, dict[str, dict[str, float]]] = {}

    def show(title: str, first: str, cases: Mapping[str, Case], repeat: int = options.repeat) -> None:
        found[title] = {name: apart(case, repeat) for name, case in cases.items()}
        console.print(table(title, first, found[title]))

    rate = "as fast as it can, 6,400 paths in flight"
    show(rate, "replicas", {str(n): Case(n) for n in (8, 64, 512, 1000)})
    half = int(found[rate]["1000"]["rate"] / 2 / 16)
    show("at half that rate", "replicas", {"1000": Case(1000, 3 * half, half, 1.0)})
    inflight = {f"{16 * n:,}": Case(64, 1600, n) for n in (100, 400, 1600)}
    show("by paths in flight", "in flight", inflight)
    sizes = [n for n in (100, 1000, 10_000, 100_000) if n <= options.most_problems]
    show("by problems, one solution each", "problems", {f"{n:,}": Case(64, n, 400, n=1) for n in sizes}, 1)
    show("by N, 4 problems", "N", {f"{n:,}": Case(64, 4, 4, n=n) for n in (64, 256, 1024, 4096)}, 1)
    show("by depth", "steps", {str(n): Case(64, 100, 100, depth=n) for n in (6, 12, 24, 48)}, 1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
