"""Chaos: real runs of the lab under kills of random victims at random moments, against an undisturbed run.

A trial is a whole run (real Ray, real vLLM) and a few faults, all a function of the trial's number: a
generator, a verifier or the controller is killed (SIGKILL), or a replica is stopped so that it hangs
(SIGSTOP). A run whose controller was killed is resumed. Required of every trial: the same solutions and
the same charge as the undisturbed run, every operation recorded once, nothing over budget, and no process
left. Finished trials are kept in the output file and not done again. Run with ``make chaos``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment
from actors.messages import ReplicaInfo
from orchestrator.benchmarks.processes import alive, left_behind, running
from orchestrator.config import load
from orchestrator.controller import Controller, SearchResult
from orchestrator.preparation import Prepared, prepare
from orchestrator.run import Run
from orchestrator.session import Session, pool_specs, session

LAB = Path(__file__).parents[2] / "configs" / "lab.yaml"
RUN = (
    "name=chaos",
    "problems.limit=24",
    "strategy.n=8",
    "generator.engine.max_num_seqs=16",
    "cluster.probe_after_seconds=1",
    "cluster.probe_timeout_seconds=4",
    "tracking.experiment=chaos",
)
"""The run of a trial: it lasts some seconds, and the probes are as quick as that asks for."""
MARK = "TTC_CHAOS"
"""An environment variable that every process of a trial inherits."""
BACK_SECONDS = 300.0
"""How long replicas may take to serve again."""
ORPHAN_SECONDS = 90.0
"""How long a process may take to end after its run was killed: Ray's agents look once a minute."""


@dataclass(frozen=True)
class Fault:
    """``moment``: as a share of what the undisturbed run took."""

    victim: str
    moment: float
    signal: str = "SIGKILL"

    @property
    def kind(self) -> str:
        return f"{self.victim}, {'killed' if self.signal == 'SIGKILL' else 'stopped'}"


@dataclass(frozen=True)
class End:
    """What a run ended with. ``operations``: rows of its journal, by problem and name. ``seconds``: of its
    search."""

    solutions: str
    spent: int
    budget: int
    operations: frozenset[tuple[str, str]]
    failed: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """``injected``: the kinds of faults that met a living victim. ``lost``, ``added``: operations that the
    undisturbed run has recorded and this one not, and the reverse. ``recovery``: by kind, seconds: of a
    replica until another serves in its place, of a controller until its resumed run has ended."""

    number: int
    kind: str
    injected: Sequence[str]
    identical: bool
    over_budget: int
    lost: int
    added: int
    orphans: Sequence[str]
    recovery: Sequence[tuple[str, float]]


def plan(number: int, *, controller: bool) -> list[Fault]:
    """The faults of a trial, one to three: of replicas, or of the controller, whose engines end with it."""
    rng = random.Random(f"chaos {number}")
    faults = []
    for _ in range(rng.randint(1, 3)):
        victim = "controller" if controller else rng.choice(("generator", "generator", "verifier"))
        how = "SIGKILL" if controller or rng.random() < 0.75 else "SIGSTOP"
        faults.append(Fault(victim, rng.random(), how))
    return sorted(faults, key=lambda fault: fault.moment)


def compared(
    number: int,
    kind: str,
    undisturbed: End,
    end: End,
    injected: Sequence[Fault],
    orphans: Sequence[str],
    recovery: Sequence[tuple[str, float]],
) -> Trial:
    same = (end.solutions, end.spent, end.failed) == (undisturbed.solutions, undisturbed.spent, 0)
    return Trial(
        number,
        kind,
        [fault.kind for fault in injected],
        same,
        max(0, end.spent - end.budget),
        len(undisturbed.operations - end.operations),
        len(end.operations - undisturbed.operations),
        orphans,
        recovery,
    )


def end_of(directory: Path, summary: dict[str, Any]) -> End:
    with closing(sqlite3.connect(directory / "journal.sqlite")) as database:
        rows = database.execute("SELECT problem, key FROM operations").fetchall()
    flops = summary["flops"]
    return End(
        summary["solutions_sha256"],
        flops["spent"],
        flops["budget"],
        frozenset(rows),
        summary["failed"],
        summary["seconds"],
    )


# -- replicas: one session of engines serves all trials -------------------------------------------------


@dataclass(frozen=True)
class Blow:
    fault: Fault
    replica: ReplicaInfo
    at: float


class Watcher:
    """Stands where the display stands; keeps when replicas came back."""

    def __init__(self) -> None:
        self.back: list[tuple[str, float]] = []

    def starting(self, replicas: int) -> None: ...

    def ready(self, info: ReplicaInfo) -> None: ...

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None: ...

    def result(self, result: SearchResult) -> None: ...

    def notice(self, line: str) -> None:
        if " is back " in line:
            self.back.append((line.split()[0], time.monotonic()))

    def back_after(self, blow: Blow) -> float:
        """Seconds from a blow until its replica served again."""
        return min(at for name, at in self.back if name == blow.replica.name and at > blow.at) - blow.at


async def replica_trials(prepared: Prepared, numbers: Sequence[int]) -> AsyncIterator[Trial]:
    """Each as it ends, after an undisturbed run on the same engines."""
    watcher = Watcher()
    async with session(pool_specs(prepared.config), prepared.config.cluster, watcher) as engines:

        async def search() -> End:
            name = f"chaos-{uuid.uuid4().hex[:8]}"
            with Run(prepared, name) as run:
                summary = await run.search(engines, watcher)
            return end_of(run.directory, summary.to_dict())

        await search()  # warms up
        undisturbed = await search()
        for number in numbers:
            watcher.back.clear()
            blows: list[Blow] = []
            faults = plan(number, controller=False)
            inflicting = asyncio.create_task(inflict(faults, undisturbed, engines, blows))
            end = await search()
            inflicting.cancel()
            await all_back(engines)
            recovery = [(blow.fault.kind, watcher.back_after(blow)) for blow in blows]
            orphans = [blow.replica.name for blow in blows if alive(blow.replica.pid)]
            yield compared(
                number, "replicas", undisturbed, end, [blow.fault for blow in blows], orphans, recovery
            )


async def inflict(faults: Sequence[Fault], undisturbed: End, engines: Session, blows: list[Blow]) -> None:
    """Each fault at its moment, to a replica that is up then, if any is."""
    began, rng = time.monotonic(), random.Random(repr(faults))
    for fault in faults:
        await asyncio.sleep(max(0.0, began + fault.moment * undisturbed.seconds - time.monotonic()))
        (pool,) = (pool for pool in engines.deployment.pools if pool.spec.name == fault.victim)
        struck = {blow.replica.pid for blow in blows}
        up = [info for info in pool.up if info.pid not in struck]
        if up:
            replica = rng.choice(up)
            os.kill(replica.pid, signal.Signals[fault.signal])
            blows.append(Blow(fault, replica, time.monotonic()))


async def all_back(engines: Session) -> None:
    """Wait until every replica serves again, so that trials do not depend on each other."""
    deadline = time.monotonic() + BACK_SECONDS
    for pool in engines.deployment.pools:
        while len(pool.up) < pool.spec.replicas or not all(running(info.pid) for info in pool.up):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pool.spec.name}: not all back after {BACK_SECONDS:g} s: {pool.up}")
            await asyncio.sleep(0.1)


# -- the controller: each trial is the command itself, and its resumptions ------------------------------


def controller_trial(number: int, undisturbed: End, overrides: Sequence[str], runs: Path) -> Trial:
    injected: list[Fault] = []
    ended: dict[str, float] = {}  # when, by the mark of a command's processes
    killed_at = 0.0
    run_id: str | None = None
    process = None
    for fault in [*plan(number, controller=True), None]:
        command = ["resume", run_id, "--runs", str(runs)] if run_id else ["run", str(LAB), *overrides]
        mark = uuid.uuid4().hex
        process = start([*command, "--json"], mark)
        run_id = run_id or named_run(process)
        if fault is None:
            break
        if wait_for(process, runs / run_id, fault.moment * len(undisturbed.operations)):
            process.kill()
            killed_at = time.monotonic()
            injected.append(fault)
            process.wait()
            ended[mark] = killed_at
        else:
            break  # it has ended before
    assert process is not None
    assert run_id is not None
    out, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"trial {number}: {err}")
    recovery = [(injected[-1].kind, time.monotonic() - killed_at)] if injected else []
    ended[mark] = time.monotonic()
    orphans: list[str] = []
    for mark, at in ended.items():
        orphans += left_behind(MARK, mark, at + ORPHAN_SECONDS)
    end = end_of(runs / run_id, json.loads(out))
    return compared(number, "controller", undisturbed, end, injected, orphans, recovery)


def start(arguments: Sequence[str], mark: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def named_run(process: subprocess.Popen[str]) -> str:
    """The run id that the command prints as it starts."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("run "):
            return line.split()[1]
    raise RuntimeError(f"no run was started; exit status {process.wait()}")


def wait_for(process: subprocess.Popen[str], directory: Path, operations: float) -> bool:
    """Wait until the run has recorded so many more operations than now. False: it has ended before."""
    journal = directory / "journal.sqlite"
    begin = recorded(journal)
    while process.poll() is None:
        if recorded(journal) >= begin + operations:
            return True
        time.sleep(0.01)
    return False


def recorded(journal: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM operations").fetchone()
            return int(count)
    except sqlite3.OperationalError:  # not yet there
        return 0


# -- the command ---------------------------------------------------------------------------------------


def table(trials: Sequence[Trial]) -> Table:
    shown = Table(title=f"{len(trials)} trials (over: their budget)", title_justify="left")
    for column in ("trials of", "trials", "faults", "identical", "over", "lost", "added", "orphans"):
        shown.add_column(column, justify="left" if column == "trials of" else "right")
    for kind in sorted({trial.kind for trial in trials}):
        some = [trial for trial in trials if trial.kind == kind]
        shown.add_row(
            kind,
            str(len(some)),
            str(sum(len(trial.injected) for trial in some)),
            str(sum(trial.identical for trial in some)),
            str(sum(trial.over_budget > 0 for trial in some)),
            str(sum(trial.lost for trial in some)),
            str(sum(trial.added for trial in some)),
            str(sum(len(trial.orphans) for trial in some)),
        )
    return shown


def recoveries(trials: Sequence[Trial]) -> Table:
    shown = Table(title="seconds until it is made good", title_justify="left")
    for column in ("victim", "faults", "recoveries", "median", "max"):
        shown.add_column(column, justify="left" if column == "victim" else "right")
    faults = Counter(kind for trial in trials for kind in trial.injected)
    for kind in sorted(faults):
        seconds = [each for trial in trials for which, each in trial.recovery if which == kind]
        if seconds:
            times = f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"
            shown.add_row(kind, str(faults[kind]), str(len(seconds)), *times)
    return shown


async def main_async(options: argparse.Namespace, console: Console) -> list[Trial]:
    runs = options.out.parent / "runs"
    overrides = [*RUN, f"runs={runs}"]
    prepared = prepare(load(LAB, overrides))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    kept = options.out.read_text().splitlines() if options.out.is_file() else []
    trials = [Trial(**json.loads(line)) for line in kept]
    done = {(trial.kind, trial.number) for trial in trials}

    def keep(trial: Trial) -> None:
        trials.append(trial)
        with options.out.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")
        faults = ", ".join(trial.injected) or "no fault met its victim"
        verdict = "the same end" if trial.identical else "ANOTHER END"
        console.print(f"{trial.kind} {trial.number}: {faults}: {verdict}", highlight=False)

    todo = [n for n in range(options.replicas) if ("replicas", n) not in done]
    if todo:
        async for trial in replica_trials(prepared, todo):
            keep(trial)
    todo = [n for n in range(options.controllers) if ("controller", n) not in done]
    if todo:
        process = start(["run", str(LAB), *overrides, "--json"], "undisturbed")
        run_id = named_run(process)
        out, _ = process.communicate()
        undisturbed = end_of(runs / run_id, json.loads(out))
        for number in todo:
            keep(await asyncio.to_thread(controller_trial, number, undisturbed, overrides, runs))
    return trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replicas", type=int, default=80, help="trials that kill replicas")
    parser.add_argument("--controllers", type=int, default=20, help="trials that kill the controller")
    parser.add_argument("--out", type=Path, default=Path("build/chaos/trials.jsonl"))
    options = parser.parse_args()
    console = Console()
    trials = asyncio.run(main_async(options, console))
    console.print(table(trials))
    console.print(recoveries(trials))
    good = all(
        trial.identical and not (trial.over_budget or trial.lost or trial.added or trial.orphans)
        for trial in trials
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
