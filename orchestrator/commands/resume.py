"""``ttc resume RUN_ID``: go on with a run that was begun."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import OmegaConf
from rich.console import Console

from orchestrator.commands import launch
from orchestrator.commands.live import LivePage, add_explore_options
from orchestrator.commands.regrade import graded_by
from orchestrator.commands.terminal import (
    add_run_options,
    existing_run,
    say,
    show,
    show_json,
    with_log_level,
)
from orchestrator.config.fingerprint import differing
from orchestrator.config.loading import load_begun
from orchestrator.config.preparation import prepare
from orchestrator.config.schema import Config, to_dict
from orchestrator.errors import BadInput, as_given
from orchestrator.masking import is_masked
from orchestrator.strategies.registry import find


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "resume",
        epilog="for example: ttc resume lab-20260101-120000-abcd",
        help="continue a run that was killed or interrupted",
    )
    parser.add_argument("run_id", help="the run, by the name of its directory")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="where it goes on: keys of cluster, replicas and resources",
    )
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    add_run_options(parser)
    add_explore_options(parser)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Go on with a run; return the exit status."""
    with LivePage(options, options.runs, errors) as page:
        overrides = with_log_level(options)
        return resume(options.run_id, options.runs, overrides, options.json, errors, page)


def resume(
    run_id: str, runs: str, overrides: list[str], as_json: bool, errors: Console, page: LivePage | None = None
) -> int:
    """Goes on with a run that was begun, on its ``page`` where there is one. Returns its exit status.

    ``overrides`` may change where it runs, and nothing that determines its results. A run that is finished is
    shown as its summary is stored. A run that was graded again goes on as it was begun, and is then graded
    again.
    """
    from orchestrator.runs.regrade import begun, put_back
    from orchestrator.runs.run import stored_summary

    directory = existing_run(run_id, runs)
    # The store may have been moved, or be named from another working directory.
    own = [f"runs={runs}"]
    if overrides:
        _check_same(begun(directory), own, overrides)
    if (summary := stored_summary(directory)) is not None:
        say(errors, f"run {run_id} is finished; its summary, as it is stored:")
        _show(summary, as_json)
        return 0
    config, graded = (
        _stored(path, [*own, *overrides]) for path in (begun(directory), directory / "config.yaml")
    )
    prepared, again = prepare(config), config != graded
    put_back(directory)
    status = launch.run(prepared, as_json, errors, run_id=run_id, shown=not again, page=page)
    if status or not again:
        return status
    status = graded_by(graded, directory, as_json, errors)
    if page is not None:
        page.finish([run_id])
    return status


def _stored(path: Path, overrides: list[str]) -> Config:
    """Reads a run's own configuration. It has a value for every parameter that its strategy had then."""
    config = load_begun(path, overrides)
    stored = find(config.strategy.get("name")).as_stored(config.strategy)
    return replace(config, strategy=stored)


def _check_same(path: Path, own: list[str], overrides: list[str]) -> None:
    """Raises BadInput where the overrides make another run of the one that was begun."""
    begun, now = _stored(path, own), _stored(path, [*own, *overrides])
    kept = OmegaConf.create(to_dict(begun))  # a secret is not: its journal tells whether it is the same
    differ = [key for key in differing(begun, now) if not is_masked(key, OmegaConf.select(kept, key))]
    if differ:
        given = [override.partition("=")[0] for override in overrides]
        key = next((key for key in differ if key in given), differ[0])
        before, after = OmegaConf.select(kept, key), OmegaConf.select(OmegaConf.create(to_dict(now)), key)
        needed = "its results depend on it: leave it as it is, or begin a new run"
        raise BadInput(key, after, f"the run was begun with {as_given(before)}, and {needed}")


def _show(summary: dict[str, Any], as_json: bool) -> None:
    from orchestrator.commands.display import summary_table
    from orchestrator.runs.results import Summary

    if as_json:
        return show_json(summary)
    try:
        show(summary_table(Summary.from_dict(summary)))
    except msgspec.ValidationError:  # of an earlier version, which had other numbers
        show_json(summary)
