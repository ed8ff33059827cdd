"""``ttc report EXPERIMENT``: what an experiment's runs say, as one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.terminal import add_experiment_options, check_out, results, say, say_untracked
from orchestrator.errors import BadInput, at_least, one_of

ROLE = "report"
PAGE = "report.html"

if TYPE_CHECKING:
    from orchestrator.report.page import Drawn


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "report",
        epilog="for example: ttc report lab",
        help="show what an experiment's runs say, as one HTML page",
    )
    add_experiment_options(parser)
    parser.add_argument(
        "--samples", type=int, default=4, help="samples that tell a problem's bin (default: 4)"
    )
    parser.add_argument(
        "--price", type=float, help="the price of an accelerator-hour (default: the runs' cluster.price)"
    )
    parser.add_argument(
        "--generator", help="the generator that it reports on (default: the one with most cells)"
    )
    parser.add_argument(
        "--table",
        nargs="?",
        const="accuracy",
        metavar="NAME",
        help="only print a table, as Markdown: accuracy by difficulty, or savings, matched, fits, …",
    )
    parser.add_argument(
        "--out", type=Path, help="the page (default: report.html, a run's in the run's own directory)"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Write the report of an experiment; return the exit status."""
    return run_report(
        options.experiment,
        options.out,
        errors,
        rule=options.rule,
        samples=options.samples,
        price=options.price,
        generator=options.generator,
        uri=options.uri,
        runs=options.runs,
        table=options.table,
    )


def run_report(
    experiment: str,
    out: Path | None,
    errors: Console,
    *,
    rule: str | None = None,
    samples: int = 4,
    price: float | None = None,
    generator: str | None = None,
    uri: str | None = None,
    runs: str = "runs",
    table: str | None = None,
) -> int:
    """Writes the report of an experiment (its name in MLflow, a sweep's, a run's, or a directory: a path with
    a slash) to ``out``. None is report.html here, or in the directory of a run that is reported alone. It is
    kept in MLflow too: an experiment's as a run of role ``report``, a run's among its artifacts. Returns the
    exit status.

    ``price`` is that of an accelerator-hour (None: the runs' ``cluster.price``). With ``table`` (a key of
    ``TABLES``) only that one is printed. Raises BadInput.
    """
    from orchestrator.analysis.store import CONFIG, find, moved_from
    from orchestrator.commands.keeping import keep_with_run
    from orchestrator.config.loading import load_begun
    from orchestrator.report.evidence import gather
    from orchestrator.report.explorer import place
    from orchestrator.report.page import TABLES, draw, page
    from orchestrator.report.table import markdown

    at_least("--samples", samples, 1)
    if price is not None and not 0 <= price < float("inf"):
        raise BadInput("--price", price, "allowed: 0 or more, of an accelerator-hour")
    if table is not None and table not in TABLES:
        raise BadInput("--table", table, one_of(TABLES))
    if out is not None:
        check_out(out)
    source = find(experiment, uri, runs)
    if out is None:
        out = Path(PAGE) if source.run is None else source.run / PAGE
        check_out(out)
    evidence = gather(source, rule, generator=generator, samples=samples)
    if table is not None:
        for line in evidence.left_out:
            say(errors, f"left out: {line}", "yellow")
        found = TABLES[table](evidence)
        if found is None:
            raise BadInput("--table", table, f"the experiment {experiment} has no data for it")
        print(markdown(found), file=results())
        return 0
    if price is None:
        price = float((evidence.main.options[0].cells[0].config.get("cluster") or {}).get("price", 2.0))
    drawn, absent = draw(evidence, price)
    out.write_text(page(evidence, drawn, absent, out), encoding="utf-8")
    say(errors, f"report in {out}")
    if source.run is not None:
        runs_of, _ = place(source.run, source.cells[0].run_id)
        begun = load_begun(source.run / CONFIG, [f"runs={runs_of}"])
        with (
            TemporaryDirectory() as apart
        ):  # where MLflow shows it, the links to files beside it lead nowhere
            kept = Path(apart) / out.name
            kept.write_text(page(evidence, drawn, absent), encoding="utf-8")
            keep_with_run(kept, source.run, begun, errors)
    elif (kept_in := source.kept_in) is not None:
        asked = {"rule": evidence.rule, "samples": samples, "price": price}
        say_untracked(
            errors,
            moved_from(kept_in, uri, runs),
            lambda: _track(out.name, page(evidence, drawn, absent), drawn, asked, kept_in, uri, runs),
        )
    return 0


def _track(
    out: str,
    html: str,
    drawn: Sequence[Drawn],
    asked: dict[str, object],
    experiment: str,
    uri: str | None,
    runs: str,
) -> str | None:
    """Keep the page and its figures in MLflow; what could not be written, or None."""
    from orchestrator.tracking.tracker import Tracker, tags_about, temporary_run_id

    name = f"report-{datetime.now():%Y%m%d-%H%M%S}"
    tags = {"ttc.run_id": name, "ttc.role": ROLE, **tags_about(runs, experiment, uri)}
    title = f"report of {experiment}, {datetime.now():%Y-%m-%d %H:%M}"
    tracker = Tracker(runs, temporary_run_id("report"), experiment, asked, uri=uri, title=title, tags=tags)
    tracker.describe(title, f"`ttc report {experiment}`: the page is `{out}` among the artifacts.")
    # Not the page itself: it may have been made anew when the store takes this, and it links to files here.
    pages = {out: html, **{f"{each.name}.svg": each.svg for each in drawn}}
    pages |= {f"{each.name}.csv": each.csv for each in drawn}
    for file, text in pages.items():
        (tracker.directory / file).write_text(text, encoding="utf-8")
        tracker.artifact(tracker.directory / file)
    return tracker.close()
