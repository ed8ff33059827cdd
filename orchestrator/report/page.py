"""``ttc report EXPERIMENT``: one self-contained page of what an experiment's runs say, kept in MLflow."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.report.claims import findings
from orchestrator.report.evidence import Evidence
from orchestrator.report.larger_model import matched_table
from orchestrator.report.tables import (
    Table,
    accuracy_table,
    fits_table,
    policy_table,
    runs_table,
    savings_table,
    search_table,
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
"""The page's tables in their order; None from one that there is no data for."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the page, as SVG."""

    name: str
    title: str
    caption: str
    svg: str

    @property
    def uri(self) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


def draw(evidence: Evidence, price: float) -> tuple[list[Drawn], list[str]]:
    """The figures that there is data for, and why the others are not there. ``price``: of an
    accelerator-hour."""
    from orchestrator.report.figures import pictures
    from orchestrator.report.style import svg

    found, absent = pictures(evidence, price)
    return [Drawn(each.name, each.title, each.caption, svg(each.figure)) for each in found], absent


def page(evidence: Evidence, drawn: Sequence[Drawn], absent: Sequence[str]) -> str:
    """The report as HTML that needs no other file. ``absent``: figures that could not be drawn, and why."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    absent = [*absent, *evidence.left_out]
    if evidence.fit is None:
        absent.append(f"The compute-optimal policy: {evidence.policy}")
    tables = [table(evidence) for table in TABLES.values()]
    environment = Environment(
        loader=PackageLoader("orchestrator.report", ""), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        evidence=evidence,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        tables=[table for table in tables if table is not None],
        pictures=drawn,
        findings=findings(evidence),
        absent=absent,
    )
