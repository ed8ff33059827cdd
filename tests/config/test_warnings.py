"""A run is warned where SQLite would be written by several machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.warnings import warnings_of
from tests.support.paths import LAB_CONFIG


def warned(tmp_path: Path, *overrides: str) -> list[str]:
    own = ["problems.limit=4", f"runs={tmp_path}/shared/runs", *overrides]
    return warnings_of(prepare(load(LAB_CONFIG, own)))


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A directory that is on a network file system, as the kernel tells."""
    mounts = tmp_path / "mountinfo"
    root = "22 1 259:1 / / rw - ext4 /dev/root rw\n"
    mounts.write_text(f"{root}50 22 0:40 / {tmp_path}/shared rw - nfs4 server:/runs rw\n")
    monkeypatch.setattr("orchestrator.durability.file_systems.MOUNTS", mounts)
    return tmp_path / "shared"


def test_a_store_of_sqlite_on_a_network_file_system_is_warned_of(tmp_path, shared):
    (line,) = warned(tmp_path)
    assert line.startswith(f"tracking.uri is null: {shared}/runs/mlflow.db would be SQLite on nfs4")
    assert "needed: an MLflow server (cluster/mlflow-compose.yaml)" in line
    (line,) = warned(tmp_path, f"tracking.uri=sqlite:///{shared}/m.db")
    assert f"{shared}/m.db would be SQLite on nfs4" in line


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "sqlite:////elsewhere/m.db"])
def test_a_server_and_a_disk_of_this_machine_are_not(tmp_path, shared, uri):
    assert warned(tmp_path, f"tracking.uri={uri}") == []
