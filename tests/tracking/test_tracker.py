"""The tracker writes everything in order, in the background, and never fails a run."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.commands.cli import run_command
from orchestrator.tracking import sender
from orchestrator.tracking import tracker as tracking
from orchestrator.tracking.mlflow_store import ID, TOKEN, Away, MlflowStore
from orchestrator.tracking.spool import FILE, Begin, Dataset, Metric, Param, Spool, Tag
from orchestrator.tracking.tracker import (
    Tracker,
    flatten,
    local_uri,
    replay,
    tags_about,
    temporary_run_id,
)
from orchestrator.tracking.view import SEARCHES, TAG


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def only_run(runs: Path, experiment: str = "e"):
    client = MlflowClient(local_uri(runs))
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def test_everything_logged_is_in_the_store_when_it_is_closed(tmp_path: Path):
    tracker = Tracker(tmp_path, "run-1", "e", {"a": {"b": 1, "c": {}}, "d": None})
    for step in range(2500):
        tracker.metrics([("curve", step / 2, step)])
    tracker.metrics([("many", float(step), step) for step in range(2500)])
    (tmp_path / "file.txt").write_text("kept")
    tracker.artifact(tmp_path / "file.txt")
    assert tracker.close("KILLED") is None

    client, run = MlflowClient(local_uri(tmp_path)), only_run(tmp_path)
    assert run.info.run_id == tracker.mlflow_run_id == (tracker.directory / ID).read_text()
    assert (run.info.run_name, run.info.status) == ("run-1", "KILLED")
    assert run.data.params == {"a.b": "1", "a.c": "{}", "d": "None"}
    for name in ("curve", "many"):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in history) == list(range(2500))
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["file.txt"]


def test_a_run_goes_on_with_the_parameters_it_was_begun_with(tmp_path: Path):
    for params, status in (({"a": 1}, "KILLED"), ({"a": 2, "b": 3}, "FINISHED")):
        assert Tracker(tmp_path, "r", "e", params).close(status) is None
    run = only_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1", "b": "3"}

    (tmp_path / "r" / ID).write_text("of another store")
    other = Tracker(tmp_path, "r", "e", {})
    assert other.close() is None
    assert other.mlflow_run_id == (tmp_path / "r" / ID).read_text() != run.info.run_id


def test_a_run_is_named_and_described_and_its_problems_and_tables_are_known(tmp_path: Path):
    tracker = Tracker(tmp_path, "r", "e", {})
    tracker.describe("first", "It runs.")
    tracker.describe("beam · 80 %", "| a | b |")
    for _ in range(2):  # as a run that goes on
        tracker.dataset(Dataset("lab test", "1234", '{"source": "lab"}', 64))
    (tmp_path / "r" / "problems.json").write_text('{"columns": ["a"], "data": [[1]]}')
    tracker.table(tmp_path / "r" / "problems.json")
    assert tracker.close() is None
    run = only_run(tmp_path)
    assert run.info.run_name == "beam · 80 %"
    assert run.data.tags["mlflow.note.content"] == "| a | b |"
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("lab test", "1234")
    client = MlflowClient(local_uri(tmp_path))
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "problems.json", "type": "table"}]
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["problems.json"]


def test_what_is_made_of_a_sweep_goes_below_the_newest_one_and_is_no_search(tmp_path: Path):
    about = {"ttc.about": "e"}
    assert tags_about(tmp_path, "e", None) == about, "there is no store"
    for name in ("old", "new"):
        sweep = Tracker(tmp_path, name, "e", {}, tags={"ttc.role": "sweep"})
        assert sweep.close() is None
        time.sleep(0.002)  # MLflow's times are milliseconds
    tags = tags_about(tmp_path, "e", None)
    assert tags == {**about, "mlflow.parentRunId": sweep.mlflow_run_id}
    assert tags_about(tmp_path, "another", None) == {"ttc.about": "another"}
    fit = Tracker(tmp_path, "fit", "e", {}, tags=tags)
    assert fit.close() is None
    client = MlflowClient(local_uri(tmp_path))
    run = client.get_run(fit.mlflow_run_id)
    assert run.data.tags["mlflow.parentRunId"] == sweep.mlflow_run_id
    shown = client.search_runs([run.info.experiment_id], SEARCHES)
    assert [each.info.run_name for each in shown] == ["new", "old"]


def test_every_experiment_has_the_view_and_one_that_somebody_has_changed_stays(tmp_path: Path):
    first = Tracker(tmp_path, "a", "e", {})
    assert first.close() is None
    client = MlflowClient(local_uri(tmp_path))
    where = client.get_experiment_by_name("e").experiment_id
    made = json.loads(client.get_experiment(where).tags[TAG])
    assert set(made) == {"name", "createdAt", "updatedAt", "state"}, "as MLflow writes it"
    assert json.loads(made["state"])["searchFilter"] == SEARCHES
    assert first.page == local_uri(tmp_path), "there is no server"

    for mine, kept in (("mine", "mine"), (None, made["name"])):
        if mine is None:  # as in an experiment of an earlier version
            client._tracking_client.store.delete_experiment_tag(where, TAG)
        else:
            client.set_experiment_tag(where, TAG, json.dumps({**made, "name": mine}))
        assert Tracker(tmp_path, f"b-{mine}", "e", {}).close() is None
        assert json.loads(client.get_experiment(where).tags[TAG])["name"] == kept


def test_a_store_that_takes_no_view_has_the_run_all_the_same(tmp_path: Path, monkeypatch):
    def refused(*given: object) -> None:
        raise MlflowException("tag not permitted")

    monkeypatch.setattr("orchestrator.tracking.view.ensure", refused)
    tracker = Tracker(tmp_path, "a", "e", {})
    assert tracker.close() is None
    assert tracker.mlflow_run_id is not None


def test_a_deleted_experiment_is_told_as_one_and_has_the_run_once_it_is_restored(tmp_path: Path, monkeypatch):
    assert Tracker(tmp_path, "r", "e", {}).close() is None
    client = MlflowClient(local_uri(tmp_path))
    where = client.get_experiment_by_name("e").experiment_id
    client.delete_experiment(where)
    tracker = Tracker(tmp_path, "s", "e", {})
    eventually(lambda: tracker._sender._failures)
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0)
    left = tracker.close()
    assert left is not None
    assert "the experiment e was deleted there; to restore it: mlflow experiments restore " in left
    client.restore_experiment(where)
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    assert [each.left for each in replay(tmp_path)] == [0]
    assert len(client.search_runs([where])) == 2


def test_a_child_is_nested_in_its_parent_which_waits_for_both(tmp_path: Path):
    parent = Tracker(tmp_path, "sweep", "e", {})
    child = Tracker(tmp_path, "sweep/cells/a", "e", {}, tags={"ttc.role": "cell"}, parent=parent)
    assert (child.close(), parent.close()) == (None, None)
    run = MlflowClient(local_uri(tmp_path)).get_run(child.mlflow_run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.mlflow_run_id
    assert run.data.tags["ttc.role"] == "cell"
    assert run.info.status == "FINISHED"


@pytest.fixture
def away(monkeypatch) -> threading.Event:
    """While it is set, the store is away."""
    event, write = threading.Event(), MlflowStore.write

    def fails(self, entries):
        if event.is_set():
            raise Away("ConnectionError: nobody listens")
        write(self, entries)

    monkeypatch.setattr(MlflowStore, "write", fails)
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.2)
    return event


def test_a_store_that_stays_away_is_told_of_once_and_that_it_is_back(tmp_path: Path, away, monkeypatch):
    monkeypatch.setattr(sender, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(sender, "LONGEST_SECONDS", 0.02)
    away.set()
    tracker = Tracker(tmp_path, "r", "e", {})
    eventually(lambda: tracker._sender._failures >= sender.TOLD_AFTER)
    told: list[str] = []
    tracker.tell(told.append)  # it is away already
    store = f"tracking at {local_uri(tmp_path)}"
    lost = f"{store}: ConnectionError: nobody listens; what is logged waits, and the run goes on"
    assert told == [lost]
    failed = tracker._sender._failures
    eventually(lambda: tracker._sender._failures > failed + 3)
    away.clear()
    eventually(lambda: len(told) == 2)
    assert told == [lost, f"{store}: what is logged is written again"]
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    assert tracker.close() is None


def test_what_waits_for_a_store_that_is_away_is_said_and_replayed_once(tmp_path: Path, away, monkeypatch):
    away.set()
    parent = Tracker(tmp_path, "sweep", "e", {"cells": 1})
    child = Tracker(tmp_path, "sweep/cells/a", "e", {}, parent=parent)
    child.metrics([("m", step / 2, step) for step in range(1500)])
    assert child.close("FAILED") is None
    said = parent.close()
    assert said is not None
    assert "\n" not in said
    assert "nobody listens; 1505 entries wait" in said  # two begin, one parameter, two end
    assert f"ttc replay sweep --runs {tmp_path}" in said

    gone = list(replay(tmp_path, "sweep"))
    assert [(each.waiting, each.left) for each in gone] == [(3, 3), (1502, 1502)]
    away.clear()
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    first = list(replay(tmp_path))
    assert [(each.waiting, each.left, each.refused) for each in first] == [(3, 0, ()), (1502, 0, ())]
    assert not list(replay(tmp_path)), "nothing is left"
    client = MlflowClient(local_uri(tmp_path))
    begun = Spool(parent.directory).beginning()
    assert begun is not None
    run = client.get_run((tmp_path / "sweep" / "cells" / "a" / ID).read_text())
    assert run.data.tags["mlflow.parentRunId"] == (tmp_path / "sweep" / ID).read_text()
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.start_time == begun.ms
    assert run.info.status == "FAILED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "m")] == list(range(1500))


def test_a_run_that_goes_on_first_writes_what_its_spool_still_holds(tmp_path: Path, away, monkeypatch):
    away.set()
    killed = Tracker(tmp_path, "r", "e", {"a": 1})
    killed.metrics([("m", 1.0, 1)])
    killed._sender.finished(0)  # as if the process were killed: no end
    away.clear()
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    again = Tracker(tmp_path, "r", "e", {"a": 2, "b": 2})
    again.metrics([("m", 2.0, 2)])
    assert again.close() is None
    run = only_run(tmp_path)
    assert run.data.params == {"a": "1", "b": "2"}
    history = MlflowClient(local_uri(tmp_path)).get_metric_history(run.info.run_id, "m")
    assert [point.value for point in history] == [1.0, 2.0]


def test_what_the_store_never_takes_is_said_and_costs_nothing_else(tmp_path: Path):
    tracker = Tracker(tmp_path, "r", "e", {"a": 1, "not: a name?!": 2})
    tracker.metrics([("m" if step != 77 else "no\nname", 1.0, step) for step in range(200)])
    tracker.artifact(tmp_path / "absent")
    said = tracker.close()
    assert said is not None
    assert "refused 3 of what was logged, first param not: a name?!" in said
    assert "\n" not in said
    run = only_run(tmp_path)
    assert (run.data.params, run.info.status) == ({"a": "1"}, "FINISHED")
    history = MlflowClient(local_uri(tmp_path)).get_metric_history(run.info.run_id, "m")
    assert len(history) == 199


def test_a_crash_after_the_call_and_before_its_mark_writes_nothing_twice(tmp_path: Path):
    tracker = Tracker(tmp_path, "r", "e", {"a": 1})
    tracker.metrics([("m", 0.5, step) for step in range(10)] + [("n", float("nan"), 0)])
    assert tracker.close() is None
    run = tracker.mlflow_run_id
    (tmp_path / "r" / "tracking.done").unlink()
    (tmp_path / "r" / ID).unlink()  # nor was the run remembered
    (done,) = replay(tmp_path)
    assert (done.left, done.refused) == (0, ())
    assert only_run(tmp_path).info.run_id == run == (tmp_path / "r" / ID).read_text()
    client = MlflowClient(local_uri(tmp_path))
    assert len(client.get_metric_history(run, "m")) == 10
    assert len(client.get_metric_history(run, "n")) == 1
    assert TOKEN in only_run(tmp_path).data.tags


def test_what_has_no_directory_of_its_own_leaves_none(tmp_path: Path, away, monkeypatch):
    away.set()
    tracker = Tracker(tmp_path, temporary_run_id("fit"), "e", {})
    (tracker.directory / "policy.yaml").write_text("kept")
    tracker.artifact(tracker.directory / "policy.yaml")
    assert "ttc replay .spool/fit-" in str(tracker.close())
    away.clear()
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    (done,) = replay(tmp_path)
    assert done.left == 0
    assert not tracker.directory.exists()
    client = MlflowClient(local_uri(tmp_path))
    assert [each.path for each in client.list_artifacts(only_run(tmp_path).info.run_id)] == ["policy.yaml"]


def test_another_process_that_writes_a_spool_is_left_to_it(tmp_path: Path):
    spool = Spool(tmp_path / "r")
    spool.append([Begin("e", "r", {}, "t", None, None, 0)])
    spool.hold()
    (each,) = replay(tmp_path)
    assert each.left == 1
    assert "another process" in each.away


def test_a_mark_that_a_machine_left_empty_as_it_went_down_is_none(tmp_path: Path):
    spool = Spool(tmp_path / "r")
    spool.append([Begin("e", "r", {}, "t", None, None, 0)])
    (tmp_path / "r" / "tracking.done").write_text("")
    assert (spool.done, spool.waiting()) == (0, 1)


def test_a_store_that_cannot_be_had_costs_a_run_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.2)
    (tmp_path / "file").write_text("not a directory")
    tracker = Tracker(tmp_path, "r", "e", {"a": 1}, uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    tracker.metrics([("m", 1.0, 0)])
    said = tracker.close()
    assert said is not None
    assert said.startswith("tracking at sqlite:///")
    assert "4 entries wait" in said
    assert "\n" not in said


def test_a_disk_that_takes_no_spool_costs_a_run_its_tracking_alone(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.2)
    (tmp_path / "r").write_text("not a directory")
    tracker = Tracker(tmp_path, "r", "e", {})
    tracker.metrics([("m", 1.0, 0)])
    assert "is not tracked" in str(tracker.close())


def test_a_moved_directory_of_runs_is_replayed_where_it_is(tmp_path: Path, away, monkeypatch):
    away.set()
    tracker = Tracker(tmp_path / "old", "r", "e", {})
    (tracker.directory / "file").write_text("kept")
    tracker.artifact(tracker.directory / "file")
    tracker.close()
    away.clear()
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    shutil.move(tmp_path / "old", tmp_path / "new")
    (done,) = replay(tmp_path / "new")
    assert (done.left, done.refused) == (0, ())
    assert only_run(tmp_path / "new").info.run_name == "r"


def test_a_torn_line_is_given_up_and_no_other(tmp_path: Path):
    first = Spool(tmp_path)
    first.append([Metric("m", 1.0, 1, 1)])
    first.close()
    with (tmp_path / FILE).open("a") as file:
        file.write('["Metric", "m"')
    assert len(first.read(10)) == 1, "a line that is being written is not read yet"
    again = Spool(tmp_path)
    again.append([Metric("m", 2.0, 2, 2)])
    kinds = [type(entry).__name__ for entry, _ in again.read(10)]
    assert kinds == ["Metric", "Unreadable", "Metric"]


def test_half_a_character_is_replaced_since_no_store_can_hold_it(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.append([Tag("generator", "models/\udcff é\u2028"), Param("n", "\ud800")])
    (tag, _), (param, _) = spool.read(10)
    assert (tag, param) == (Tag("generator", "models/? é\u2028"), Param("n", "?"))


def test_the_command_that_replays_says_what_it_wrote(tmp_path: Path, away, monkeypatch, capsys):
    away.set()
    Tracker(tmp_path, "r", "e", {"a": 1}).close()
    command = ["replay", "--runs", str(tmp_path)]
    assert run_command([*command, "r"]) == 1
    assert "3 wait: ConnectionError" in capsys.readouterr().err
    away.clear()
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 60)
    assert run_command(command) == 0
    assert "3 of 3 entries written" in capsys.readouterr().err
    assert run_command(command) == 0
    assert capsys.readouterr().err == "MLflow has everything: nothing waits\n"
    assert run_command([*command, "other"]) == 2


def test_flatten_keeps_empty_mappings_as_values():
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": [1]}) == {"a.b.c": 1, "d": {}, "e": [1]}
