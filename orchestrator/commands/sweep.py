"""``ttc sweep CONFIG``: a grid of runs on the same engines."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.launch import store, until_interrupted
from orchestrator.commands.live import LivePage, add_explore_options
from orchestrator.commands.terminal import add_run_options, goes_on_with, say, show, show_json, with_log_level
from orchestrator.masking import without_user

if TYPE_CHECKING:
    from orchestrator.config.schema import Config
    from orchestrator.runs.grid import Grid


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "sweep",
        epilog="for example: ttc sweep configs/lab-sweep.yaml",
        help="run a grid of configurations on the same engines, as nested MLflow runs",
    )
    parser.add_argument("config", help="a YAML file with a sweep: section, as configs/lab-sweep.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys that differ from the file's")
    add_run_options(parser)
    add_explore_options(parser)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Run all cells that are not finished yet; return the exit status, 1 where any cell failed."""
    from orchestrator.runs import grid

    overrides = with_log_level(options)
    read = grid.read(options.config, overrides)
    with LivePage(options, read.config.runs, errors) as page:
        command = shlex.join(["ttc", "sweep", options.config, *overrides])
        return sweep(read, command, options.json, errors, page)


def sweep(read: Grid, command: str, as_json: bool, errors: Console, page: LivePage) -> int:
    """Runs all cells of a sweep that are not finished yet, on its ``page``. Returns its exit status, 1 where
    any cell failed. ``command`` is what goes on with it."""
    from actors.cluster import check_cluster
    from orchestrator.commands import sweep_display
    from orchestrator.config.capacity import check_capacity, check_gpus
    from orchestrator.config.warnings import warnings_of
    from orchestrator.runs import sweep_table
    from orchestrator.runs.run import SUMMARY
    from orchestrator.runs.sweep import Sweep, engine_groups, finished, run_id

    whole = Sweep(read)
    name = whole.grid.config.name
    say(errors, f"sweep {name}")
    for line, times in Counter(line for cell in whole.todo for line in warnings_of(cell.prepared)).items():
        say(errors, f"warning: {line}" + (f" (in {times} cells)" if times > 1 else ""), "yellow")
    for cell in whole.todo:
        check_gpus(cell.config, revises=cell.prepared.strategy.strategy.has_reviser)
    if whole.todo and (address := whole.grid.config.cluster.address) is not None:
        check_cluster(address)
    for engines in engine_groups(whole.todo):
        if (crowded := check_capacity(engines)) is not None:
            say(errors, f"warning: {crowded}", "yellow")

    def again() -> str:
        finished = whole.kept or any(whole.grid.directory.glob(f"cells/*/{SUMMARY}"))
        return f"{'finished cells are kept' if finished else 'no cell is finished'}. To go on: {command}"

    goes_on_with(lambda: command)
    with sweep_display.SweepDisplay(errors, page) as display:
        if whole.todo:
            page.watch(lambda: display.start)
        status, outcomes = until_interrupted(whole.run(display), errors, again, whole.grid.directory)
    if outcomes is None:
        return status
    if whole.untracked is not None:
        say(errors, f"warning: {whole.untracked}", "yellow")
    found = sweep_table.rows(finished(outcomes))
    if as_json:
        cells = [outcome.to_dict() for outcome in outcomes]
        show_json({"sweep": name, "table": [row.to_dict() for row in found], "cells": cells})
    else:
        show(sweep_display.table(name, found))
        say(errors, f"results in {whole.grid.directory}/; MLflow: {store(whole.grid.config, whole.page)}")
        if found:
            say(errors, f"its report: {report_command(whole.grid.config)}")
    page.finish([run_id(outcome.cell) for outcome in outcomes if outcome.state == "done"])
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        say(errors, f"failed: {outcome.cell.key}: {outcome.error}", "red")
    return 1 if failed else 0


def report_command(config: Config) -> str:
    """Returns the command that reports on the sweep of this configuration."""
    uri = config.tracking.uri
    if config.unresolved.get("tracking.uri") is not None or (uri is not None and without_user(uri) != uri):
        return shlex.join(["ttc", "report", f"{Path(config.runs) / config.name}/"])  # a secret is not shown
    where = ["--runs", config.runs] if config.runs != "runs" else []
    return shlex.join(["ttc", "report", config.name, *where, *(["--uri", uri] if uri is not None else [])])
