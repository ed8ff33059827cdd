"""Renders the report of an experiment as one self-contained HTML page (``ttc report``)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from orchestrator.analysis.words import percent
from orchestrator.budget.units import in_flops
from orchestrator.errors import counted
from orchestrator.report.claims import claims_table, findings
from orchestrator.report.drawing import Numbers, as_csv
from orchestrator.report.evidence import Evidence
from orchestrator.report.explorer import Explorer, explorer_of
from orchestrator.report.headline import headline
from orchestrator.report.larger_model import matched_table
from orchestrator.report.table import Table, thinned
from orchestrator.report.tables import (
    accuracy_table,
    fits_table,
    in_order,
    policy_table,
    runs_table,
    savings_table,
    search_table,
)
from orchestrator.report.text import name

if TYPE_CHECKING:
    from orchestrator.report.figures import Picture  # matplotlib takes a second to import

TABLES: Mapping[str, Callable[[Evidence], Table | None]] = {
    "accuracy": accuracy_table,
    "runs": runs_table,
    "search": search_table,
    "savings": savings_table,
    "matched": matched_table,
    "fits": fits_table,
    "policy": policy_table,
    "claims": claims_table,
}
"""The tables, by their name in ``ttc report --table``. One without data returns None."""
FIRST = "gains"
"""The figure below the headline."""
SECTIONS: Mapping[str, Sequence[str]] = {
    "Accuracy for FLOPs": (
        "accuracy",
        "table accuracy",
        "accuracy_by_difficulty",
        "table savings",
        "table fits",
    ),
    "The best strategy for each problem": ("compute_optimal", "table policy"),
    "Inside the searches": ("lost", "by_level", "scores", "coverage", "table search"),
    "Revisions": ("sequential_to_parallel", "sequential_by_difficulty"),
    "Against a larger model": ("flops_matched", "table matched"),
    "Time and price": ("latency", "cost"),
    "Models, problems and budgets": ("table runs",),
}
"""The sections of the page, with their figures and tables in their order."""
MOST_LINES = 20
"""The most runs that are named among what is left out."""
MOST_POINTS = 200
"""The most configurations whose runs are listed."""
POINT = re.compile(r'<a xlink:href="#(point-\d+-\d+)"[^>]*>')
NAMED = re.compile(r' id="(?:[A-Za-z]+\d?|matplotlib\.axis|PathCollection|LineCollection)_\d+"')
"""The names that matplotlib gives to the parts of every figure alike."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the page as SVG."""

    name: str
    title: str
    caption: str
    svg: str
    numbers: Numbers

    @property
    def csv(self) -> str:
        """The figure's numbers as CSV."""
        return as_csv(self.numbers.columns, self.numbers.rows)


@dataclass(frozen=True)
class Point:
    """A configuration, and the way to the searches of its runs."""

    key: str
    name: str
    found: str
    """Its accuracy and FLOPs."""
    runs: Sequence[tuple[int, Explorer]]
    """Seed and explorer's page of each run."""

    @property
    def address(self) -> str:
        """Where a click leads: to the explorer's page, or else to the line that says how to make it."""
        return next((run.address for _, run in self.runs if run.address is not None), f"#{self.key}")

    @property
    def hint(self) -> str:
        """What is shown where the mouse rests on the point."""
        how = "its searches" if self.address != f"#{self.key}" else "how to see its searches"
        return f"{self.name}: {self.found}. Click for {how}."


def draw(evidence: Evidence, price: float) -> tuple[list[Drawn], list[str]]:
    """Draws the figures that there is data for; returns them and the reasons for the others.

    ``price`` is that of an accelerator-hour.
    """
    from orchestrator.report.figures import pictures

    found, absent = pictures(evidence, price)
    return [as_svg(each) for each in found], absent


def as_svg(picture: Picture) -> Drawn:
    """Returns a figure as the page shows it."""
    from orchestrator.report.style import svg

    drawing = picture.drawing
    return Drawn(picture.name, picture.title, drawing.caption, svg(drawing.figure), drawing.numbers)


def page(
    evidence: Evidence, drawn: Sequence[Drawn], absent: Sequence[str], report: Path | None = None
) -> str:
    """Returns the report as HTML that needs no other file.

    ``absent`` are the figures that could not be drawn, each with the reason. ``report`` is the file that the
    page will be, from which it links to the explorer's pages; None where it will lie elsewhere: then it says
    how they are made.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    absent = [*absent, *_some(evidence.left_out)]
    if evidence.fit is None:
        absent.append(f"The compute-optimal policy: {evidence.policy}")
    points = _points(evidence, report)
    known = {point.key: point for point in points}
    placed = {key for keys in SECTIONS.values() for key in keys}
    tables = {
        key: thinned(table)
        for key, make in TABLES.items()
        if f"table {key}" in placed and (table := make(evidence)) is not None
    }
    figures = {each.name: each for each in drawn}
    sections = {
        title: [
            (
                key.replace(" ", "-"),
                figures.get(key),
                tables.get(key.removeprefix("table ")) if " " in key else None,
            )
            for key in keys
            if key in figures or (" " in key and key.removeprefix("table ") in tables)
        ]
        for title, keys in SECTIONS.items()
    }
    tested = findings(evidence)
    environment = Environment(
        loader=PackageLoader("orchestrator.report", ""), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "csv": _csv_uri,
        "soft": _soft,
        "whole": _whole,
        "inline": lambda each: inline(each, known),
    }
    environment.globals |= {"as_csv": as_csv}
    return environment.get_template("page.html.j2").render(
        evidence=evidence,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        headline=headline(evidence),
        first=figures.get(FIRST),
        sections={title: items for title, items in sections.items() if items},
        points=points,
        known=known,
        findings=[finding for finding in tested if finding.verdict != "not tested"],
        untested=[finding for finding in tested if finding.verdict == "not tested"],
        statements=sum(part.estimate is not None for finding in tested for part in finding.parts),
        absent=absent,
        broke=counted(evidence.main.failed, "search", "searches") if evidence.main.failed else None,
    )


def inline(drawn: Drawn, points: Mapping[str, Point]) -> str:
    """Returns a figure's SVG as a part of a page, in which its points lead to their runs."""

    def way(found: re.Match[str]) -> str:
        point = points.get(found[1])
        if point is None:
            return "<a>"
        return f'<a class="point" href="{escape(point.address)}"><title>{escape(point.hint)}</title>'

    text = NAMED.sub("", drawn.svg[drawn.svg.index("<svg") :])
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    head, _, rest = text.partition(">")
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    head = head.replace("<svg ", f'<svg aria-label="{escape(drawn.title)}" ', 1)
    return f"{head}>{POINT.sub(way, rest)}"


def _soft(text: str) -> Markup:
    """Returns a text in HTML that may be broken behind each underline."""
    return Markup(escape(text).replace("_", "_<wbr>"))


def _whole(text: str) -> str:
    """Returns a text in which no interval is broken: ``[72, 83]`` stays in one line."""
    return re.sub(r"(\[[^\], ]+,) (?=[^\], ]+[\])])", "\\1\u00a0", text)


def _csv_uri(text: str) -> str:
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _points(evidence: Evidence, report: Path | None) -> list[Point]:
    """The configurations of all groups and the ways to their runs, at most ``MOST_POINTS``."""
    found: list[Point] = []
    for group in evidence.groups:
        rule = evidence.rule_of(group)
        for option in in_order(group):
            key = evidence.key_of(option)
            if key is None or len(found) == MOST_POINTS:
                continue
            runs = [(cell.seed, explorer_of(cell, report)) for cell in option.cells]
            words = f"{percent(option.accuracy(rule), ' %')} for {in_flops(option.flops)} a problem"
            found.append(Point(key, name(option), words, runs))
    return found


def _some(lines: Sequence[str]) -> list[str]:
    """Returns the first ``MOST_LINES`` lines, and how many more there are."""
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"{more:,} more runs"] if more > 0 else [])]
