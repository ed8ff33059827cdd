"""Renders the report of an experiment as one self-contained HTML page (``ttc report``)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.report.claims import findings
from orchestrator.report.evidence import Evidence
from orchestrator.report.headline import headline
from orchestrator.report.larger_model import matched_table
from orchestrator.report.tables import (
    Table,
    accuracy_table,
    fits_table,
    policy_table,
    runs_table,
    savings_table,
    search_table,
    thinned,
)

TABLES: Mapping[str, Callable[[Evidence], Table | None]] = {
    "accuracy": accuracy_table,
    "runs": runs_table,
    "search": search_table,
    "savings": savings_table,
    "matched": matched_table,
    "fits": fits_table,
    "policy": policy_table,
}
"""The tables in the page's order, by their name in ``ttc report --table``. One without data returns None."""

MOST_LINES = 20
"""The most runs that are named among what is left out."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the page as SVG. The other fields are as for ``figures.Picture``."""

    name: str
    title: str
    caption: str
    svg: str

    @property
    def uri(self) -> str:
        """The figure as a ``data:`` URI."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


def draw(evidence: Evidence, price: float) -> tuple[list[Drawn], list[str]]:
    """Draws the figures that there is data for; returns them and the reasons for the others.

    ``price`` is that of an accelerator-hour.
    """
    from orchestrator.report.figures import pictures
    from orchestrator.report.style import svg

    found, absent = pictures(evidence, price)
    return [
        Drawn(picture.name, picture.title, picture.caption, svg(picture.figure)) for picture in found
    ], absent


def page(evidence: Evidence, drawn: Sequence[Drawn], absent: Sequence[str]) -> str:
    """Returns the report as HTML that needs no other file.

    ``absent`` are the figures that could not be drawn, each with the reason.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    absent = [*absent, *_some(evidence.left_out)]
    if evidence.fit is None:
        absent.append(f"The compute-optimal policy: {evidence.policy}")
    tables = [table(evidence) for table in TABLES.values()]
    tested = findings(evidence)
    parts = [part for finding in tested for part in finding.parts if part.estimate is not None]
    environment = Environment(
        loader=PackageLoader("orchestrator.report", ""), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        evidence=evidence,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        headline=headline(evidence),
        tables=[thinned(table) for table in tables if table is not None],
        pictures=drawn,
        findings=[finding for finding in tested if finding.verdict != "not tested"],
        untested=[finding for finding in tested if finding.verdict == "not tested"],
        statements=len(parts),
        absent=absent,
    )


def _some(lines: Sequence[str]) -> list[str]:
    """Returns the first ``MOST_LINES`` lines, and how many more there are."""
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"{more:,} more runs"] if more > 0 else [])]
