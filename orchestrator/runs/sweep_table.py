"""A sweep as a table: a row for each strategy and budget, over the seeds that were run; and as a figure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import percent
from orchestrator.budget.units import in_flops, si
from orchestrator.runs.grid import GridCell
from orchestrator.runs.markdown import shortened, table
from orchestrator.runs.results import MAIN

COUNTS = {
    "failed": "failed",
    "cut short": "exhausted",
    "none returned": "returned_nothing",
    "not scored": "unscored",
    "skipped": "skipped",
}
"""Columns that are there where any row has them, and their names in a summary."""
LONGEST_NAME = 60
"""Characters of a curve's name in the figure."""


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
        return percent(Estimate(self.mean, *self.interval))

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

    @property
    def main(self) -> Share:
        """The accuracy by the rule that counts: the weighted vote, or the majority."""
        return self.accuracy.get(MAIN) or next(iter(self.accuracy.values()))

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


def rows(finished: Sequence[tuple[GridCell, Mapping[str, Any]]]) -> list[SweepRow]:
    """Returns one row for each strategy and budget of the finished cells and their summaries, in the order of
    the grid, without the cells that only bin the problems."""
    groups: dict[tuple[str, float, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for cell, summary in finished:
        if cell.role == "cell":
            asked = summary["budget"]
            key = cell.label, asked["amount"], asked["unit"]
            groups.setdefault(key, []).append((cell.config.seed, summary))
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


def _copies(summaries: Sequence[Mapping[str, Any]]) -> float | None:
    compared = sum(summary.get("compared", 0) for summary in summaries)
    copies = sum(summary.get("copies", 0) for summary in summaries)
    return copies / compared if compared else None


def columns(found: Sequence[SweepRow]) -> list[tuple[str, list[str]]]:
    """Returns the table's columns: a name, and a text for each row."""
    rules = list(dict.fromkeys(rule for row in found for rule in row.accuracy))
    units = list(dict.fromkeys(row.unit for row in found))
    budget = "N" if units == ["generations"] else "budget"
    made = [
        ("strategy", [row.label for row in found]),
        (budget, [_budget(row) for row in found]),
        ("seeds", [str(len(row.seeds)) for row in found]),
    ]
    for name in COUNTS:
        if any(row.counts[name] for row in found):
            made.append((name, [f"{row.counts[name]:,}" for row in found]))
    if any(row.copies is not None for row in found):
        made.append(("copies, %", ["" if row.copies is None else f"{100 * row.copies:.0f}" for row in found]))
    for rule in rules:
        made.append((rule, [str(row.accuracy[rule]) if rule in row.accuracy else "" for row in found]))
    made.append(("coverage", [str(row.coverage) for row in found]))
    made.append(("FLOPs", [si(row.flops) for row in found]))
    return made


def _budget(row: SweepRow) -> str:
    if row.unit == "flops":
        return in_flops(row.budget)
    return f"{row.budget:,.6g}" + ("" if row.unit == "generations" else f" {row.unit}")


def meaning(found: Sequence[SweepRow]) -> str:
    """Returns what the table's numbers are."""
    spread = "mean ± standard deviation over seeds" if any(len(row.seeds) > 1 for row in found) else ""
    single = "one seed [95 % interval]" if any(len(row.seeds) == 1 for row in found) else ""
    return f"%, {' or '.join(filter(None, (spread, single)))}; FLOPs spent a problem"


def markdown(found: Sequence[SweepRow]) -> str:
    """Returns the table in Markdown."""
    made = columns(found)
    return "\n".join(table([name for name, _ in made], [*zip(*(texts for _, texts in made), strict=True)]))


def figure(found: Sequence[SweepRow]) -> str:
    """Returns accuracy against FLOPs as SVG: a curve for each strategy, over its budgets, by the rule that
    counts (``Summary.rule``)."""
    from orchestrator.report import style  # matplotlib takes a second to import

    curves: dict[str, list[SweepRow]] = {}
    for row in found:
        if not row.flops:  # its searches failed before they spent any: a logarithmic axis has no place for it
            continue
        curves.setdefault(row.label, []).append(row)
    with style.styled():
        made, (axes,) = style.canvas(width=8.2, height=4.4)
        ends = []
        for label, rows_ in curves.items():
            line = sorted(rows_, key=lambda row: row.flops)
            name = label.partition(" ")[0]
            shade = style.colour(name)
            x = [row.flops for row in line]
            y = [row.main.mean for row in line]
            axes.plot(x, y, marker=style.marker(name), color=shade)
            for row in line:
                if row.main.interval is not None:
                    axes.plot([row.flops] * 2, row.main.interval, color=shade, alpha=0.35, linewidth=1)
            ends.append((x[-1], y[-1], shortened(label, LONGEST_NAME), shade))
        style.flops_axis(axes)
        style.percent_axis(axes, "accuracy")
        style.name_ends(axes, ends)
    return style.svg(made)
