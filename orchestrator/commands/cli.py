"""The ``ttc`` command: it joins the verbs, calls the one that is asked for, and returns its exit status.

Exit status: 0 done; 2 bad input; 1 failure, also where a cluster, a server or a port is not to be had; 130
interrupted (the journal is intact, and the command that resumes is printed). A program that asks for JSON is
told of each of them.
"""

from __future__ import annotations

import argparse
import logging
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

from rich.console import Console

from orchestrator.commands import (
    check,
    explore,
    fit,
    lab,
    regrade,
    replay,
    report,
    resume,
    run,
    sweep,
    ui,
    verifier,
)
from orchestrator.commands.interrupts import INTERRUPTED, heard
from orchestrator.commands.terminal import (
    console,
    fail,
    note_failure,
    open_standard_streams,
    say,
    show_failure,
    streams,
)
from orchestrator.errors import BadInput, in_one_line, one_of

VERBS = (check, run, sweep, resume, replay, regrade, verifier, fit, report, explore, lab, ui)
"""The modules of the verbs, in the order in which ``ttc -h`` lists them."""

LONGEST_WORDS = 200
"""Characters of a command line that are shown again."""
REQUIRED = "the following arguments are required: "
"""The beginning of what argparse says of arguments that are missing."""

CHOICE = re.compile(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)
"""What it says of an unknown command."""
WORD = r"[\w-]+"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its status."""
    open_standard_streams()
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status of a ``ttc`` command."""
    try:
        options = _parsed(arguments)
    except _Misused as error:
        words = sys.argv[1:] if arguments is None else arguments
        with streams(as_json="--json" in words) as errors:
            say(errors, str(error), "bold red")
            note_failure(str(error))
            show_failure()
        return 2
    try:
        with streams(as_json=getattr(options, "json", False)) as errors:
            return _status(options, errors)
    except OSError as error:  # of standard output
        say(console(sys.stderr), f"ttc: {error}", "bold red")
        return 1


def _status(options: argparse.Namespace, errors: Console) -> int:
    def interrupt() -> None:
        raise KeyboardInterrupt

    status = 1
    try:
        with heard(errors, interrupt, lambda: "interrupted"):
            status = options.command(options, errors)
    except BadInput as error:
        fail(errors, str(error))
        status = 2
    except KeyboardInterrupt:
        say(errors, "interrupted")
        note_failure("interrupted")
        status = INTERRUPTED
    except (OSError, sqlite3.Error) as error:
        fail(errors, str(error))
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow.", "sqlalchemy.")):
            note_failure(in_one_line(error, frame=True))
            raise
        fail(errors, in_one_line(error))
    finally:
        if status:
            show_failure()
    return status


class _Misused(Exception):
    """A command line that no verb takes, in one line."""


class _Commands(argparse._SubParsersAction):
    """Commands whose own help begins with what the list of commands says of them."""

    def add_parser(self, name: str, **options: Any) -> Any:
        said = options["help"]
        made = super().add_parser(name, description=f"{said[0].upper()}{said[1:]}.", **options)
        made.set_defaults(parser=made)
        return made


class _Parser(argparse.ArgumentParser):
    """A parser that tells a fault in one line, with an example (its ``epilog``)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("action", "parsers", _Commands)

    def error(self, message: str) -> NoReturn:
        """Raises _Misused."""
        if message.startswith(REQUIRED):
            several = {action.metavar for action in self._actions if action.nargs == "*"}
            names = message.removeprefix(REQUIRED).split(", ")
            lacking = [name for name in names if name not in several]
            shown = [name if name.startswith("-") or not name.islower() else name.upper() for name in lacking]
            message = f"{' and '.join(shown)} {'is' if len(shown) == 1 else 'are'} missing"
        if (choice := CHOICE.match(message)) is not None:
            message = f"unknown command {choice[1]!r}; {one_of(re.findall(WORD, choice[2]), choice[1])}"
        more = f"; {self.epilog}" if self.epilog else f"; see {self.prog} -h"
        raise _Misused(f"{self.prog}: {message}{more}")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before or after options, which argparse alone does not allow in a subcommand."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if not hasattr(options, "command"):
        getattr(options, "group", parser).print_help(sys.stderr)
        parser.exit(2)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        options.parser.error(_unknown(rest, options))
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _unknown(words: Sequence[str], options: argparse.Namespace) -> str:
    """Says which words a command does not take, and what may be meant."""
    said = f"unrecognized arguments: {' '.join(words)[:LONGEST_WORDS]}"
    given = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if given is None:
        return said
    if given in options.parser._option_string_actions:
        return f"{said}; an option stands after its command, as in {options.parser.prog} {given}"
    if hasattr(options, "overrides"):
        from orchestrator.config.kinds import kind_at, sections_with
        from orchestrator.config.loading import SWEEP

        key = given.lstrip("-").replace("-", "_")
        section = key.partition(".")[0]
        found = sections_with(key)
        with suppress(LookupError):
            if section != SWEEP and not found:
                kind_at(section)
            keys = " or ".join(f"{one[:LONGEST_WORDS]}=VALUE" for one in found or [key])
            return f"{said}; a key of the configuration is given as {keys}"
    return f"{said}; {one_of(sorted(options.parser._option_string_actions), given)}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ttc", description="Search for the best answers that a budget in FLOPs can buy.")
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
