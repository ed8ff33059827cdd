"""The main job end to end: real Ray, real vLLM, the lab's models, through the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from tests.chaos.controllers import recorded
from tests.support.leftovers import Footprint, socket_files
from tests.support.paths import LAB_CONFIG, ROOT
from tests.support.shared_engines import LAB

CONFIG = str(LAB_CONFIG)
PROBLEMS = 12
SMALL = (f"problems.limit={PROBLEMS}", "strategy.n=8", "baseline=2")
START_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict:
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def run_id(self) -> str:
        return self.err.partition("run ")[2].split()[0]


class Command(subprocess.Popen[str]):
    """A ``ttc`` command that runs, and what its traces are told by."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.footprint = Footprint()
        super().__init__(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=cwd,
            env={**os.environ, **self.footprint.environment, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # As from a terminal, also where the suite itself is a background job, which ignores it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def must_leave_nothing(self, within: float = 15, *, killed: bool = False) -> None:
        """No process, no shared memory, no socket after so many seconds. Only a Ray that was ``killed``
        leaves its sockets' names, among its logs."""
        left = self.footprint.left(time.monotonic() + within)
        names = socket_files(self.footprint.directory)
        assert not left, left
        assert bool(names) == killed, names
        self.footprint.remove()


def ttc(cwd: Path, *arguments: str) -> Outcome:
    command = Command(cwd, *arguments)
    out, err = command.communicate(timeout=START_SECONDS)
    command.must_leave_nothing()
    assert "Traceback" not in err, err
    return Outcome(command.returncode, out, err)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Outcome]:
    """One run of the default job on few problems, with two generator replicas."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    return cwd, ttc(cwd, "run", CONFIG, "--json", *SMALL, "generator.replicas=2")


def test_the_summary_holds_what_a_program_needs(undisturbed):
    _, outcome = undisturbed
    summary = outcome.summary
    assert outcome.out.count("\n") == 1, "one JSON object and nothing else on standard output"
    assert (summary["run_id"], summary["problems"]) == (outcome.run_id, PROBLEMS)
    assert set(summary["accuracy"]) == {"majority", "best", "weighted"}
    flops = summary["flops"]
    assert flops["spent"] == flops["generator"] + flops["verifier"] <= flops["budget"]
    assert 0 < max(summary["accuracy"].values()) <= summary["coverage"] <= 1
    assert summary["seconds"] > 0
    assert len(summary["solutions_sha256"]) == 64


def test_every_generated_and_scored_token_is_charged_once(undisturbed):
    cwd, outcome = undisturbed
    journal = sqlite3.connect(cwd / "runs" / outcome.run_id / "journal.sqlite")
    recorded = journal.execute("SELECT problem, kind, result, flops FROM operations").fetchall()
    rows = [row for problem, *row in recorded if not problem.startswith("baseline/")]
    summary = outcome.summary
    prompt = 42
    sampled = sum(len(json.loads(result)["tokens"]) for kind, result, _ in rows if kind == "sample")
    assert summary["tokens"]["generator"] == sampled + PROBLEMS * prompt
    assert summary["tokens"]["verifier"] < summary["tokens"]["generator"], "it reads equal steps once"
    prompts = summary["flops"]["spent"] - sum(flops for *_, flops in rows)
    assert 0 < prompts < 0.2 * summary["flops"]["spent"]
    assert len(rows) == summary["operations"]
    beside = summary["flops"]["baseline"] - sum(row[-1] for row in recorded if row[0].startswith("baseline/"))
    assert 0 < beside < prompts, "of the prompts only the generator's"
    assert len(recorded) - len(rows) == PROBLEMS * summary["baseline"]["samples"]


def test_results_by_problem_are_kept_as_parquet(undisturbed):
    cwd, outcome = undisturbed
    rows = pq.read_table(cwd / "runs" / outcome.run_id / "results.parquet").to_pylist()
    summary = outcome.summary
    assert [row["problem"] for row in rows] == [f"lab-test-{i:04d}" for i in range(PROBLEMS)]
    for rule, accuracy in summary["accuracy"].items():
        assert sum(row[f"correct_{rule}"] for row in rows) / PROBLEMS == accuracy
    assert sum(row["flops"] for row in rows) == summary["flops"]["spent"]
    for row in rows:
        assert row["covered"] == any(s["answer"] == row["answer"] for s in row["solutions"])
        assert all(len(s["step_scores"]) >= 1 for s in row["solutions"])


def test_mlflow_holds_config_metrics_curve_and_artifacts(undisturbed):
    cwd, outcome = undisturbed
    client, summary = MlflowClient(f"sqlite:///{cwd}/runs/mlflow.db"), outcome.summary
    (run,) = client.search_runs([client.get_experiment_by_name("lab").experiment_id])
    assert run.info.status == "FINISHED"
    accuracy = summary["accuracy"]["weighted"]
    assert f" n=8 · {100 * accuracy:.1f} % [" in run.info.run_name
    assert "| problems | " in run.data.tags["mlflow.note.content"]
    assert [each.dataset.name for each in run.inputs.dataset_inputs] == ["lab test"]
    assert run.data.params["strategy.n"] == "8"
    assert run.data.params["generator.replicas"] == "2"
    assert run.data.metrics["accuracy"] == run.data.metrics["accuracy/weighted"]
    assert run.data.metrics["accuracy"] == pytest.approx(accuracy, rel=1e-4)
    assert run.data.metrics["flops/spent"] == summary["flops"]["spent"]
    curve = client.get_metric_history(run.info.run_id, "progress/weighted_of_all")
    # MLflow keeps one of two points that agree in step, value and millisecond.
    assert 2 <= len(curve) <= PROBLEMS
    values = [point.value for point in sorted(curve, key=lambda point: (point.step, point.value))]
    assert values == sorted(values), "what is solved stays solved"
    last = max(curve, key=lambda point: (point.step, point.value))
    assert last.value == run.data.metrics["accuracy"]
    assert last.step == summary["flops"]["spent"] // 1_000_000
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert names == {"config.yaml", "run.log", "results.parquet", "summary.json", "problems.json"}
    assert run.data.tags["ttc.run_id"] == outcome.run_id
    traces = client.search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id)
    assert sorted(each.data.spans[0].name for each in traces) == [f"lab-test-{i:04d}" for i in range(3)]
    for each in traces:
        root, *spans = each.data.spans
        assert root.get_attribute("operations") == len(spans)
        assert all(span.end_time_ns > span.start_time_ns for span in spans), "each has its own time"


def test_the_summary_is_kept_beside_the_results(undisturbed):
    cwd, outcome = undisturbed
    assert json.loads((cwd / "runs" / outcome.run_id / "summary.json").read_text()) == outcome.summary


def wait_for_operations(process: subprocess.Popen[str], runs: Path, count: int) -> int:
    """Until the journal of the only run there holds so many; returns how many it holds then."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (held := max(map(recorded, runs.glob("*/journal.sqlite")), default=0)) >= count:
            return held
        time.sleep(0.02)
    pytest.fail(f"no operation was journaled; status {process.poll()}: {process.stderr.read()}")


@contextmanager
def small_disk(disk: Path) -> Iterator[str]:
    """The directory is a file system of its own, of 64 MB; where that is not to be had, it yields why."""
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "ttc-test", str(disk)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not mounted or mounted.returncode:
        yield f"no file system of its own: {mounted.stderr.strip() if mounted else 'no mount command'}"
        return
    try:
        yield ""
    finally:
        # Ray's agents work in there, and look once a minute whether their node lives.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1 << 16))
            except OSError:
                return filler


def stopped(command: Command, status: int, within: float = 60) -> str:
    """What it said, once it has ended with this status and printed why, if it could."""
    out, err = command.communicate(timeout=within)
    assert command.returncode == status, err
    assert out == "" if status < 0 else json.loads(out)["error"]
    assert "Traceback" not in err
    return err


@dataclass
class Misfortunes:
    """A run on another number of replicas than the one that nothing disturbed: interrupted, then killed,
    then out of disk, each time resumed. ``held``: operations in its journal when it was resumed for good."""

    run_id: str
    runs: Path
    interrupted: str
    killed: str
    no_small_disk: str
    full: str | None
    still_full: Outcome | None
    held: int
    resumed: Outcome


@pytest.fixture(scope="module")
def misfortunes(undisturbed, tmp_path_factory) -> Iterator[Misfortunes]:
    cwd = tmp_path_factory.mktemp("misfortunes")
    disk, elsewhere = cwd / "disk", cwd / "elsewhere"
    elsewhere.mkdir()
    runs = disk / "runs"
    # A few requests at a time: on a busy machine a faster run may end before this test sees it begin.
    slow = ("generator.replicas=1", "generator.engine.max_num_seqs=3")
    with small_disk(disk) as no_small_disk:
        interrupted = Command(disk, "run", CONFIG, "--json", *SMALL, *slow)
        held = wait_for_operations(interrupted, runs, 20)
        (run_id,) = (path.parent.name for path in runs.glob("*/journal.sqlite"))
        os.killpg(interrupted.pid, signal.SIGINT)  # as Ctrl-C does: to every process of the terminal's group
        said = stopped(interrupted, 130)
        interrupted.must_leave_nothing()

        resume = ("resume", run_id, "--runs", str(runs), "--json")
        killed = Command(elsewhere, *resume)
        held = wait_for_operations(killed, runs, held + 20)
        killed.kill()  # its engines must notice by themselves, and the next run does not wait for that
        said_killed = stopped(killed, -signal.SIGKILL)

        said_full = still_full = None
        if not no_small_disk:
            full = Command(elsewhere, *resume)
            held = wait_for_operations(full, runs, held + 20)
            filler = fill(disk)
            said_full = stopped(full, 1, within=120)
            full.must_leave_nothing()
            still_full = ttc(elsewhere, *resume)
            filler.unlink()

        resumed = ttc(elsewhere, *resume, "generator.engine.max_num_seqs=16")  # where it runs may change
        yield Misfortunes(
            run_id, runs, said, said_killed, no_small_disk, said_full, still_full, held, resumed
        )
        # Ray's agents look once a minute whether their raylet is there.
        killed.must_leave_nothing(within=90, killed=True)


def test_an_interrupted_run_says_how_to_go_on(misfortunes: Misfortunes):
    assert misfortunes.interrupted.endswith(f"ttc resume {misfortunes.run_id}\n")
    assert misfortunes.run_id in misfortunes.killed, "a resumed run says which it is"


def test_a_full_disk_ends_a_run_in_one_line_and_makes_nothing_worse(misfortunes: Misfortunes):
    if misfortunes.no_small_disk:
        pytest.skip(misfortunes.no_small_disk)
    run_id, runs = misfortunes.run_id, misfortunes.runs
    assert misfortunes.full is not None
    (said,) = [line for line in misfortunes.full.splitlines() if line.startswith("ttc: ")]
    # Whichever file of the run meets it first.
    first = ("journal.sqlite: database or disk is full", f"No space left on device: '{runs}/{run_id}/.+'")
    assert any(re.search(each, said) for each in first), said
    assert f"ttc resume {run_id} --runs {runs}" in misfortunes.full
    again = misfortunes.still_full
    assert again is not None
    assert again.status == 1
    assert f"No space left on device: '{runs}/{run_id}/config.yaml'" in again.err


def test_a_run_that_was_cut_short_goes_on_to_the_same_end(undisturbed, misfortunes: Misfortunes):
    resumed, expected = misfortunes.resumed.summary, undisturbed[1].summary
    assert resumed["replayed"] >= misfortunes.held
    assert resumed["solutions_sha256"] == expected["solutions_sha256"]
    assert resumed["flops"]["spent"] == expected["flops"]["spent"]
    client = MlflowClient(f"sqlite:///{misfortunes.runs}/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("lab").experiment_id])
    assert tracked.info.status == "FINISHED", "a run that goes on is the same MLflow run"


def test_a_budget_far_too_small_ends_cleanly_and_says_how_much_was_covered(
    tmp_path, monkeypatch, capsys, shared_command
):
    monkeypatch.chdir(tmp_path)
    assert shared_command("run", CONFIG, *SMALL, *LAB, "budget.flops=8e8") == 0
    assert f"{PROBLEMS} cut short by the budget" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").glob("*/results.parquet")
    spent = sum(row["flops"] for row in pq.read_table(run).to_pylist())
    assert 0 < spent <= 8e8
