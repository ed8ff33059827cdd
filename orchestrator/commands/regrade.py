"""``ttc regrade RUN_ID``: grade a finished run's solutions again; only a judge needs engines."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from orchestrator.commands.terminal import existing_run, fail, say, show, show_json
from orchestrator.config.loading import layers, load_begun, merged
from orchestrator.errors import BadInput, counted
from orchestrator.grading.judge import Judge
from orchestrator.grading.registry import resolve

if TYPE_CHECKING:
    from orchestrator.config.schema import Config

OWN = ("problems.answers", "generator.end_of_thinking", "judge.")
"""The keys that a run may be graded again with."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "regrade",
        epilog="for example: ttc regrade lab-20260101-120000-abcd problems.answers=math",
        help="grade a finished run's solutions again",
    )
    parser.add_argument("run_id", help="the run, by the name of its directory")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="another checker, such as problems.answers=math"
    )
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument("--json", action="store_true", help="both summaries as one JSON object on stdout")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Grade a run again; return the exit status."""
    return regrade(options.run_id, options.runs, options.overrides, options.json, errors)


def regrade(run_id: str, runs: str, overrides: list[str], as_json: bool, errors: Console) -> int:
    """Grades the solutions of a run again, writes what changes, and shows it. Returns the exit status."""
    directory = existing_run(run_id, runs)
    for override in overrides:
        key, _, value = override.partition("=")
        if not key.startswith((*OWN, "tracking.uri")):
            raise BadInput(key, value, f"the solutions are what they are; allowed: {' or '.join(OWN)}")
    path = directory / "config.yaml"
    return graded_by(
        load_begun(path, [f"runs={runs}", *overrides, *_without_judge(path, overrides)]),
        directory,
        as_json,
        errors,
    )


def _without_judge(path: Path, overrides: list[str]) -> list[str]:
    """Takes the run's own judge away where another checker takes its place."""
    answers = OmegaConf.select(merged(layers(path, overrides)), "problems.answers")
    asked = OmegaConf.to_container(answers) if OmegaConf.is_config(answers) else answers
    named = any(override.partition("=")[0] in ("judge", "judge.model") for override in overrides)
    return [] if named or isinstance(resolve(asked), Judge) else ["judge.model=null"]


def graded_by(config: Config, directory: Path, as_json: bool, errors: Console) -> int:
    """Grades the solutions of a run again by a configuration. Returns the exit status."""
    from actors.messages import PoolFailed
    from orchestrator.commands.grading_display import GradingDisplay
    from orchestrator.grading.pool import AnswersFailed
    from orchestrator.runs import regrade as grading
    from orchestrator.runs.log import logged

    try:
        with logged(directory, config.log_level), GradingDisplay(errors) as display:
            before, after = asyncio.run(grading.regrade(directory, config, display))
    except (AnswersFailed, PoolFailed, OSError) as error:
        fail(errors, str(error))
        return 1
    untracked = _tracked(directory, config, after)
    if untracked is not None:
        say(errors, f"warning: {untracked}", "yellow")
    doubts = warnings_of(before, after, config)
    for line in doubts:
        say(errors, f"warning: {line}", "yellow")
    if as_json:
        show_json({"before": before, "after": after, "warnings": doubts})
    else:
        show(_table(directory.name, before, after))
        say(errors, f"as the run left them: {directory}/*.{grading.BEFORE}.*")
    return 0


def warnings_of(before: dict[str, Any], after: dict[str, Any], config: Config) -> list[str]:
    """Returns what makes the new grades doubtful: a checker that takes no answer is likely not the one for
    them."""
    if after["coverage"] > 0:
        return []
    answers = config.problems.answers
    name = answers["name"] if isinstance(answers, Mapping) else answers
    read = f"it reads an answer of {after['answered']} of {counted(after['problems'], 'problem')}"
    was = f"; before, {100 * before['coverage']:.1f} % of the problems had a right one"
    return [f"problems.answers={name} takes no answer of the run for right ({read}){was}"]


def _tracked(directory: Path, config: Any, after: dict[str, Any]) -> str | None:
    """Logs the new numbers to the run's MLflow run, where it has one. Returns what could not be written."""
    from msgspec import ValidationError

    from orchestrator.config.written import tracking_uri
    from orchestrator.errors import in_one_line
    from orchestrator.masking import is_masked
    from orchestrator.runs.description import description, title
    from orchestrator.runs.metrics import last_points
    from orchestrator.runs.results import Summary
    from orchestrator.runs.results_file import PROBLEMS
    from orchestrator.tracking.mlflow_store import ID
    from orchestrator.tracking.tracker import Tracker

    if not (directory / ID).is_file():
        return None
    if is_masked("tracking.uri", config.tracking.uri):
        return "MLflow has the old grades: the password of tracking.uri is not kept; give tracking.uri again"
    uri = tracking_uri(config)
    try:
        summary = Summary.from_dict(after)
    except ValidationError as error:
        return f"MLflow has the old grades: the summary is that of an earlier version ({in_one_line(error)})"
    tracker = Tracker(config.runs, directory.name, config.tracking.experiment, {}, uri=uri)
    tracker.metrics(last_points(summary))
    tracker.describe(title(config, summary), description(config, directory.name, summary))
    tracker.table(directory / PROBLEMS)
    for name in ("results.parquet", "summary.json", "config.yaml"):
        tracker.artifact(directory / name)
    return tracker.close()


def _table(run_id: str, before: dict[str, Any], after: dict[str, Any]) -> Table:
    table = Table(title=f"run {run_id}", title_justify="left", pad_edge=False)
    for column in ("", "before", "after"):
        table.add_column(column, no_wrap=True)

    def share(of: dict[str, Any], rule: str) -> str:
        return f"{100 * of['accuracy'][rule]:.1f} %" if rule in of["accuracy"] else "–"

    table.add_row("answered", f"{before['answered']}", f"{after['answered']} of {after['problems']}")
    for rule in after["accuracy"]:
        table.add_row(f"accuracy, {rule}", share(before, rule), share(after, rule))
    table.add_row("coverage", *(f"{100 * one['coverage']:.1f} %" for one in (before, after)))
    table.add_row("distinct answers", *(f"{one['distinct_answers']:.2f}" for one in (before, after)))
    for name in sorted({*before.get("ungraded", {}), *after["ungraded"]}):
        counts = [f"{one.get('ungraded', {}).get(name, 0):,}" for one in (before, after)]
        table.add_row(f"not graded: {name.replace('_', ' ')}", *counts)
    return table
