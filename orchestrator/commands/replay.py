"""``ttc replay``: write to MLflow what runs could not while it was away."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from orchestrator.commands.terminal import directory_in, say
from orchestrator.errors import BadInput


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("replay", help="write to MLflow what runs could not while it was away")
    parser.add_argument("run_id", nargs="*", help="a run or a sweep (default: all)")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument("--uri", help="the MLflow store (default: each run's own)")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Write what the spools still hold; return 0 if nothing is left."""
    return replay(options.run_id, options.runs, errors, options.uri)


def replay(run_ids: list[str], runs: str, errors: Console, uri: str | None = None) -> int:
    """Write to MLflow what the spools of these runs, or of all, still hold: 0 if nothing is left."""
    from orchestrator.tracking import tracker as tracking
    from orchestrator.tracking.uri import check_uri

    for run_id in run_ids:
        if directory_in(runs, run_id) is None:
            raise BadInput("run_id", run_id, f"allowed: a run or a sweep in {runs}/, or nothing: all")
    if not Path(runs).is_dir():
        raise BadInput("--runs", runs, "allowed: a directory of runs")
    check_uri(uri, "--uri")
    left, found = 0, False
    for run_id in run_ids or [""]:
        for spool in tracking.replay(Path(runs), run_id, uri):
            found = True
            left += spool.left
            say(errors, f"{spool.directory}: {spool.waiting - spool.left} of {spool.waiting} entries written")
            if spool.refused:
                say(errors, f"  {len(spool.refused)} of them refused, first {spool.refused[0]}", "yellow")
            if spool.left:
                say(errors, f"  {spool.left} wait: {spool.away}", "yellow")
    if not found:
        say(errors, "MLflow has everything: nothing waits")
    return 1 if left else 0
