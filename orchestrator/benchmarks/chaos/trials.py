"""What a trial is: its faults, what its run ended with, and how that differs from the undisturbed one."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.benchmarks.leftovers import Left

RUN = (
    "name=chaos",
    "problems.limit=24",
    "strategy.n=8",
    "generator.engine.max_num_seqs=16",
    "cluster.probe_after_seconds=1",
    "cluster.probe_timeout_seconds=8",
    "tracking.experiment=chaos",
)
"""The run of a trial: it lasts some seconds, and the probes are as quick as that asks for."""


@dataclass(frozen=True)
class InjectedFault:
    """``moment``: as a share of what the undisturbed run took."""

    victim: str
    moment: float
    signal: str = "SIGKILL"

    @property
    def kind(self) -> str:
        return f"{self.victim}, {'killed' if self.signal == 'SIGKILL' else 'stopped'}"


@dataclass(frozen=True)
class RunOutcome:
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
    """``injected``: the kinds of faults that met a living victim. ``over_budget`` in FLOPs. ``lost``,
    ``added``: operations that the undisturbed run has recorded and this one not, and the reverse (the journal
    itself takes none twice). ``recovery``: by kind, seconds: of a replica until another serves in its place,
    of a controller until its resumed run has ended. ``error``: what ended the run in place of a result."""

    number: int
    kind: str
    injected: Sequence[str]
    identical: bool
    over_budget: int
    lost: int
    added: int
    orphans: Sequence[str]
    segments: Sequence[str]
    sockets: Sequence[str]
    recovery: Sequence[tuple[str, float]]
    error: str = ""

    @property
    def good(self) -> bool:
        left = self.orphans or self.segments or self.sockets
        return self.identical and not (self.over_budget or self.lost or self.added or left)


def plan(number: int, *, controller: bool) -> list[InjectedFault]:
    """The faults of a trial, one to three: of replicas, or of the controller, whose engines end with it."""
    rng = random.Random(f"chaos {number}")
    faults = []
    for _ in range(rng.randint(1, 3)):
        victim = "controller" if controller else rng.choice(("generator", "generator", "verifier"))
        how = "SIGKILL" if controller or rng.random() < 0.75 else "SIGSTOP"
        faults.append(InjectedFault(victim, rng.random(), how))
    return sorted(faults, key=lambda fault: fault.moment)


def compared(
    number: int,
    kind: str,
    undisturbed: RunOutcome,
    end: RunOutcome | str,
    injected: Sequence[InjectedFault],
    left: Left,
    recovery: Sequence[tuple[str, float]],
) -> Trial:
    """The trial whose run ended with ``end``, or with an error."""
    kinds = [fault.kind for fault in injected]
    traces = left.processes, left.segments, left.sockets
    if isinstance(end, str):
        return Trial(number, kind, kinds, False, 0, 0, 0, *traces, recovery, end)
    same = (end.solutions, end.spent, end.failed) == (undisturbed.solutions, undisturbed.spent, 0)
    return Trial(
        number,
        kind,
        kinds,
        same,
        max(0, end.spent - end.budget),
        len(undisturbed.operations - end.operations),
        len(end.operations - undisturbed.operations),
        *traces,
        recovery,
    )


def outcome_of(directory: Path, summary: dict[str, Any]) -> RunOutcome:
    """What the run in ``directory`` ended with, by its summary and its journal."""
    with closing(sqlite3.connect(directory / "journal.sqlite")) as database:
        rows = database.execute("SELECT problem, key FROM operations").fetchall()
    flops = summary["flops"]
    return RunOutcome(
        summary["solutions_sha256"],
        flops["spent"],
        flops["budget"],
        frozenset(rows),
        summary["failed"],
        summary["seconds"],
    )
