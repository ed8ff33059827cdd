"""A real MLflow server that comes late, is killed and comes back: nothing is lost, nobody waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import sender, view
from orchestrator.tracking.mlflow_store import ID
from orchestrator.tracking.spool import Spool
from orchestrator.tracking.tracker import Tracker
from tests.support.mlflow_server import Server

UP_SECONDS = 120


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "LONGEST_SECONDS", 1.0)
    made = Server(tmp_path)
    yield made
    made.kill()


@pytest.mark.server
def test_a_server_that_comes_late_is_killed_and_comes_back_has_it_all(tmp_path: Path, server: Server, capsys):
    parent = Tracker(tmp_path / "runs", "s", "e", {"cells": 1}, uri=server.uri)
    child = Tracker(tmp_path / "runs", "s/cells/a", "e", {"a": 1}, uri=server.uri, parent=parent)
    spools = [Spool(each.directory) for each in (parent, child)]
    (tmp_path / "file").write_text("kept")
    logging = 0.0

    def log(steps: range) -> None:
        nonlocal logging
        before = time.monotonic()
        for step in steps:
            child.metrics([("m", step / 2, step), ("n", -step, step)])
        child.artifact(tmp_path / "file")
        logging += time.monotonic() - before

    def written() -> None:
        deadline = time.monotonic() + UP_SECONDS
        while any(spool.waiting() for spool in spools):
            assert time.monotonic() < deadline, child._sender.away
            time.sleep(0.05)

    log(range(1000))
    assert not (child.directory / ID).exists()
    server.start()
    written()
    log(range(1000, 2000))  # the server is killed while it takes these
    server.kill()
    log(range(2000, 3000))
    assert any(spool.waiting() for spool in spools)
    assert child.close() is None
    server.start()
    written()
    assert parent.close() is None
    assert logging < 3, "seconds for 6000 points: the run waits for no server"

    client = MlflowClient(server.uri)
    where = client.get_experiment_by_name("e").experiment_id
    assert child.page == parent.page == f"{server.uri}/{view.page(where)}"
    run = client.get_run((child.directory / ID).read_text())
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.mlflow_run_id
    for name, factor in (("m", 0.5), ("n", -1)):
        points = client.get_metric_history(run.info.run_id, name)
        assert sorted((p.step, p.value) for p in points) == [(i, i * factor) for i in range(3000)]
        assert [p.timestamp for p in sorted(points, key=lambda p: p.step)] == sorted(
            p.timestamp for p in points
        )
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["file"]
    assert len(client.search_runs([run.info.experiment_id])) == 2
    assert capsys.readouterr().out == "", "MLflow tells no address of its own"
