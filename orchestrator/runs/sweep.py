"""Runs the cells of a grid on the same engines, one after the other.

``runs/SWEEP/`` has ``sweep.yaml`` and, in ``cells/KEY/``, what each run leaves. Finished cells are not run
again, a cell that was cut short goes on from its journal, and one that fails costs the others nothing.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from actors.messages import PoolFailed
from orchestrator.config.capacity import Engine, engines_of
from orchestrator.config.preparation import fingerprints, parts
from orchestrator.config.schema import ClusterConfig
from orchestrator.config.written import tracking_uri
from orchestrator.durability.files import write_atomically
from orchestrator.durability.journal import changed_since, fingerprint_in, hold
from orchestrator.errors import BadInput, counted, in_one_line
from orchestrator.runs import sweep_table
from orchestrator.runs.description import study_of_sweep, tags_of_sweep
from orchestrator.runs.found import FATAL
from orchestrator.runs.grid import Grid, GridCell
from orchestrator.runs.log import logged
from orchestrator.runs.metrics import plain_names, rounded
from orchestrator.runs.run import Run, RunObserver, patience_of, stored_summary
from orchestrator.runs.session import Pools, Session, SessionObserver, pool_specs, session
from orchestrator.tracking.tracker import Tracker, status_of

log = logging.getLogger(__name__)

State = Literal["kept", "done", "failed"]
"""A cell was finished by an earlier command, by this one, or not at all: it ended early, or too many of its
searches broke (``failures.MOST_FAILED``)."""


@dataclass(frozen=True)
class CellOutcome:
    """The end of a cell: its summary, where it has one, and why it has failed."""

    cell: GridCell
    state: State
    summary: dict[str, Any] | None = None
    """The run's, from ``Summary.to_dict``."""
    error: str | None = None
    """Why the cell has failed, in one line."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the outcome for a program to read."""
        return {
            "key": self.cell.key,
            "role": self.cell.role,
            "label": self.cell.label,
            "overrides": dict(self.cell.overrides),
            "state": self.state,
            "error": self.error,
            "summary": self.summary,
        }


class SweepObserver(SessionObserver, RunObserver, Protocol):
    """Watches a sweep: the display."""

    def planned(self, kept: Sequence[CellOutcome], todo: Sequence[GridCell]) -> None:
        """Is told which cells are finished and which are to run."""

    def cell(self, cell: GridCell) -> None:
        """Is told that a cell begins."""

    def outcome(self, outcome: CellOutcome) -> None:
        """Is told what became of a cell."""


Engines = Callable[[Pools, ClusterConfig, SessionObserver], AbstractAsyncContextManager[Session]]
"""Starts engines: ``session``, or a scripted stand-in in tests."""


class Sweep:
    """A checked grid and its directory. ``untracked`` says what tracking could not write (None: nothing);
    ``page`` is where its runs are seen in MLflow, once it has run (``Tracker.page``)."""

    def __init__(self, grid: Grid, *, engines: Engines = session) -> None:
        """Raises BadInput where the directory has a cell of the same key and another configuration."""
        self.grid = grid
        self.untracked: str | None = None
        self.page = ""
        self._engines = engines
        self.kept: list[CellOutcome] = []
        self.todo: list[GridCell] = []
        for cell in grid.cells:
            summary = self._finished(cell)
            if summary is None:
                self.todo.append(cell)
            else:
                self.kept.append(CellOutcome(cell, "kept", summary))

    async def run(self, observer: SweepObserver) -> list[CellOutcome]:
        """Runs what is not finished. Returns what became of every cell, in the order of the grid.

        Raises JournalInUse while another process runs this sweep.
        """
        directory, config = self.grid.directory, self.grid.config
        directory.mkdir(parents=True, exist_ok=True)
        held = hold(directory / "sweep.lock")
        write_atomically(directory / "sweep.yaml", self.grid.source)
        observer.planned(self.kept, self.todo)
        cells = [cell for cell in self.grid.cells if cell.role == "cell"]
        parent = Tracker(
            config.runs,
            config.name,
            config.tracking.experiment,
            {"cells": len(self.grid.cells)},
            uri=tracking_uri(config),
            tags={
                "ttc.run_id": config.name,
                "ttc.role": "sweep",
                **tags_of_sweep([c.prepared for c in cells]),
            },
            study=study_of_sweep(config, [(cell.label, cell.prepared) for cell in cells]),
        )
        parent.artifact(directory / "sweep.yaml")
        ended: BaseException | None = None
        try:
            with logged(directory, config.log_level):
                outcomes = await self._run(observer, parent)
            failed = sum(outcome.state == "failed" for outcome in outcomes)
            ended = RuntimeError(f"{counted(failed, 'cell')} failed") if failed else None
        except BaseException as error:
            ended = error
            raise
        else:
            self._compare(parent, self._in_order(outcomes))
        finally:
            self._note(parent.close(status_of(ended), patience_of(ended)))
            self.page = parent.page
            held.close()
        return self._in_order(outcomes)

    def _in_order(self, outcomes: Sequence[CellOutcome]) -> list[CellOutcome]:
        found = {outcome.cell.key: outcome for outcome in [*self.kept, *outcomes]}
        return [found[cell.key] for cell in self.grid.cells]

    def _compare(self, parent: Tracker, outcomes: Sequence[CellOutcome]) -> None:
        """Logs how the cells compare: a table, a figure, and curves. A fault in that costs the sweep nothing
        else."""
        rows = sweep_table.rows(finished(outcomes))
        if not rows:
            return
        directory, name = self.grid.directory, self.grid.config.name
        try:
            write_atomically(directory / "comparison.svg", sweep_table.figure(rows))
            columns = sweep_table.columns(rows)
            cells = [list(row) for row in zip(*(texts for _, texts in columns), strict=True)]
            content = {"columns": [column for column, _ in columns], "data": cells}
            write_atomically(directory / "cells.json", json.dumps(content))
            parent.artifact(directory / "comparison.svg")
            parent.table(directory / "cells.json")
            names = plain_names(row.label for row in rows)
            parent.metrics(
                [
                    (f"accuracy/{names[row.label]}", rounded(row.main.mean), round(row.flops / 1e6))
                    for row in sorted(rows, key=lambda row: row.flops)
                ]
            )
            best = max(rows, key=lambda row: row.main.mean)
            described = [
                f"{counted(len(outcomes), 'run')}, compared: {sweep_table.meaning(rows)}.",
                "",
                sweep_table.markdown(rows),
                "",
                "`comparison.svg` among the artifacts draws it. The metrics are accuracy against FLOPs a "
                "problem (a step is 10⁶).",
                f"More, with intervals and claims: `ttc report {name}`.",
            ]
            parent.describe(
                f"sweep {name}: {counted(len(outcomes), 'run')}, best {best.label} {best.main} %",
                "\n".join(described),
            )
        except Exception as error:
            log.exception("the sweep's comparison is not tracked")
            self._note(f"tracking: {in_one_line(error, frame=True)}")

    async def _run(self, observer: SweepObserver, parent: Tracker) -> list[CellOutcome]:
        outcomes: list[CellOutcome] = []

        def ended(outcome: CellOutcome) -> None:
            outcomes.append(outcome)
            observer.outcome(outcome)

        for pools, waiting in grouped(self.todo):
            while waiting:
                try:
                    async with self._engines(pools, self.grid.config.cluster, observer) as engines:
                        usable = True
                        while waiting and usable:
                            cell = waiting.popleft()
                            observer.cell(cell)
                            try:
                                ended(await self._search(cell, engines, observer, parent))
                            except Exception as error:
                                log.exception("cell %s failed", cell.key)
                                line = in_one_line(error, frame=not isinstance(error, FATAL))
                                ended(CellOutcome(cell, "failed", error=line))
                                usable = not isinstance(error, PoolFailed)  # the next ones get new engines
                except Exception as error:  # engines that do not start
                    log.exception("engines for %d cells do not start", len(waiting))
                    while waiting:
                        failed = in_one_line(error)
                        ended(CellOutcome(waiting.popleft(), "failed", error=failed))
        return outcomes

    async def _search(
        self, cell: GridCell, engines: Session, observer: SweepObserver, parent: Tracker
    ) -> CellOutcome:
        tags = {"ttc.cell": cell.key, "ttc.sweep": cell.config.name}
        with Run(cell.prepared, run_id(cell), role=cell.role, tags=tags, parent=parent) as run:
            if (line := run.given_back) is not None:
                observer.notice(f"{cell.key}: {line}")
            summary = await run.search(engines, observer)
        self._note(run.untracked)
        state: State = "done" if summary.broken is None else "failed"
        return CellOutcome(cell, state, summary.to_dict(), summary.broken)

    def _finished(self, cell: GridCell) -> dict[str, Any] | None:
        """The summary of a cell that finished with this configuration; None if there is work left."""
        directory = self.grid.directory / "cells" / cell.key
        recorded = fingerprint_in(directory / "journal.sqlite")
        if recorded is None:
            return None
        if recorded not in fingerprints(cell.prepared):
            changed = changed_since(directory / "journal.sqlite", parts(cell.prepared))
            needed = "allowed: another name, or a directory without that cell"
            raise BadInput("name", cell.config.name, f"{directory} records another run: {changed}; {needed}")
        return stored_summary(directory)

    def _note(self, untracked: str | None) -> None:
        self.untracked = self.untracked or untracked


def run_id(cell: GridCell) -> str:
    """Returns the name of a cell's run."""
    return f"{cell.config.name}/cells/{cell.key}"


def finished(outcomes: Sequence[CellOutcome]) -> list[tuple[GridCell, Mapping[str, Any]]]:
    """Returns the cells that have not failed, each with its summary."""
    return [(o.cell, o.summary) for o in outcomes if o.summary is not None and o.state != "failed"]


def engine_groups(cells: Sequence[GridCell]) -> list[list[Engine]]:
    """Returns the engines on CPUs of each group of cells, which are up together."""
    found = []
    for _, members in grouped(cells):
        engines = [
            engine
            for cell in members
            for engine in engines_of(cell.config, revises=cell.prepared.strategy.strategy.has_reviser)
        ]
        found.append(list({engine.pool: engine for engine in engines}.values()))
    return found


def grouped(cells: Sequence[GridCell]) -> list[tuple[Pools, deque[GridCell]]]:
    """Groups the cells by the engines that can serve them, in the order of the first cell of each group."""
    groups: list[tuple[Pools, deque[GridCell]]] = []
    for cell in cells:
        asked = pool_specs(cell.prepared)
        for index, (pools, members) in enumerate(groups):
            if (both := pools.together_with(asked)) is not None:
                groups[index] = (both, members)
                members.append(cell)
                break
        else:
            groups.append((asked, deque([cell])))
    return groups
