"""``ttc resume RUN_ID``: go on with a run that was begun."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from orchestrator.commands import launch
from orchestrator.commands.terminal import add_run_options, with_log_level
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.errors import BadInput


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("resume", help="continue a run that was killed or interrupted")
    parser.add_argument("run_id")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="where it goes on: cluster, replicas, resources"
    )
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    add_run_options(parser)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Go on with a run; return the exit status."""
    return resume(options.run_id, options.runs, with_log_level(options), options.json, errors)


def resume(run_id: str, runs: str, overrides: list[str], as_json: bool, errors: Console) -> int:
    """Goes on with a run that was begun. Returns its exit status.

    ``overrides`` may change where it runs; its journal refuses what determines its results.
    """
    directory = Path(runs) / run_id
    if not (directory / "config.yaml").is_file():
        known = sorted(path.parent.name for path in Path(runs).glob("*/config.yaml"))
        raise BadInput("run_id", run_id, f"allowed: a run in {runs}/ ({', '.join(known) or 'none'})")
    # The store may have been moved, or be named from another working directory.
    config = load(directory / "config.yaml", [f"runs={runs}", *overrides])
    return launch.run(prepare(config), as_json, errors, run_id=run_id)
