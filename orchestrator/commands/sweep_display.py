"""Shows a sweep in a terminal: where it is and how long it will take; a table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from actors.deployment import Deployment
from orchestrator.budget.units import in_flops
from orchestrator.commands.display import Display, duration
from orchestrator.commands.live import LivePage
from orchestrator.errors import counted
from orchestrator.runs.controller import Controller
from orchestrator.runs.grid import GridCell
from orchestrator.runs.sweep import CellOutcome, run_id
from orchestrator.runs.sweep_table import SweepRow, columns, meaning

PLAIN_SECONDS = 30.0
"""Seconds between two lines about a cell that is running, at least, where there is no terminal."""
LEAST_SECONDS = 5.0
"""Seconds of search from which the rest is estimated."""
UNLIMITED = 10_000
"""Columns of a terminal in which any table has room."""
NUMBERS: dict[str, Any] = {"justify": "right"}
USUAL_SOLUTIONS = 16
"""Solutions a problem, where a strategy does not say how many it asks for."""


class SweepDisplay(Display):
    """Follows a sweep: one line a cell, below it the run that is at work.

    What is left is estimated from the solutions that the cells ask for and the rate so far.
    """

    def __init__(self, console: Console, page: LivePage | None = None) -> None:
        """``page`` is told of each cell that begins."""
        super().__init__(console, every=PLAIN_SECONDS)
        self._page = page
        self._cells = 0
        self._ended = 0
        self._planned = 0.0
        self._worked = 0.0
        self._search_seconds = 0.0
        self._search_began: float | None = None
        self._cell: GridCell | None = None

    def planned(self, kept: Sequence[CellOutcome], todo: Sequence[GridCell]) -> None:
        self._cells = len(kept) + len(todo)
        self._ended = len(kept)
        self._planned = sum(map(work, todo))
        message = counted(self._cells, "cell") + (f", {len(kept)} of them finished before" if kept else "")
        self._print(message)

    def cell(self, cell: GridCell) -> None:
        self._cell = cell
        if self._page is not None:
            self._page.begin(run_id(cell), cell.prepared)

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None:
        self._search_began = time.monotonic()
        super().searching(controller, deployment, problems)

    def outcome(self, outcome: CellOutcome) -> None:
        self.stop()
        self._ended += 1
        self._worked += work(outcome.cell)
        if self._search_began is not None:
            self._search_seconds += time.monotonic() - self._search_began
            self._search_began = None
        self._cell = None
        head = f"[{self._ended}/{self._cells}] {outcome.cell.key}"
        if outcome.error is not None:
            line, style = f"{head} failed: {outcome.error}", "red"
        else:
            assert outcome.summary is not None
            line, style = f"{head}: {_brief(outcome.summary)}{self._left()}", None
        self._print(line, style)

    def _ends(self) -> bool:
        return False  # the cell has a line of its own

    def heading(self) -> str | None:
        if self._cell is None:
            return None
        return f"[{self._ended + 1}/{self._cells}] {self._cell.key}{self._left()}"

    def _left(self) -> str:
        """Returns how long the rest will take, once that can be known."""
        done, total, searched = self._worked, self._planned, self._search_seconds
        if self._search_began is not None and self._cell is not None and self._problems:
            done += work(self._cell) * self._done / self._problems
            searched += time.monotonic() - self._search_began
        if searched < LEAST_SECONDS or not 0 < done < total:
            return ""
        return f"; about {duration(searched / done * (total - done))} left"


def work(cell: GridCell) -> float:
    """Returns how much a cell has to do: the solutions that its strategy asks for, or that its budget buys
    where these are fewer. A budget may be as good as unlimited."""
    asked = cell.prepared.strategy.params.get("n", USUAL_SOLUTIONS)
    solutions = asked if isinstance(asked, int) else USUAL_SOLUTIONS
    return len(cell.prepared.problems) * max(1.0, min(solutions, cell.prepared.budget.generations))


def _brief(summary: dict[str, Any]) -> str:
    rules = ", ".join(f"{rule} {100 * value:.1f} %" for rule, value in summary["accuracy"].items())
    flops = summary["flops"]["spent"] / summary["problems"]
    failed = f"{summary['failed']} of {summary['problems']} problems failed, " if summary["failed"] else ""
    return f"{failed}{rules}, {in_flops(flops)} a problem, {summary['seconds']:.0f} s"


class _InParts:
    """A table that continues below itself where its columns have no room beside each other. Each part begins
    with the first ``repeated`` columns."""

    def __init__(self, title: str, columns: Sequence[tuple[str, list[str]]], repeated: int) -> None:
        self.title = title
        self.repeated, self.rest = list(columns[:repeated]), list(columns[repeated:])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="italic")
        part: list[tuple[str, list[str]]] = []
        for column in self.rest:
            if part and not self._fits([*part, column], console, options):
                yield self._table(part)
                part = []
            part.append(column)
        yield self._table(part)

    def _fits(self, part: Sequence[tuple[str, list[str]]], console: Console, options: ConsoleOptions) -> bool:
        unlimited = options.update(max_width=UNLIMITED)
        return Measurement.get(console, unlimited, self._table(part)).maximum <= options.max_width

    def _table(self, part: Sequence[tuple[str, list[str]]]) -> Table:
        made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        shown = [*self.repeated, *part]
        for at, (name, _) in enumerate(shown):
            made.add_column(name, **({"overflow": "fold", "min_width": 20} if at == 0 else NUMBERS))
        for row in zip(*(texts for _, texts in shown), strict=True):
            made.add_row(*row)
        return made


def table(name: str, found: Sequence[SweepRow]) -> RenderableType:
    """Returns the table at the end of a sweep."""
    return _InParts(f"sweep {name}: {meaning(found)}", columns(found), repeated=2)
