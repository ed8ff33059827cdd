"""The ``ttc`` command: it joins the verbs, calls the one that is asked for, and returns its exit status.

Exit status: 0 done; 2 bad input; 1 failure; 130 interrupted (the journal is intact, and the command that
resumes is printed).
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from orchestrator.commands import check, fit, lab, regrade, replay, report, resume, run, sweep, ui, verifier
from orchestrator.commands.interrupts import INTERRUPTED, heard
from orchestrator.commands.terminal import console, open_standard_streams, say, streams
from orchestrator.errors import BadInput, in_one_line

VERBS = (check, run, sweep, resume, replay, regrade, verifier, fit, report, lab, ui)
"""The modules of the verbs, in the order in which ``ttc -h`` lists them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its status."""
    open_standard_streams()
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status of a ``ttc`` command."""
    options = _parsed(arguments)
    try:
        with streams() as errors:
            return _status(options, errors)
    except OSError as error:  # of standard output
        say(console(sys.stderr), f"ttc: {error}", "bold red")
        return 1


def _status(options: argparse.Namespace, errors: Console) -> int:
    def interrupt() -> None:
        raise KeyboardInterrupt

    try:
        with heard(errors, interrupt, lambda: "interrupted"):
            status: int = options.command(options, errors)
            return status
    except BadInput as error:
        say(errors, f"ttc: {error}", "bold red")
        return 2
    except KeyboardInterrupt:
        say(errors, "interrupted")
        return INTERRUPTED
    except (OSError, sqlite3.Error) as error:
        say(errors, f"ttc: {error}", "bold red")
        return 1
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow.", "sqlalchemy.")):
            raise
        say(errors, f"ttc: {in_one_line(error)}", "bold red")
        return 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before or after options, which argparse alone does not allow in a subcommand."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if not hasattr(options, "command"):
        getattr(options, "group", parser).print_help(sys.stderr)
        parser.exit(2)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttc", description="Search for the best answers that a budget in FLOPs can buy."
    )
    parser.add_argument("--version", action="version", version=f"ttc {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for verb in VERBS:
        verb.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return version("ttc")
    except PackageNotFoundError:  # run from its sources
        return "of these sources"


logging.captureWarnings(True)
