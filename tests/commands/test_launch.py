"""How a command ends that is told to."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from actors.messages import SampleResult
from orchestrator.commands import launch
from orchestrator.commands.cli import run_command
from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.durability.journal import Journal, JournalMismatch
from orchestrator.problems.problem import Problem
from orchestrator.runs.results import summarise
from orchestrator.runs.run import SUMMARY, NoSummary, Run, unfinished
from orchestrator.search.context import Usage
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, GENERATOR, ScriptedEngine, flops_budget
from tests.support.stored import result, solution

SCRIPT = """
import asyncio, signal, sys
from rich.console import Console
from orchestrator.commands.launch import until_interrupted

async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("closed", flush=True)

signal.signal(signal.SIGINT, {"default": signal.default_int_handler, "ignored": signal.SIG_IGN}[sys.argv[1]])
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
status, _ = until_interrupted(work(), Console(stderr=True), lambda: "all of it is kept")
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("sigint", "number"),
    [("default", signal.SIGINT), ("ignored", signal.SIGTERM), ("default", signal.SIGHUP)],
)
def test_a_signal_ends_the_work_in_good_order_also_in_a_background_job(sigint, number):
    command = [sys.executable, "-c", SCRIPT, sigint]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "closed\n")
    assert errors == "interrupted; all of it is kept\n"


HARD = """
import signal, sys
from rich.console import Console
from orchestrator.commands import interrupts
from orchestrator.commands.launch import until_interrupted

async def work():
    print("begun", flush=True)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

interrupts.GRACE_SECONDS = 0.3
signal.signal(signal.SIGINT, signal.default_int_handler)
until_interrupted(work(), Console(stderr=True), lambda: "all of it is kept")
"""


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_second_signal_or_time_ends_a_strategy_that_nothing_else_ends(numbers):
    with subprocess.Popen(
        [sys.executable, "-c", HARD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.1)  # two at once are one
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "ended at once; all of it is kept"


def test_a_run_that_is_not_finished_is_found_by_its_configuration_alone(tmp_path):
    config = load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2"])
    other = load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", "seed=1"])
    prepared = prepare(config)
    assert unfinished(prepared) is None
    for name in ("lab-1", "lab-2", "lab-3", "lab-4"):
        journal = Journal(tmp_path / name / "journal.sqlite", fingerprint=fingerprint(prepared))
        if name != "lab-4":
            journal.record("p", "p/sample/0", SampleResult("p/sample/0", (1,), "end", 1, "r"), 1)
        journal.close()
    (tmp_path / "lab-3" / SUMMARY).write_text("{}")
    assert unfinished(prepared) == "lab-2", "the newest that is not finished and has results"
    assert unfinished(prepare(other)) is None
    held = Journal(tmp_path / "lab-2" / "journal.sqlite", fingerprint=fingerprint(prepared))
    assert unfinished(prepared) == "lab-1", "one that is going on is not advertised"
    held.close()


class Engines(ScriptedEngine):
    async def forget(self) -> None: ...


class FullDisk:
    """A database that takes no commit."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.close = database.close

    def execute(self, statement: str, rows: tuple[str]) -> None:
        raise sqlite3.OperationalError("database or disk is full")


async def test_a_run_whose_last_results_are_not_recorded_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.runs.run.Tracker", MagicMock())
    # Nothing is committed before it must be.
    monkeypatch.setattr("orchestrator.durability.journal.GATHER_SECONDS", 60)
    config = load(LAB_CONFIG, [f"runs={tmp_path}", "strategy={name: best_of_n, n: 2}", "verifier.model=null"])
    prepared = replace(
        prepare(config),
        problems=[Problem("p", "1+1?", "")],
        prompts=[CODEC.encode("1+1?")],
        codec=CODEC,
        generator=GENERATOR,
        budget=flops_budget(10**12),
    )
    session = SimpleNamespace(pools_of=lambda prepared: [], deployment=Engines(), startup_seconds=0.0)

    async def finished(name: str, full: bool) -> bool:
        with Run(prepared, name) as run:
            if full:
                run._journal._database = FullDisk(run._journal._database)
            await run.search(session, MagicMock())
        return (tmp_path / name / SUMMARY).is_file()

    assert await finished("lab-1", full=False)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await finished("lab-2", full=True)
    assert (tmp_path / "lab-2" / "journal.sqlite").is_file()
    assert not (tmp_path / "lab-2" / SUMMARY).is_file()
    assert unfinished(prepared) is None, "nothing of it is recorded"


@pytest.mark.parametrize(("broken", "status"), [(0, "FINISHED"), (1, "FINISHED"), (2, "FAILED")])
async def test_a_run_of_which_more_than_5_of_100_searches_broke_ends_as_failed_in_mlflow(
    tmp_path, monkeypatch, broken, status
):
    tracker = MagicMock()
    monkeypatch.setattr("orchestrator.runs.run.Tracker", tracker)
    config = load(LAB_CONFIG, [f"runs={tmp_path}", "strategy={name: best_of_n, n: 1}", "verifier.model=null"])
    problems = [Problem(f"p{i}", "1+1?", "") for i in range(20)]
    prepared = replace(
        prepare(config),
        problems=problems,
        prompts=[CODEC.encode("1+1?")] * 20,
        codec=CODEC,
        generator=GENERATOR,
        budget=flops_budget(10**12, 20),
    )
    session = SimpleNamespace(pools_of=lambda prepared: [], deployment=Engines(), startup_seconds=0.0)

    async def search(ops):
        if int(ops.problem.id[1:]) < broken:
            raise ValueError("no")
        return await ops.sample(ops.root, n=1, until="end")

    with Run(prepared, "lab-1") as run:
        summary = await run.search(session, MagicMock(), search)
    assert (summary.failed, summary.broken is not None) == (broken, status == "FAILED")
    tracker().close.assert_called_once_with(status, None)
    kept = {call.args[0].name for call in tracker().artifact.call_args_list}
    assert "journal.sqlite" not in kept, "the store beside the runs does not keep it twice"


@pytest.mark.parametrize(("failed", "status"), [(0, 0), (1, 0), (2, 1)])
def test_a_run_of_which_too_many_searches_broke_is_a_failure_to_the_shell(
    tmp_path, monkeypatch, capsys, failed, status
):
    results = [result(f"p{i}", [solution(0, True)]) for i in range(20)]
    results = [replace(r, error="ValueError: no" if i < failed else None) for i, r in enumerate(results)]
    found = summarise(
        "r", results, Usage(), budget=flops_budget(1), seconds=1.0, startup_seconds=1.0, utilisation={}
    )

    class Record:
        untracked = None
        given_back = None
        page = ""

        def __init__(self, *given, **named): ...

        def __enter__(self):
            return self

        def __exit__(self, *error): ...

        async def search(self, *given):
            return found

    @asynccontextmanager
    async def engines(*given):
        yield None

    monkeypatch.setattr("orchestrator.runs.run.Run", Record)
    monkeypatch.setattr("orchestrator.runs.session.session", engines)
    prepared = prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=1"]))
    errors = Console(stderr=True, width=200)
    assert launch.run(prepared, True, errors) == status
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] == failed
    assert ("the run has failed: 2 of 20 problems failed, all with ValueError: no" in printed.err) == bool(
        status
    )


def test_a_run_goes_on_only_with_what_is_done_in_its_strategys_place(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.runs.run.Tracker", MagicMock())
    prepared = prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=1"]))
    for _ in range(2):
        with Run(prepared, "lab-1", instead="labels, 4 completions"):
            pass
    for other in ("labels, 5 completions", ""):
        with pytest.raises(JournalMismatch):
            Run(prepared, "lab-1", instead=other)
    assert unfinished(prepared) is None


def test_what_a_run_can_gain_nothing_by_is_said_as_it_begins(monkeypatch, tmp_path):
    def nothing(work, *said):
        work.close()
        return 3, None

    monkeypatch.setattr(launch, "until_interrupted", nothing)
    errors = Console(file=StringIO(), width=300)
    config = load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", "generator.temperature=0"])
    assert launch.run(prepare(config), False, errors) == 3
    said = errors.file.getvalue()  # type: ignore[attr-defined]
    warnings = [line for line in said.splitlines() if line.startswith("warning: ") and "GiB" not in line]
    assert len(warnings) == 1, "beside that of a machine whose memory others have taken"
    assert "warning: generator.temperature is 0: the 32 samples of strategy.n are all the same" in said


def test_a_run_without_a_summary_ends_in_a_line_that_says_where_its_results_are():
    async def work():
        raise NoSummary("runs/r/results.parquet is whole, and has no summary: ZeroDivisionError")

    errors = Console(file=StringIO(), width=300)
    handler = signal.getsignal(signal.SIGTERM)  # the command puts its own in place
    assert launch.until_interrupted(work(), errors, lambda: "kept") == (1, None)
    signal.signal(signal.SIGTERM, handler)
    said = errors.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith("ttc: runs/r/results.parquet is whole, and has no summary: ZeroDivisionError\n")


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_cluster_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path, capsys, verb):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = str(LAB_CONFIG)
    if verb == "sweep":
        config = str(tmp_path / "grid.yaml")
        Path(config).write_text(f"base: {LAB_CONFIG}\nname: grid\nsweep: {{grid: {{seed: [1, 2]}}}}\n")
    own = (f"runs={tmp_path}/runs", "problems.limit=2", f"cluster.address={address}", "--json")
    assert run_command([verb, config, *own]) == 1
    out, err = capsys.readouterr()
    told = f"cluster.address={address}: nobody answers there ([Errno 111] Connection refused)"
    assert json.loads(out) == {"error": told}
    assert err.splitlines()[-1] == f"ttc: {told}"
    assert list((tmp_path / "runs").glob("*")) == []
