"""The tracker writes everything in order, in the background, and never fails a run."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking import Tracker, flatten, local_uri


def test_everything_queued_is_in_the_store_when_it_is_closed(tmp_path: Path):
    uri = local_uri(tmp_path)
    tracker = Tracker(uri, "e", "run-1", {"a": {"b": 1, "c": {}}, "d": None}, artifacts=tmp_path.as_uri())
    for step in range(2500):
        tracker.metrics([("curve", step / 2, step)])
    tracker.metrics([("many", float(step), step) for step in range(2500)])
    (tmp_path / "file.txt").write_text("kept")
    tracker.artifact(tmp_path / "file.txt")
    assert tracker.close("KILLED") is None

    client = MlflowClient(uri)
    run = client.get_run(tracker.mlflow_run_id)
    assert (run.info.run_name, run.info.status) == ("run-1", "KILLED")
    assert run.data.params == {"a.b": "1", "a.c": "{}", "d": "None"}
    for name in ("curve", "many"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 2500
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["file.txt"]


def test_a_remembered_run_goes_on_with_the_parameters_it_was_begun_with(tmp_path: Path):
    uri, known = local_uri(tmp_path), tmp_path / "id"
    for params, status in (({"a": 1}, "KILLED"), ({"a": 2, "b": 3}, "FINISHED")):
        tracker = Tracker(uri, "e", "r", params, artifacts=tmp_path.as_uri(), remember=known)
        assert tracker.close(status) is None
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert run.info.run_id == known.read_text()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1", "b": "3"}

    known.write_text("of another store")
    other = Tracker(uri, "e", "r", {}, artifacts=None, remember=known)
    assert other.close() is None
    assert other.mlflow_run_id == known.read_text() != run.info.run_id


def test_a_child_is_nested_in_its_parent_and_carries_its_tags(tmp_path: Path):
    uri = local_uri(tmp_path)
    parent = Tracker(uri, "e", "sweep", {}, artifacts=tmp_path.as_uri())
    child = Tracker(uri, "e", "cell", {}, artifacts=None, tags={"ttc.role": "cell"}, parent=parent)
    assert (child.close(), parent.close()) == (None, None)
    tags = MlflowClient(uri).get_run(child.mlflow_run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.mlflow_run_id
    assert tags["ttc.role"] == "cell"


def test_a_store_that_cannot_be_reached_is_said_once_and_costs_nothing_else(tmp_path: Path):
    (tmp_path / "file").write_text("not a directory")
    tracker = Tracker(f"sqlite:///{tmp_path}/file/mlflow.db", "e", "r", {"a": 1}, artifacts=None)
    tracker.metrics([("m", 1.0, 0)])
    failure = tracker.close()
    assert failure is not None
    assert failure.startswith("tracking at sqlite:///")
    assert "\n" not in failure


def test_flatten_keeps_empty_mappings_as_values():
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": [1]}) == {"a.b.c": 1, "d": {}, "e": [1]}
