"""A trial: its faults, the end of its run, and the difference from the undisturbed run."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.leftovers import Left

RUN = (
    "name=chaos",
    "problems.limit=24",
    "strategy={name: early_rejection, n: 64, width: 4, stop: 0.9}",
    "budget.flops=1.2e10",
    "generator.engine.max_num_seqs=16",
    "cluster.probe_after_seconds=1",
    "cluster.probe_timeout_seconds=8",
    "tracking.experiment=chaos",
)
"""Configuration of a trial's run, which lasts some seconds; so its probes are frequent. Easy problems leave
some of their shares to hard ones."""


@dataclass(frozen=True)
class InjectedFault:
    """A signal to a process of a run."""

    victim: str
    """``generator``, ``verifier`` or ``controller``."""
    moment: float
    """Time of the signal, as a share of the undisturbed run."""
    signal: str = "SIGKILL"

    @property
    def kind(self) -> str:
        return f"{self.victim}, {'killed' if self.signal == 'SIGKILL' else 'stopped'}"


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run."""

    solutions: str
    """Digest of the solutions."""
    spent: int
    """FLOPs charged."""
    budget: int
    """FLOPs."""
    operations: frozenset[tuple[str, str]]
    """Problem and key of each operation in the journal."""
    failed: int
    """Problems whose search failed."""
    seconds: float
    """Duration of the search."""


@dataclass(frozen=True)
class Trial:
    """A trial's result."""

    number: int
    kind: str
    injected: Sequence[str]
    """Kinds of the faults that met a living victim."""
    identical: bool
    """True if the run has the undisturbed run's solutions and charge."""
    over_budget: int
    """FLOPs."""
    lost: int
    """Operations that only the undisturbed run has recorded."""
    added: int
    """Operations that only this run has recorded. (The journal itself takes none twice.)"""
    orphans: Sequence[str]
    segments: Sequence[str]
    sockets: Sequence[str]
    recovery: Sequence[tuple[str, float]]
    """Kind of each fault, and seconds until another replica served, or until the resumed run ended."""
    error: str = ""
    """What ended the run in place of a result."""

    @property
    def good(self) -> bool:
        left = self.orphans or self.segments or self.sockets
        return self.identical and not (self.over_budget or self.lost or self.added or left)


def plan(number: int, *, controller: bool) -> list[InjectedFault]:
    """Returns a trial's one to three faults, of replicas or of the controller, by their moments."""
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
    """Returns the trial whose run ended with ``end``: a result, or the text of an error."""
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
    """Reads the result of the run in ``directory`` from its summary and its journal."""
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
