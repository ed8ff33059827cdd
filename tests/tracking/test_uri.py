"""The address of a tracking store is checked before a run, and kept without its password."""

from __future__ import annotations

import json

import pytest

from orchestrator.errors import BadInput
from orchestrator.tracking.mlflow_store import Away, MlflowStore
from orchestrator.tracking.spool import Spool
from orchestrator.tracking.tracker import Tracker, replay
from orchestrator.tracking.uri import check_uri, resolved


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("foo://bar", "allowed: http"),
        ("postgresql+nodriver://u:s3cretpw@h/x", "nodriver"),
        ("mssql+pyodbc://h/x", "needed: the Python package pyodbc"),
    ],
)
def test_a_store_that_cannot_be_is_refused_without_its_password(uri, said):
    with pytest.raises(BadInput, match=said) as raised:
        check_uri(uri)
    assert "s3cretpw" not in str(raised.value)


@pytest.mark.parametrize("uri", [None, "runs", "http://h:5000", "sqlite:////dev/null/mlflow.db", "file:///x"])
def test_the_others_are_accepted(uri):
    check_uri(uri)


def test_an_address_of_the_environment_is_read_anew_and_a_masked_one_is_asked_for(monkeypatch):
    monkeypatch.setenv("STORE", "http://h")
    assert resolved("${oc.env:STORE}/x") == "http://h/x"
    monkeypatch.delenv("STORE")
    for uri in ("${oc.env:STORE}", "http://***@h"):
        with pytest.raises(BadInput, match=r"tracking\.uri"):
            resolved(uri)


def _raise(error: Exception) -> None:
    raise error


def test_a_replay_without_the_password_says_how_to_give_it(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.tracker.CLOSE_SECONDS", 0.0)
    said = "Max retries exceeded with url: http://user:s3cretpw@127.0.0.1:9/api"
    monkeypatch.setattr(MlflowStore, "write", lambda self, entries: _raise(Away(said)))
    tracker = Tracker(tmp_path, "r", "e", {"a": 1}, uri="http://user:s3cretpw@127.0.0.1:9")
    assert "s3cretpw" not in str(tracker.close())
    lines = (tmp_path / "r" / "tracking.jsonl").read_text()
    assert "s3cretpw" not in lines
    assert json.loads(lines.splitlines()[0])[5] == "http://***@127.0.0.1:9"
    (left,) = replay(tmp_path)
    assert left.left == left.waiting == Spool(tmp_path / "r").waiting()
    assert left.away.endswith("ttc replay --uri ADDRESS")
