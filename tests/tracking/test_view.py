"""Where runs are seen, and what their table has there."""

from __future__ import annotations

import json

from orchestrator.commands.launch import store
from orchestrator.config.loading import load
from orchestrator.tracking.view import TAG, address, page, tags
from tests.support.paths import LAB_CONFIG


def test_the_end_of_a_run_tells_the_page_of_a_server_or_the_command_that_serves_one():
    server = "https://mlflow.example/sub/"
    assert address(server, "7") == f"https://mlflow.example/sub/{page('7')}"
    assert address(server, None) == server, "it has not answered"
    assert address("sqlite:///runs/mlflow.db", "7") == "sqlite:///runs/mlflow.db"
    of_server = load(LAB_CONFIG, [f"tracking.uri={server}"])
    assert store(of_server, address(server, "7")).endswith("&viewStateShareKey=ttc")
    assert store(load(LAB_CONFIG), "sqlite:///runs/mlflow.db") == "ttc ui"
    assert store(load(LAB_CONFIG, ["runs=else where"]), "") == "ttc ui --runs 'else where'"


def test_each_column_that_is_selected_has_its_place_and_its_width():
    view = json.loads(tags(1000)[TAG])
    assert view["createdAt"] == view["updatedAt"] == 1000
    state = json.loads(view["state"])
    assert {*state["selectedColumns"]} < {*state["columnOrder"]}
    assert state["columnWidths"].keys() == {*state["columnOrder"]}
    assert len(tags(1000)[TAG]) < 5000, "MLflow takes no more"
