"""``ttc ui``: the MLflow UI on the run store of a directory."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from rich.console import Console

from orchestrator.commands.terminal import fail, say
from orchestrator.errors import BadInput
from orchestrator.tracking import view

HOST = "127.0.0.1"
MOST_PORT = 65_535
LOOK_SECONDS = 0.2
"""Seconds between two looks at whether the server answers."""
END_SECONDS = 5.0
"""Seconds that the server has to end, before it is killed."""
LOG = "ui.log"
"""The file, in the directory of the runs, of what the server prints."""
MOST_PAGES = 5
"""The most experiments whose address is printed."""
LATE_SECONDS = 60.0
"""Seconds after which it is said that the server has not answered."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("ui", help="open the MLflow UI on the runs of this directory")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument("--port", type=int, default=5000, help="the port of the page (default: 5000)")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Serve until the server ends, or is interrupted; return its exit status. Raises BadInput where there is
    no run store yet; returns 1 where the port is in use."""
    from orchestrator.tracking.tracker import local_uri

    runs = Path(options.runs)
    if not (runs / "mlflow.db").is_file():
        raise BadInput("--runs", options.runs, "there is no run store yet; start a run first: ttc run CONFIG")
    if not 1 <= options.port <= MOST_PORT:
        raise BadInput("--port", options.port, f"allowed: 1 to {MOST_PORT}")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, options.port))
    except OSError as error:
        say(errors, f"ttc: port {options.port} cannot be used ({error}); take another: --port", "bold red")
        return 1
    say(errors, f"the MLflow server starts; what it prints is in {runs / LOG}")
    with (runs / LOG).open("wb") as printed:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--backend-store-uri", local_uri(runs)),
                *("--host", HOST, "--port", str(options.port)),
            ],
            # No jobs: MLflow would leave their queues in shared memory.
            env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it has workers, which end with it
        )
    try:
        pages = _pages(local_uri(runs))
        if _answers(server, options.port, errors):
            for name, page in pages.items():
                say(errors, f"open http://{HOST}:{options.port}/{page} ({name})")
            say(errors, "Ctrl-C ends it")
        status = server.wait()
        if status:
            last = (runs / LOG).read_text(errors="replace").strip().rpartition("\n")[2]
            fail(errors, f"the MLflow server has ended: exit status {status}, {last}")
        return status
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends a server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)


def _answers(server: subprocess.Popen[bytes], port: int, errors: Console) -> bool:
    """Waits until the server answers, which is said where it is late. Returns False where it has ended."""
    began, said = time.monotonic(), False
    while server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
            return server.poll() is None  # else it is another's answer
        if not said and time.monotonic() - began >= LATE_SECONDS:
            said = True
            late = f"the MLflow server has not answered in {LATE_SECONDS:.0f} s; it is waited for"
            say(errors, late, "yellow")
        time.sleep(LOOK_SECONDS)
    return False


def _pages(uri: str) -> dict[str, str]:
    """Returns the pages to open, by experiment, that of the newest runs first: each experiment's runs, in the
    view that it gets here where it has none."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = []
    for each in client.search_experiments():
        runs = client.search_runs(
            [each.experiment_id], order_by=["attributes.start_time DESC"], max_results=1
        )
        found += [(run.info.start_time, each) for run in runs]
    newest = [each for _, each in sorted(found, key=itemgetter(0), reverse=True)[:MOST_PAGES]]
    for each in newest:
        with suppress(Exception):  # a store that is only read has its page without it
            view.ensure(client, each.experiment_id, each.tags, round(1000 * time.time()))
    return {each.name: view.page(each.experiment_id) for each in newest} or {"no run yet": "#/experiments"}
