"""A replica whose engine or process dies ends, whole and at once; Ray's restart then serves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.generator import GeneratorActor
from tests.actors.calls import answers, sample


def wait_for_restart(replica: Any) -> int:
    """The new process id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return ray.get(replica.info.remote(), timeout=60).pid
        except RayActorError:
            time.sleep(0.2)
    raise AssertionError("the replica did not come back")


@pytest.mark.parametrize("death", ["engine", "kill"])
def test_a_dead_replica_leaves_no_process_and_comes_back(other: Any, death: str) -> None:
    info = ray.get(other.info.remote())
    family = [psutil.Process(info.pid), *psutil.Process(info.pid).children(recursive=True)]
    request = sample((3, 4, 5), 11, 20, until="end")
    before = answers(other, [request])[0].tokens
    waiting = other.collect.remote()
    if death == "engine":
        ray.get(other.sabotage.remote())
        other.submit.remote([sample((5,))])
    else:
        os.kill(info.pid, signal.SIGKILL)
    with pytest.raises(RayActorError):
        ray.get(waiting, timeout=30)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert wait_for_restart(other) != info.pid
    assert answers(other, [request])[0].tokens == before


def test_what_cannot_start_says_why(generator_path: Path) -> None:
    with pytest.raises(ValueError, match=r"engine\.max_sequences"):
        GeneratorActor("g", str(generator_path), step_delimiter="\n", engine={"max_sequences": 3})
    with pytest.raises(ValueError, match="step_delimiter"):
        GeneratorActor("g", str(generator_path), step_delimiter="")


def test_shutdown_ends_the_actor_without_a_trace(cluster: dict[str, Any], generator_path: Path) -> None:
    replica = ray.remote(GeneratorActor).remote("brief", str(generator_path), step_delimiter="\n")
    pid = ray.get(replica.info.remote()).pid
    shared = set(os.listdir("/dev/shm"))
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    ray.get([replica.shutdown.remote(), replica.shutdown.remote()])
    with pytest.raises(RayTaskError):
        ray.get(replica.submit.remote([sample((1,))]))
    ray.kill(replica)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert set(os.listdir("/dev/shm")) <= shared
