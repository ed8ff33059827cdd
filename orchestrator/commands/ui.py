"""``ttc ui``: the MLflow UI on the run store of a directory."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from rich.console import Console

from orchestrator.commands.terminal import say
from orchestrator.errors import BadInput

HOST = "127.0.0.1"
MOST_PORT = 65_535


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("ui", help="open the MLflow UI on the runs of this directory")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument("--port", type=int, default=5000, help="the port of the page (default: 5000)")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Become the MLflow server. Raises BadInput where there is no run store yet; returns 1 where the port is
    in use."""
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
    say(errors, f"open http://{HOST}:{options.port}/#/{_page(local_uri(runs))} (Ctrl-C ends it)")
    # No jobs: MLflow would leave their queues in shared memory.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.execvp(
        sys.executable,
        [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", local_uri(runs)),
            *("--host", HOST, "--port", str(options.port)),
        ],
    )


def _page(uri: str) -> str:
    """Returns the page to open: the runs beside the newest one. MLflow opens on traces unless it is told."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    places = [each.experiment_id for each in client.search_experiments()]
    newest = client.search_runs(places, order_by=["attributes.start_time DESC"], max_results=1)
    page = f"experiments/{newest[0].info.experiment_id}/runs" if newest else "experiments"
    return f"{page}?workflowType=machine_learning"
