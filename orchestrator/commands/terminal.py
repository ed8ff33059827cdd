"""Shared by the commands at the terminal: what is printed where, and the options of those that run."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec
from rich.console import Console, RenderableType

from orchestrator.config.checks import LOG_LEVELS
from orchestrator.errors import BadInput, visible
from orchestrator.masking import masked

LEFT = ("journal.sqlite", "sweep.yaml")
"""What the directories have in which runs and sweeps keep their files."""
PAGE_SUFFIX = ".html"
"""The end of the names of pages: of the files of runs no other has it."""


class Lenient:
    """A stream that drops what it cannot take: its reader is gone, it is closed, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self.failed: Exception | None = None
        """Why something was dropped."""
        self.used = False
        """True once something was written."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes or drops a text. Returns its length."""
        self.used = True
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes what was written, or drops it."""
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.failed = self.failed or error
            with suppress(OSError, ValueError, AttributeError):  # else Python fails as it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_result: Lenient | None = None
"""Standard output, while a command runs."""


@dataclass
class _Failure:
    """What a program is told of a command that has failed."""

    wanted: bool
    """True where the command was given ``--json``."""
    error: str = ""
    go_on: Callable[[], str | None] = lambda: None
    """Returns the command that goes on with what is kept."""


_failure = _Failure(False)


def open_standard_streams() -> None:
    """Opens /dev/null in the place of a standard stream that is closed, as under some daemons: else the next
    file that is opened takes its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def streams(*, as_json: bool = False) -> Iterator[Console]:
    """Keeps standard output for the result alone, while a command runs: what Ray, a strategy or a library
    prints goes to standard error. Yields the console there.

    Neither stream ends the command where it is closed or full. Raises OSError at the end where the result
    did not reach a file. With ``as_json`` a failure is a result too (``show_failure``).
    """
    global _result, _failure
    _failure = _Failure(as_json)
    result, errors = Lenient(sys.stdout), Lenient(sys.stderr)
    _result, before = result, _result
    try:
        with redirect_stdout(errors), redirect_stderr(errors):
            yield console(errors)
            result.flush()
    finally:
        _result = before
    if isinstance(result.failed, OSError) and not isinstance(result.failed, BrokenPipeError):
        raise OSError(result.failed.errno, f"{result.failed.strerror}: the result is not on standard output")


def console(stream: Any) -> Console:
    """Returns a console that prints texts as they are: no word of them is markup or an emoji."""
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def results() -> Any:
    """Returns the stream for a command's result: standard output."""
    return sys.stdout if _result is None else _result


def show(*results_: RenderableType) -> None:
    """Prints the result for a reader, on standard output."""
    out = console(results())
    for each in results_:
        out.print(each)


def show_json(value: object) -> None:
    """Prints the result for a program, on standard output: one object on one line; NaN and infinity are
    null."""
    print(msgspec.json.encode(value, enc_hook=_plain).decode(), file=results())


def _plain(number: Any) -> int | float:
    """A number of numpy's as one of Python's."""
    return number.item()


def say(console: Console, line: str, style: str | None = None) -> None:
    """Prints one line as it is: it is not wrapped, no word of it is taken for markup, a control character is
    an escape, and a secret is masked."""
    line = masked(visible(line))
    console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def fail(console: Console, line: str) -> None:
    """Says why a command fails, and keeps it for a program."""
    say(console, f"ttc: {line}", "bold red")
    note_failure(line)


def note_failure(line: str) -> None:
    """Keeps why a command fails for a program; the first reason counts."""
    _failure.error = _failure.error or masked(visible(line))


def goes_on_with(command: Callable[[], str | None]) -> None:
    """Lets a program be told, where the command fails, by which ``command()`` it goes on; None for none."""
    _failure.go_on = command


def show_failure() -> None:
    """Prints why the command has failed as one JSON object, where a program reads the result and there is
    none."""
    if not _failure.wanted or _result is None or _result.used:
        return
    go_on = _failure.go_on()
    show_json({"error": _failure.error, **({} if go_on is None else {"resume": go_on})})
    results().flush()  # the program may end at once


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json`` and ``--log-level``."""
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, help="how much run.log keeps (default: the key log_level)"
    )


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Adds the experiment that a command reads, and where and how it is read."""
    parser.add_argument(
        "experiment",
        help="an MLflow experiment, a sweep, a run, or a directory of runs (a path with a slash)",
    )
    parser.add_argument(
        "--rule",
        help="the selection rule that counts (default: weighted, or majority where nothing is scored)",
    )
    parser.add_argument("--uri", help="the MLflow store (default: the one in --runs)")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")


def say_untracked(errors: Console, moved: str | None, track: Callable[[], str | None]) -> None:
    """Keeps a command's result in MLflow by ``track``, and says what that could not write. A store that was
    ``moved`` from another place takes nothing: its artifacts would be written there."""
    if moved is not None:
        say(errors, f"not kept in MLflow: the store was moved, and its artifacts belong in {moved}", "yellow")
    elif (untracked := track()) is not None:
        say(errors, f"warning: {untracked}", "yellow")


def check_out(out: Path, key: str = "--out") -> None:
    """Raises BadInput where ``out`` cannot become a file, or would be taken for what a run has left."""
    allowed = "allowed: a file that can be written, in a directory that exists"
    try:
        if out.is_dir():
            raise BadInput(key, str(out), f"{allowed}; this is a directory")
        if out.suffix != PAGE_SUFFIX and any((out.resolve().parent / name).exists() for name in LEFT):
            elsewhere = f"allowed: a {PAGE_SUFFIX} file, or one elsewhere; runs keep files here"
            raise BadInput(key, str(out), elsewhere)
        with tempfile.TemporaryFile(dir=out.absolute().parent):
            pass
        if out.exists():
            out.open("ab").close()
    except OSError as error:
        raise BadInput(key, str(out), f"{allowed} ({error.strerror})") from error


def directory_in(runs: str, run_id: str) -> Path | None:
    """Returns the directory of a run or a sweep; None where ``runs`` holds none: what is elsewhere is none of
    its runs."""
    name = Path(run_id)
    inside = name.parts and ".." not in name.parts and not name.is_absolute()
    return Path(runs) / name if inside and (Path(runs) / name).is_dir() else None


def existing_run(run_id: str, runs: str) -> Path:
    """Returns the directory of a run. Raises BadInput where there is none in ``runs``."""
    directory = directory_in(runs, run_id)
    if directory is None or not (directory / "config.yaml").is_file():
        known = sorted(path.parent.name for path in Path(runs).glob("*/config.yaml"))
        raise BadInput("run_id", run_id, f"allowed: a run in {runs}/ ({', '.join(known) or 'none'})")
    return directory


def with_log_level(options: argparse.Namespace) -> list[str]:
    """Returns the ``key=value`` overrides of a command, its ``--log-level`` among them."""
    level = [f"log_level={options.log_level}"] if options.log_level else []
    return [*options.overrides, *level]
