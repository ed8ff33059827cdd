"""``--explore``: the page of the searches, served while they run, and written when they end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console

import orchestrator
from orchestrator.commands.terminal import say
from orchestrator.commands.ui import HOST, MOST_PORT
from orchestrator.errors import BadInput, in_one_line

if TYPE_CHECKING:
    from orchestrator.config.preparation import Prepared

log = logging.getLogger(__name__)

END_SECONDS = 10.0
"""Seconds that the server has to end, before it is killed."""
LOOK_SECONDS = 1.0
"""Seconds between two looks at engines that start."""


def add_explore_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--explore`` and ``--explore-port``."""
    parser.add_argument(
        "--explore", action="store_true", help="serve the page of the searches while they run, on loopback"
    )
    parser.add_argument(
        "--explore-port", type=int, metavar="PORT", help="the page's port (default: any that is free)"
    )


class PortInUse(OSError):
    """The port that was asked for cannot be had."""


class LivePage:
    """The page of what a command searches, while it searches; it costs nothing until somebody opens it.

    ``with LivePage(…) as page: page.begin(…); …; page.finish(…)``. Where it is not wanted, all of that does
    nothing.
    """

    def __init__(self, options: argparse.Namespace, runs: str, errors: Console) -> None:
        """Takes the port, before anything starts. Raises BadInput where it is none, and PortInUse."""
        self._runs = runs
        self._errors = errors
        self._process: subprocess.Popen[str] | None = None
        self._ends = threading.Event()
        self._telling = threading.Lock()
        self._socket: socket.socket | None = None
        port = options.explore_port
        if port is not None and not 1 <= port <= MOST_PORT:
            raise BadInput("--explore-port", port, f"allowed: 1 to {MOST_PORT}")
        if options.explore or port is not None:
            try:
                self._socket = socket.create_server((HOST, port or 0))
            except OSError as error:
                why = os.strerror(error.errno or 0)
                reason = f"port {port} cannot be used ({why}); take another: --explore-port"
                raise PortInUse(reason) from error

    def __enter__(self) -> Self:
        return self

    def _serve(self) -> None:
        """Starts the server, and says where it is."""
        assert self._socket is not None
        number = self._socket.fileno()
        ours = str(Path(orchestrator.__file__).parent.parent)  # these very sources, wherever they are
        places = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.commands.live_server", str(number), self._runs],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[number],
            start_new_session=True,  # Ctrl-C is for the run
            text=True,
            env={**os.environ, "PYTHONPATH": places},
        )
        port = self._socket.getsockname()[1]
        self._socket.close()
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        say(self._errors, f"see it search: http://{HOST}:{port}/")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is None:
            return
        self._ends.set()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def begin(self, run: str, prepared: Prepared) -> None:
        """Shows a run that begins."""
        self._wanted()
        self._tell({"run": run, "budget": prepared.budget.flops})

    def watch(self, start: Callable[[], list[str]]) -> None:
        """Shows, from now on, how far the start of engines is: ``start()`` says it in lines, in none while
        none starts. Another thread calls it."""
        if self._wanted():
            threading.Thread(target=self._watch, args=(start,), daemon=True).start()

    def _wanted(self) -> bool:
        if self._socket is not None and self._process is None:
            self._serve()
        return self._process is not None

    def _watch(self, start: Callable[[], list[str]]) -> None:
        last: list[str] = []
        while not self._ends.is_set():
            lines = start()
            if lines != last:
                self._tell({"starting": lines})
            last = lines
            self._ends.wait(LOOK_SECONDS)

    def finish(self, runs: Sequence[str]) -> None:
        """Writes the finished pages of these runs, as ``ttc explore`` does, and lets readers have them. Where
        that fails, it is said, and costs the command nothing else."""
        from orchestrator.commands.explore import explore

        if self._process is None:
            return
        try:
            written = [explore([run], self._runs, None, self._errors) for run in runs]
        except Exception as error:  # whatever it is: the searches are done, and paid for
            log.exception("the page of the searches is not written")
            say(
                self._errors,
                f"warning: the page of the searches is not written: {in_one_line(error)}",
                "yellow",
            )
            return
        if written and not any(written):
            self._tell({})

    def _tell(self, line: dict[str, object]) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        with self._telling, suppress(OSError, ValueError):  # the server has ended, which is said; or we do
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Keeps what the server says in the log, and says where it ends before the run."""
        assert process.stderr is not None
        last = ""
        for line in process.stderr:
            last = line.rstrip() or last
            log.warning("the live page: %s", line.rstrip())
        why = f"exit status {process.wait()}" + (f", {last}" if last else "")
        if not self._ends.is_set():
            say(self._errors, f"warning: the live page is gone, and the run goes on: {why}", "yellow")
