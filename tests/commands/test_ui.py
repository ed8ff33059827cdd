"""``ttc ui`` says where the page is once the server answers, and what became of it where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.commands import ui
from orchestrator.tracking import view
from orchestrator.tracking.tracker import local_uri
from tests.support.mlflow_server import free_port

SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_): ...

time.sleep(float(sys.argv[2]))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""


def started(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], start_new_session=True)


def test_a_server_that_is_late_is_waited_for_and_ends_with_its_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ui, "LATE_SECONDS", 0.3)
    said, port, began = StringIO(), free_port(), time.monotonic()
    server = started(SERVER, str(port), "1")
    try:
        assert ui._answers(server, port, Console(file=said))
        assert time.monotonic() - began >= 1
        assert said.getvalue() == "the MLflow server has not answered in 0 s; it is waited for\n"
    finally:
        ui._end(server)
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)


def test_a_server_that_ends_is_told_of_with_what_it_printed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mlflow.db").touch()
    fails = [sys.executable, "-c", "print('one'); print('no such thing'); raise SystemExit(3)"]
    popen = subprocess.Popen
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **options: popen(fails, **options))
    monkeypatch.setattr(ui, "_pages", lambda uri: {"lab": "experiments"})
    said = StringIO()
    asked = Namespace(runs=str(tmp_path), port=free_port())
    assert ui.command(asked, Console(file=said, width=200)) == 3
    first, last = said.getvalue().splitlines()
    assert first == f"the MLflow server starts; what it prints is in {tmp_path}/ui.log"
    assert last == "ttc: the MLflow server has ended: exit status 3, no such thing"


def test_each_experiments_table_has_its_address_the_newest_first(tmp_path: Path):
    from mlflow import MlflowClient

    client = MlflowClient(local_uri(tmp_path))
    assert ui._pages(local_uri(tmp_path)) == {"no run yet": "#/experiments"}
    places = {name: client.create_experiment(name) for name in ("old", "new", "empty")}
    for began, name in enumerate(("old", "new"), 1):
        client.create_run(places[name], start_time=began)
    pages = ui._pages(local_uri(tmp_path))
    assert list(pages) == ["new", "old"]
    assert pages["old"] == view.page(places["old"])
    assert view.TAG in client.get_experiment(places["old"]).tags
    assert view.TAG not in client.get_experiment(places["empty"]).tags, "what is not shown stays as it is"
