"""Shows a sweep in a terminal: where it is and how long it will take; a table at the end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment
from orchestrator.commands.display import Display
from orchestrator.errors import counted
from orchestrator.runs.controller import Controller
from orchestrator.runs.grid import GridCell
from orchestrator.runs.sweep import CellOutcome

PLAIN_SECONDS = 30.0
"""Seconds between two lines about a cell that is running, at least, where there is no terminal."""
LEAST_SECONDS = 5.0
"""Seconds of search from which the rest is estimated."""
USUAL_SOLUTIONS = 16
"""Solutions a problem, where a strategy does not say how many it asks for."""
DAY, MOST_DAYS = 86_400, 99


class SweepDisplay(Display):
    """Follows a sweep: one line a cell, below it the run that is at work.

    What is left is estimated from the solutions that the cells ask for and the rate so far.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, every=PLAIN_SECONDS)
        self._cells = 0
        self._ended = 0
        self._planned = 0.0
        self._worked = 0.0
        self._searched = 0.0
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

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None:
        self._search_began = time.monotonic()
        super().searching(controller, deployment, problems)

    def outcome(self, outcome: CellOutcome) -> None:
        self.stop()
        self._ended += 1
        self._worked += work(outcome.cell)
        if self._search_began is not None:
            self._searched += time.monotonic() - self._search_began
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
        done, total, searched = self._worked, self._planned, self._searched
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


def duration(seconds: float) -> str:
    """Returns a time in words, in the largest unit that fits."""
    if not seconds < MOST_DAYS * DAY:
        return f"more than {MOST_DAYS} days"
    for unit, name in ((DAY, "day"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            count = round(seconds / unit)
            return f"{count} {name}" + ("s" if name == "day" else "")
    return f"{seconds:.0f} s"


def _brief(summary: dict[str, Any]) -> str:
    rules = ", ".join(f"{rule} {100 * value:.1f} %" for rule, value in summary["accuracy"].items())
    flops = summary["flops"]["spent"] / summary["problems"]
    failed = f"{summary['failed']} of {summary['problems']} problems failed, " if summary["failed"] else ""
    return f"{failed}{rules}, {flops:.3g} FLOPs a problem, {summary['seconds']:.0f} s"


COUNTS = {
    "failed": "failed",
    "cut short": "exhausted",
    "none returned": "returned_nothing",
    "not scored": "unscored",
    "skipped": "skipped",
}
"""Columns that are there where any row has them, and their names in a summary."""


@dataclass(frozen=True)
class Share:
    """A share of the problems: the mean over seeds, and how sure it is."""

    mean: float
    deviation: float | None
    """Standard deviation over the seeds; None for a single one."""
    interval: tuple[float, float] | None
    """The 95 % interval of a single seed (Wilson); None for several."""

    @classmethod
    def of(cls, values: Sequence[float], intervals: Sequence[Sequence[float]]) -> Share:
        if len(values) > 1:
            return cls(statistics.fmean(values), statistics.stdev(values), None)
        low, high = intervals[0]
        return cls(values[0], None, (low, high))

    def __str__(self) -> str:
        if self.interval is None:
            return f"{100 * self.mean:.1f} ± {100 * (self.deviation or 0.0):.1f}"
        return f"{100 * self.mean:.1f} [{100 * self.interval[0]:.0f}, {100 * self.interval[1]:.0f}]"

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "standard_deviation": self.deviation, "interval": self.interval}


@dataclass(frozen=True)
class SweepRow:
    """The cells that differ in their seed alone. ``flops`` are those spent on a problem, ``counts`` are over
    all seeds (``COUNTS``)."""

    label: str
    budget: float
    unit: str
    seeds: tuple[int, ...]
    accuracy: dict[str, Share]
    coverage: Share
    flops: float
    counts: dict[str, int]
    copies: float | None = None
    """The share of the compared samples that were equal to an earlier one; None where none were compared."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "budget": {self.unit: self.budget},
            "seeds": list(self.seeds),
            "accuracy": {rule: value.to_dict() for rule, value in self.accuracy.items()},
            "coverage": self.coverage.to_dict(),
            "flops_per_problem": self.flops,
            **({} if self.copies is None else {"copies": self.copies}),
            **{COUNTS[name]: count for name, count in self.counts.items()},
        }


def rows(outcomes: Sequence[CellOutcome]) -> list[SweepRow]:
    """Returns one row for each strategy and budget of the finished cells, in the order of the grid, without
    the cells that only bin the problems."""
    groups: dict[tuple[str, float, str], list[tuple[int, dict[str, Any]]]] = {}
    for outcome in outcomes:
        if outcome.summary is not None and outcome.state != "failed" and outcome.cell.role == "cell":
            asked = outcome.summary["budget"]
            key = outcome.cell.label, asked["amount"], asked["unit"]
            groups.setdefault(key, []).append((outcome.cell.config.seed, outcome.summary))
    found = []
    for key, group in groups.items():
        summaries = [summary for _, summary in group]
        found.append(
            SweepRow(
                *key,
                seeds=tuple(seed for seed, _ in group),
                accuracy={
                    rule: Share.of(
                        [s["accuracy"][rule] for s in summaries], [s["intervals"][rule] for s in summaries]
                    )
                    for rule in summaries[0]["accuracy"]
                },
                coverage=Share.of(
                    [s["coverage"] for s in summaries], [s["intervals"]["coverage"] for s in summaries]
                ),
                flops=statistics.fmean(s["flops"]["spent"] / s["problems"] for s in summaries),
                counts={name: sum(s.get(key, 0) for s in summaries) for name, key in COUNTS.items()},
                copies=_copies(summaries),
            )
        )
    return found


def _copies(summaries: Sequence[dict[str, Any]]) -> float | None:
    compared = sum(summary.get("compared", 0) for summary in summaries)
    copies = sum(summary.get("copies", 0) for summary in summaries)
    return copies / compared if compared else None


def table(name: str, found: Sequence[SweepRow]) -> Table:
    """Returns the table at the end of a sweep."""
    rules = list(dict.fromkeys(rule for row in found for rule in row.accuracy))
    units = list(dict.fromkeys(row.unit for row in found))
    counted = [name for name in COUNTS if any(row.counts[name] for row in found)]
    merged = ["copies, %"] if any(row.copies is not None for row in found) else []
    spread = "mean ± standard deviation over seeds" if any(len(row.seeds) > 1 for row in found) else ""
    single = "one seed [95 % interval]" if any(len(row.seeds) == 1 for row in found) else ""
    made = Table(
        title=f"sweep {name}: %, {' or '.join(filter(None, (spread, single)))}; FLOPs spent a problem",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("strategy", overflow="fold", min_width=20)
    budget = "N" if units == ["generations"] else "budget"
    for column in (budget, "seeds", *counted, *merged, *rules, "coverage", "FLOPs"):
        made.add_column(column, justify="right")
    for row in found:
        made.add_row(
            row.label,
            f"{row.budget:,.6g}" + ("" if budget == "N" else f" {row.unit}"),
            str(len(row.seeds)),
            *(f"{row.counts[name]:,}" for name in counted),
            *("" if row.copies is None else f"{100 * row.copies:.0f}" for _ in merged),
            *(str(row.accuracy[rule]) if rule in row.accuracy else "" for rule in rules),
            str(row.coverage),
            f"{row.flops:.3g}",
        )
    return made
