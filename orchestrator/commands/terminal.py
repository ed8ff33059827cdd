"""Shared by the commands at the terminal: a line on standard error, and the options of those that run."""

from __future__ import annotations

import argparse

from rich.console import Console

from orchestrator.config.checks import LOG_LEVELS


def say(console: Console, line: str, style: str | None = None) -> None:
    """Prints one line as it is: it is not wrapped, and no word of it is taken for markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json`` and ``--log-level``."""
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, help="how much run.log keeps (default: the key log_level)"
    )


def with_log_level(options: argparse.Namespace) -> list[str]:
    """Returns the ``key=value`` overrides of a command, its ``--log-level`` among them."""
    level = [f"log_level={options.log_level}"] if options.log_level else []
    return [*options.overrides, *level]
