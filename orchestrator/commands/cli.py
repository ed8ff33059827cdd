"""The ``ttc`` command: it joins the verbs, calls the one that is asked for, and returns its exit status.

Exit status: 0 done; 2 bad input; 1 failure; 130 interrupted (the journal is intact, and the command that
resumes is printed).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from rich.console import Console

from orchestrator.commands import check, fit, lab, regrade, replay, report, resume, run, sweep, ui, verifier
from orchestrator.commands.terminal import say
from orchestrator.errors import BadInput

VERBS = (check, run, sweep, resume, replay, regrade, verifier, fit, report, lab, ui)
"""The modules of the verbs, in the order in which ``ttc -h`` lists them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its status."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status of a ``ttc`` command."""
    options = _parsed(arguments)
    errors = Console(stderr=True)
    try:
        return options.command(options, errors)
    except BadInput as error:
        say(errors, f"ttc: {error}", "bold red")
        return 2
    except KeyboardInterrupt:
        say(errors, "interrupted")
        return 130


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before or after options, which argparse alone does not allow in a subcommand."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttc", description="Search for the best answers that a budget in FLOPs can buy."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in VERBS:
        verb.add_parser(commands)
    return parser


logging.captureWarnings(True)
