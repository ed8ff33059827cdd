"""Trials that kill the controller: each starts ``ttc run``, kills it, and resumes it with ``ttc resume``.

Ray's agents check once a minute whether their Ray is there, so what a killed command leaves is known a minute
later; the next trials run meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.trials import InjectedFault, RunOutcome, Trial, compared, outcome_of, plan
from tests.support.leftovers import Footprint
from tests.support.paths import LAB_CONFIG

ORPHAN_SECONDS = 120.0
"""Seconds that a process may take to end after its run was killed."""


@dataclass
class Course:
    """How the run of a trial went."""

    number: int
    footprint: Footprint = field(default_factory=Footprint)
    injected: list[InjectedFault] = field(default_factory=list)
    recovery: list[tuple[str, float]] = field(default_factory=list)
    end: RunOutcome | str = ""
    ended: float = 0.0
    """Time at which the run ended, by the monotonic clock."""


async def controller_trials(
    numbers: Sequence[int], overrides: Sequence[str], runs: Path
) -> AsyncIterator[Trial]:
    """Yields each trial as soon as it is known what it leaves."""
    undisturbed = await asyncio.to_thread(undisturbed_end, overrides, runs)
    waiting: set[asyncio.Task[Trial]] = set()
    for number in numbers:
        course = await asyncio.to_thread(run_trial, number, undisturbed, overrides, runs)
        waiting.add(asyncio.create_task(asyncio.to_thread(concluded, course, undisturbed)))
        for known in [task for task in waiting if task.done()]:
            waiting.remove(known)
            yield known.result()
    for last in asyncio.as_completed(waiting):
        yield await last


def undisturbed_end(overrides: Sequence[str], runs: Path) -> RunOutcome:
    footprint = Footprint()
    process = start(["run", str(LAB_CONFIG), *overrides, "--json"], footprint)
    run_id = named_run(process)
    out, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the undisturbed run: {err}")
    footprint.remove()
    return outcome_of(runs / run_id, json.loads(out))


def run_trial(number: int, undisturbed: RunOutcome, overrides: Sequence[str], runs: Path) -> Course:
    """Starts the command, kills it at each moment of the trial's plan, and resumes it until it ends."""
    course = Course(number)
    killed_at = 0.0
    run_id: str | None = None
    for fault in [*plan(number, controller=True), None]:
        command = ["resume", run_id, "--runs", str(runs)] if run_id else ["run", str(LAB_CONFIG), *overrides]
        process = start([*command, "--json"], course.footprint)
        run_id = run_id or named_run(process)
        if fault is None or not wait_for(process, runs / run_id, fault.moment * len(undisturbed.operations)):
            break  # no more faults, or it has ended before this one
        process.kill()
        killed_at = time.monotonic()
        course.injected.append(fault)
        process.wait()
    assert run_id is not None
    out, err = process.communicate()
    course.ended = time.monotonic()
    if process.returncode != 0:
        course.end = f"exit status {process.returncode}: {err}"
        return course
    if course.injected:
        course.recovery.append((course.injected[-1].kind, course.ended - killed_at))
    course.end = outcome_of(runs / run_id, json.loads(out))
    return course


def concluded(course: Course, undisturbed: RunOutcome) -> Trial:
    """Waits until nothing is left of the trial's processes, for at most ``ORPHAN_SECONDS``."""
    left = course.footprint.left(course.ended + ORPHAN_SECONDS)
    trial = compared(
        course.number, "controller", undisturbed, course.end, course.injected, left, course.recovery
    )
    if trial.good:
        course.footprint.remove()  # else its logs are of use
    return trial


def start(arguments: Sequence[str], footprint: Footprint) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, **footprint.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def named_run(process: subprocess.Popen[str]) -> str:
    """Returns the run id that the command prints as it starts. Raises RuntimeError where no run starts."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        if line.startswith("run "):
            return line.split()[1]
        lines.append(line)
    raise RuntimeError(f"no run was started; exit status {process.wait()}: {''.join(lines)}")


def wait_for(process: subprocess.Popen[str], directory: Path, operations: float) -> bool:
    """Waits until the run has recorded ``operations`` more than now; returns False where it ends before."""
    journal = directory / "journal.sqlite"
    begin = recorded(journal)
    while process.poll() is None:
        if recorded(journal) >= begin + operations:
            return True
        time.sleep(0.01)
    return False


def recorded(journal: Path) -> int:
    """Returns the number of operations in the journal."""
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM operations").fetchone()
            return int(count)
    except sqlite3.OperationalError:  # not yet there
        return 0
