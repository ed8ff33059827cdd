"""``ttc ui``: the MLflow UI on the run store of a directory."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from orchestrator.errors import BadInput


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("ui", help="open the MLflow UI on the runs of this directory")
    parser.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    parser.add_argument("--port", type=int, default=5000)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Become the MLflow server. Raises BadInput where there is no run store yet."""
    from orchestrator.tracking.tracker import local_uri

    runs = Path(options.runs)
    if not (runs / "mlflow.db").is_file():
        raise BadInput("--runs", options.runs, "there is no run store yet; start a run first: ttc run CONFIG")
    os.execvp(
        sys.executable,
        [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", local_uri(runs)),
            *("--host", "127.0.0.1", "--port", str(options.port)),
        ],
    )
