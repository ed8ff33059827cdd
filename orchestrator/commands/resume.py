"""``ttc resume RUN_ID``: go on with a run that was begun."""

from __future__ import annotations

import argparse
from contextlib import nullcontext, redirect_stdout
from io import StringIO

from rich.console import Console

from orchestrator.commands import launch
from orchestrator.commands.regrade import graded_by
from orchestrator.commands.terminal import add_run_options, existing_run, with_log_level
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare


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

    ``overrides`` may change where it runs; its journal refuses what determines its results. A run that was
    graded again goes on as it was begun, and is then graded again.
    """
    from orchestrator.runs.regrade import begun, put_back

    directory = existing_run(run_id, runs)
    # The store may have been moved, or be named from another working directory.
    config, graded = (
        load(path, [f"runs={runs}", *overrides]) for path in (begun(directory), directory / "config.yaml")
    )
    prepared, again = prepare(config), config != graded
    put_back(directory)
    with redirect_stdout(StringIO()) if again and as_json else nullcontext():
        status = launch.run(prepared, as_json, errors, run_id=run_id)
    return status if status or not again else graded_by(graded, directory, as_json, errors)
