"""Shared by the commands at the terminal: a line on standard error, and the options of those that run."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from orchestrator.config.checks import LOG_LEVELS
from orchestrator.errors import BadInput


def say(console: Console, line: str, style: str | None = None) -> None:
    """Prints one line as it is: it is not wrapped, and no word of it is taken for markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json`` and ``--log-level``."""
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, help="how much run.log keeps (default: the key log_level)"
    )


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Adds the experiment that a command reads, and where and how it is read."""
    parser.add_argument(
        "experiment", help="an MLflow experiment, or a directory of runs (a path with a slash)"
    )
    parser.add_argument(
        "--rule", default="weighted", help="the selection rule that counts (default: weighted)"
    )
    parser.add_argument("--uri", help="the MLflow store (default: the one in --runs)")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")


def check_out(out: Path) -> None:
    """Raises BadInput where ``out`` cannot become a file."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput("--out", str(out), "allowed: a file in a directory that exists")


def existing_run(run_id: str, runs: str) -> Path:
    """Returns the directory of a run. Raises BadInput where there is none in ``runs``."""
    directory = Path(runs) / run_id
    if not (directory / "config.yaml").is_file():
        known = sorted(path.parent.name for path in Path(runs).glob("*/config.yaml"))
        raise BadInput("run_id", run_id, f"allowed: a run in {runs}/ ({', '.join(known) or 'none'})")
    return directory


def with_log_level(options: argparse.Namespace) -> list[str]:
    """Returns the ``key=value`` overrides of a command, its ``--log-level`` among them."""
    level = [f"log_level={options.log_level}"] if options.log_level else []
    return [*options.overrides, *level]
