"""However a run is cut short, and whatever that leaves of its files, it goes on to the same end."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import PoolFailed, Request, RequestFailed
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import JournalDamaged
from orchestrator.problems.problem import Problem
from orchestrator.runs.results import Summary
from orchestrator.runs.run import Run
from orchestrator.search.operations import Operations
from tests.search.test_any_program import STEP, follow
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, GENERATOR, VERIFIER, ScriptedEngine, flops_budget, letters

PROBLEMS = 3
FINISHED, CUT, KILLED = 0, 3, 9
"""Exit statuses of a leg's process."""


@dataclass
class Fault:
    """What ends a leg: at its ``at``-th request, or where a file is to grow beyond ``at`` KB."""

    kind: str
    at: int
    torn: list[tuple[str, int]]
    """Files that lose their last bytes, where the machine went down too."""


@dataclass
class Engines(ScriptedEngine):
    """One scripted engine as all the pools of a deployment."""

    fault: Fault | None = None
    interrupt: Any = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.pool = SimpleNamespace(
            spec=SimpleNamespace(name="generator", replicas=1), busy_seconds=0.0, running=0, waiting=0
        )

    async def forget(self) -> None: ...

    async def sample(self, request: Any) -> Any:
        return await self._meets(request) or await super().sample(request)

    async def revise(self, request: Any) -> Any:
        return await self._meets(request) or await super().revise(request)

    async def score(self, request: Any) -> Any:
        return await self._meets(request) or await super().score(request)

    async def _meets(self, request: Request) -> None:
        self.asked += 1
        if self.fault is None or self.asked != self.fault.at:
            return
        if self.fault.kind == "kill":
            os._exit(KILLED)
        if self.fault.kind == "request":
            raise RequestFailed("generator-0: this one fails")
        if self.fault.kind == "engines":
            raise PoolFailed("no replica is left")
        if self.fault.kind == "interrupt":
            self.interrupt()


class Store:
    """A tracking store that takes everything."""

    uri, run_id = "store", "1"

    def __init__(self, *arguments: object) -> None: ...

    def write(self, entries: object) -> None: ...


@pytest.fixture(autouse=True, scope="module")
def tracking() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.tracking.tracker.MlflowStore", Store)
        yield


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    problems = [Problem(f"p{i}", f"{i}+1?", "") for i in range(PROBLEMS)]
    return replace(
        prepare(load(LAB_CONFIG, ["problems.limit=3"])),
        problems=problems,
        prompts=[CODEC.encode(problem.prompt) for problem in problems],
        codec=CODEC,
        generator=GENERATOR,
        verifier=replace(prepare(load(LAB_CONFIG)).verifier, costs=VERIFIER),
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def leg(
    prepared: Prepared, run_id: str, programs: list[Any], jitter: int, fault: Fault | None = None
) -> Summary:
    """Begins the run, or goes on with it."""
    engines = Engines(letters(3), jitter=random.Random(jitter), fault=fault)
    session = SimpleNamespace(pools_of=lambda _: [engines.pool], deployment=engines, startup_seconds=0.0)

    async def search(ops: Operations) -> Any:
        await follow(programs[int(ops.problem.id[1:])], ops)
        return ops.finished

    async def run() -> Summary:
        engines.interrupt = asyncio.current_task().cancel
        with Run(prepared, run_id) as record:
            return await record.search(session, MagicMock(), search)

    return asyncio.run(run())


def in_a_process(fault: Fault, *arguments: Any) -> int:
    """A leg in a process of its own, which ``fault`` ends, if it comes to that. Returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = CUT
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if fault.kind == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at * 1024, resource.RLIM_INFINITY))
        leg(*arguments, fault)
        status = FINISHED
    finally:
        os._exit(status)


def recorded(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path / "journal.sqlite")) as database:
        return sorted(database.execute("SELECT problem, key FROM operations"))


def solutions(path: Path) -> list[Any]:
    return pq.read_table(path / "results.parquet", columns=["problem", "flops", "solutions"]).to_pylist()


BEGINS = st.tuples(
    st.just("sample"), st.sampled_from([1, 4, 7]), st.integers(1, 8), st.sampled_from(["step", "end"])
)
GOES_ON = st.lists(STEP.filter(lambda step: step[0] != "cancel"), max_size=4)
BEGUN = st.builds(lambda first, more: [first, *more], BEGINS, GOES_ON)
PROGRAMS = st.tuples(GOES_ON, BEGUN, BEGUN)  # the first problem may leave all of its share
SHARES = st.integers(1, 4).map(lambda n: 20_000 + n * (GENERATOR.sample(4, 32) + VERIFIER.score(4, 36)))
JOURNAL = "journal.sqlite"
FILES = [
    JOURNAL,
    "journal.sqlite-wal",
    "legs.jsonl",
    "results.jsonl",
    "tracking.jsonl",
    "tracking.done",
    "run.log",
]
FAULT = st.builds(
    Fault,
    st.sampled_from(["kill", "kill", "interrupt", "engines", "request", "full"]),
    st.integers(1, 30),
    st.lists(st.tuples(st.sampled_from(FILES), st.integers(1, 3000)), max_size=2),
)


@settings(max_examples=12)
@given(
    programs=PROGRAMS,
    share=SHARES,
    faults=st.lists(FAULT, min_size=1, max_size=3),
    jitter=st.integers(0, 9),
)
def test_a_run_ends_the_same_however_often_it_is_cut_short(
    prepared, directory, programs, share, faults, jitter
):
    config = replace(prepared.config, runs=str(directory))
    run = replace(prepared, config=config, budget=flops_budget(share * PROBLEMS, PROBLEMS))
    for old in directory.glob("*"):
        shutil.rmtree(old)
    expected = leg(run, "whole", programs, jitter)
    assert expected.flops.spent <= expected.flops.budget
    cut, copy = directory / "cut", directory / "copy"
    for number, fault in enumerate(faults, start=1):
        if fault.kind == "request" and any(kind == "gather" for each in programs for kind, *_ in each):
            continue  # such a program goes on without what has failed
        in_a_process(fault, run, "cut", programs, jitter + number)
        if not any(name == "journal.sqlite" for each in faults[: number - 1] for name, _ in each.torn):
            shutil.rmtree(copy, ignore_errors=True)  # else it would be a copy of a damaged journal
            if cut.is_dir():
                shutil.copytree(cut, copy)
        for name, lost in fault.torn:
            if (cut / name).is_file() and (name != JOURNAL or number == len(faults)):
                os.truncate(cut / name, max(0, (cut / name).stat().st_size - lost))
    try:
        found = leg(run, "cut", programs, jitter + 7)
    except JournalDamaged as error:
        damage = str(error)
        shutil.rmtree(cut)
        copy.rename(cut)
        found = leg(run, "cut", programs, jitter + 7)
        if JOURNAL not in [name for name, _ in faults[-1].torn] or "put a copy in its place" not in damage:
            raise
    assert found.solutions_sha256 == expected.solutions_sha256
    assert (found.flops.spent, found.failed) == (expected.flops.spent, expected.failed)
    assert solutions(cut) == solutions(directory / "whole")
    assert recorded(cut) == recorded(directory / "whole"), "each operation once"
    assert not (cut / "results.jsonl").exists()
