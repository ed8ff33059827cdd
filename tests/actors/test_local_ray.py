"""A Ray of one's own leaves nothing behind, and a cluster that is not there is told at once."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import MagicMock, call

import pytest
from ray._private import ray_constants

from actors import cluster, deployment, local_ray
from actors.local_ray import LOCK, PREFIX, LocalFiles, give_token, loopback
from actors.messages import PoolFailed
from tests.support.leftovers import Footprint
from tests.support.paths import ROOT

FAILING = """
import psutil
from ray._private import services
from actors import deployment
from actors.messages import PoolFailed

def absent(*_):
    print(sorted(child.name() for child in psutil.Process().children() if child.is_running()))
    raise Exception("The current node timed out during startup.")

services.get_node = absent
deployment.START_ATTEMPTS = 2
try:
    deployment.connect(None, [])
except PoolFailed as error:
    print(error)
print([child.name() for child in psutil.Process().children()])
"""
"""A process whose Ray has started all of its processes, and is not up in time."""


@pytest.fixture
def parent(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_its_files_are_its_users_alone_and_go_with_it(parent: Path):
    files = LocalFiles()
    assert files.directory.parent == parent
    assert files.directory.stat().st_mode & 0o077 == 0
    assert files.environment["TMPDIR"] == str(files.directory)
    (files.directory / "vllm_dist_1").touch()
    files.remove()
    assert not list(parent.iterdir())


def test_the_shared_memory_of_its_killed_engines_goes_with_it_and_that_of_others_stays(
    parent: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    shared = tmp_path_factory.mktemp("shm")
    monkeypatch.setattr(local_ray, "SHARED_MEMORY", shared)
    for name in ("vllm_dist_1-tp:0-[0-1]-cpushm_0", "vllm_dist_3-tp:0-[0-1]-cpushm_1"):
        (shared / name).touch()
    others = {"vllm_dist_2-tp:0-[0-1]-cpushm_0", "vllm_dist_10-tp:0-[0-1]-cpushm_0", "psm_1"}
    for name in others:
        (shared / name).touch()
    files, left = LocalFiles(), parent / f"{PREFIX}left"
    left.mkdir()
    for place, name in ((files.directory, "vllm_dist_1"), (left, LOCK), (left, "vllm_dist_3")):
        (place / name).touch()
    files.remove()
    assert {path.name for path in shared.iterdir()} == {*others, "vllm_dist_3-tp:0-[0-1]-cpushm_1"}
    LocalFiles().remove()
    assert {path.name for path in shared.iterdir()} == others


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(parent: Path):
    for name in ("left", "living", "no_lock"):
        (parent / f"{PREFIX}{name}" / "session").mkdir(parents=True)
    (parent / f"{PREFIX}left" / LOCK).touch()
    for name in ("empty", "just_made"):
        (parent / f"{PREFIX}{name}").mkdir()
    os.utime(parent / f"{PREFIX}empty", (0, 0))
    held = os.open(parent / f"{PREFIX}living" / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    files = LocalFiles()
    LocalFiles().remove()
    assert {path.name for path in parent.iterdir()} == {
        f"{PREFIX}living",
        f"{PREFIX}no_lock",
        f"{PREFIX}just_made",
        files.directory.name,
    }
    os.close(held)
    files.remove()


@pytest.mark.cluster
def test_a_start_that_fails_leaves_no_process_and_no_file():
    footprint = Footprint()
    try:
        command = [sys.executable, "-c", FAILING]
        around = {**os.environ, **footprint.environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=300)
        first, second, said, left = done.stdout.splitlines()
        assert "'gcs_server'" in first
        assert "'raylet'" in first
        assert second == first, "those of the first attempt have ended"
        assert said.startswith("Ray does not start on this machine: The current node timed out")
        assert left == "[]"
        assert not list(footprint.directory.iterdir())
        assert not footprint.left(time.monotonic() + 15)
    finally:
        footprint.remove()


def test_it_listens_on_loopback_alone_and_a_cluster_does_not():
    with loopback():
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTER


def test_its_token_is_in_no_file_and_a_users_own_is_kept(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    remembered = MagicMock()  # a Ray of this process may be at work with the real one
    monkeypatch.setattr("actors.local_ray.AuthenticationTokenLoader", remembered)
    give_token()
    given = os.environ["RAY_AUTH_TOKEN"]
    assert len(given) == 64
    give_token()
    assert os.environ["RAY_AUTH_TOKEN"] == given
    (forgotten,) = remembered.instance.return_value.reset_cache.call_args_list
    assert forgotten == call(), "the token of a Ray that ran in this process before"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/some/file")
    give_token()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_cluster_where_nobody_listens_is_one_line_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(PoolFailed, match=rf"cluster.address={address}: nobody answers there") as failed:
            deployment.connect(address, [])
    assert time.monotonic() - started < 5
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"", None])
def test_a_port_where_something_else_listens_is_one_line(monkeypatch, answer):
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.2)

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            if answer is None:  # it never says anything
                asked.wait(5)
            else:
                connection.sendall(answer)

    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PoolFailed, match="what answers there is no head of a Ray cluster") as failed:
            deployment.connect(address, [])
        asked.set()
    assert "\n" not in str(failed.value)


def test_what_rays_own_code_logs_is_in_the_log_and_not_on_the_terminal(monkeypatch, caplog, capfd):
    ray = logging.getLogger("ray")
    monkeypatch.setattr(ray, "handlers", ray.handlers)
    monkeypatch.setattr(deployment, "check_cluster", MagicMock(side_effect=ConnectionError("nobody")))
    with pytest.raises(PoolFailed):
        deployment.connect("h:1", [])
    with caplog.at_level("INFO", "actors.deployment"):
        logging.getLogger("ray._private.services").error("Failed to start\nthe %s", "dashboard")
        logging.getLogger("ray._private.services").warning("less than that is dropped")
    (record,) = caplog.records
    assert record.getMessage() == "ray._private.services: Failed to start\nthe dashboard"
    assert capfd.readouterr() == ("", "")


def test_what_ray_and_replicas_print_is_in_the_log(caplog, capsys):
    with caplog.at_level("INFO", "actors.deployment"):
        deployment._log_printed({"pid": 7, "actor_name": "Generator", "lines": ["a", "b"]}, False)
        deployment._log_printed({"pid": "raylet", "is_err": False, "lines": ["A worker died"]}, False)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Generator 7: a", "Generator 7: b", "ray raylet: A worker died"]
    assert capsys.readouterr() == ("", "")
