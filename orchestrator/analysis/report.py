"""``ttc report EXPERIMENT``: one self-contained page of what an experiment's runs say, kept in MLflow."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from orchestrator.analysis.claims import findings
from orchestrator.analysis.evidence import Evidence, gather
from orchestrator.analysis.larger import matched_table
from orchestrator.analysis.store import find
from orchestrator.analysis.tables import (
    Table,
    accuracy_table,
    fits_table,
    markdown,
    policy_table,
    runs_table,
    savings_table,
    search_table,
)
from orchestrator.errors import BadInput, one_of
from orchestrator.launch import say
from orchestrator.tracking import Tracker, passing

ROLE = "report"

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


def run_report(
    experiment: str,
    out: Path,
    errors: Console,
    *,
    rule: str = "weighted",
    samples: int = 4,
    price: float | None = None,
    generator: str | None = None,
    uri: str | None = None,
    runs: str = "runs",
    table: str | None = None,
) -> int:
    """Write the report of an experiment (its name in MLflow, or a directory: a path with a slash) to
    ``out``; an experiment's is kept in MLflow too, as a run of role ``report``. ``price``: of an
    accelerator-hour (None: the runs' ``cluster.price``). ``table`` (a key of ``TABLES``): only that one is
    printed. Raises BadInput."""
    if samples < 1:
        raise BadInput("--samples", samples, "allowed: 1 or more")
    if price is not None and not 0 <= price < float("inf"):
        raise BadInput("--price", price, "allowed: 0 or more, of an accelerator-hour")
    if table is not None and table not in TABLES:
        raise BadInput("--table", table, one_of(TABLES))
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput("--out", str(out), "allowed: a file in a directory that exists")
    evidence = gather(find(experiment, uri, runs), rule, generator=generator, samples=samples)
    if table is not None:
        found = TABLES[table](evidence)
        if found is None:
            raise BadInput("--table", table, f"the experiment {experiment} has no data for it")
        print(markdown(found))
        return 0
    if price is None:
        price = float((evidence.main.options[0].cells[0].config.get("cluster") or {}).get("price", 2.0))
    drawn, absent = draw(evidence, price)
    out.write_text(page(evidence, drawn, absent), encoding="utf-8")
    say(errors, f"report in {out}")
    if "/" not in experiment:
        asked = {"rule": rule, "samples": samples, "price": price}
        untracked = _track(out, drawn, asked, experiment, uri, runs)
        if untracked is not None:
            say(errors, f"warning: {untracked}", "yellow")
    return 0


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
    from orchestrator.analysis.figures import pictures
    from orchestrator.analysis.style import svg

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
        loader=PackageLoader("orchestrator.analysis", ""), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        tables=[table for table in tables if table is not None],
        pictures=drawn,
        findings=findings(evidence),
        absent=absent,
    )


def _track(
    out: Path,
    drawn: Sequence[Drawn],
    asked: dict[str, object],
    experiment: str,
    uri: str | None,
    runs: str,
) -> str | None:
    """Keep the page and its figures in MLflow; what could not be written, or None."""
    name = f"report-{datetime.now():%Y%m%d-%H%M%S}"
    tags = {"ttc.run_id": name, "ttc.role": ROLE}
    tracker = Tracker(runs, passing("report"), experiment, asked, uri=uri, title=name, tags=tags)
    # Copies: the page may have been made anew when the store takes this one.
    pages = {out.name: out.read_text(encoding="utf-8"), **{f"{each.name}.svg": each.svg for each in drawn}}
    for file, text in pages.items():
        (tracker.directory / file).write_text(text, encoding="utf-8")
        tracker.artifact(tracker.directory / file)
    return tracker.close()
