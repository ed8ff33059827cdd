"""``ttc explore RUN_ID [RUN_ID …]``: the searches of runs, as one HTML page."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.console import Console

from orchestrator.commands.keeping import keep_with_run
from orchestrator.commands.report import PAGE as REPORT
from orchestrator.commands.terminal import check_out, existing_run, fail, say
from orchestrator.config.loading import load_begun
from orchestrator.errors import BadInput, counted

if TYPE_CHECKING:
    from orchestrator.config.schema import Config
    from orchestrator.explore.run import RunReader
    from orchestrator.problems.codec import Codec
    from orchestrator.problems.problem import Problem


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "explore",
        epilog="for example: ttc explore lab-20260101-120000-abcd",
        help="see how runs searched: trees, scores, votes and costs, as one HTML page",
    )
    parser.add_argument("run_id", nargs="+", help="a run, finished or not; several are compared")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument(
        "--out", type=Path, help="the page (default: explore.html in the first run's directory)"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Write the page of some runs; return the exit status."""
    return explore(options.run_id, options.runs, options.out, errors)


def explore(run_ids: Sequence[str], runs: str, out: Path | None, errors: Console) -> int:
    """Writes the page of these runs to ``out`` (None: into the directory of the first), and keeps it in
    MLflow where that run is tracked. Returns the exit status. Raises BadInput."""
    from orchestrator.durability.journal import JournalDamaged
    from orchestrator.explore.page import write
    from orchestrator.report.explorer import PAGE

    directories = [existing_run(run_id, runs) for run_id in dict.fromkeys(run_ids)]
    configs = [load_begun(directory / "config.yaml", [f"runs={runs}"]) for directory in directories]
    out = directories[0] / PAGE if out is None else out
    check_out(out)
    try:
        with ExitStack() as opened:
            readers = [
                opened.enter_context(_reader(directory, config, out))
                for directory, config in zip(directories, configs, strict=True)
            ]
            explored = write(readers, out)
    except JournalDamaged as error:
        fail(errors, str(error))
        return 1
    problems = sum(len(run.rows) for run in explored)
    nodes = sum(row.nodes for run in explored for row in run.rows)
    size = out.stat().st_size
    say(errors, f"{out}: {counted(problems, 'search', 'searches')}, {nodes:,} samples, {size / 1e6:.1f} MB")
    for run in explored:
        for note in run.notes:
            say(errors, f"{run.run}: {note}", "yellow")
    keep_with_run(out, directories[0], configs[0], errors)
    return 0


def _reader(directory: Path, config: Config, out: Path) -> RunReader:
    """What reads one run, without an engine, for a page ``out``."""
    from orchestrator.config.written import written
    from orchestrator.explore.run import SUMMARY, RunReader

    whole = (directory / SUMMARY).is_file()  # else some searches have no row of results, with their question
    codec, problems, notes = read_with(directory.name, config, questions=not whole)
    report = directory / REPORT
    made = report.is_file()
    # A cell's is the sweep's; of a run that was cut short there is none.
    alone = whole and directory.resolve().parent == Path(config.runs).resolve()
    elsewhere = ["--runs", config.runs] if config.runs != "runs" else []
    way = quote(Path(os.path.relpath(report.absolute(), out.absolute().parent)).as_posix())
    return RunReader(
        directory,
        written(config),
        codec,
        problems,
        notes,
        way if made or alone else None,
        "" if made else shlex.join(["ttc", "report", directory.name, *elsewhere]),
    )


def read_with(run: str, config: Config, *, questions: bool) -> tuple[Codec, list[Problem], list[str]]:
    """Returns what the rows of a run are read with: what decodes them, its problems where the ``questions``
    are asked for, and what could not be had of them. Raises BadInput."""
    from orchestrator.config.generator import codec_of
    from orchestrator.config.preparation import read_problems

    try:
        codec = codec_of(config.generator)
    except BadInput as error:
        needed = f"{error.allowed}; only it can read the token ids in the journal of {run}"
        raise BadInput(error.key, error.value, needed) from error
    try:
        return codec, read_problems(config) if questions else [], []
    except BadInput as error:
        return codec, [], [f"the questions of searches that have not ended are not known: {error}"]
