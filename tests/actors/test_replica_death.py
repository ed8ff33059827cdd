"""A replica whose engine or process dies ends, whole and at once; Ray's restart then serves."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayActorError

from actors.generator import GeneratorActor
from tests.support.calls import answers, info_once_up, sample


@pytest.mark.parametrize("death", ["engine", "kill"])
def test_a_dead_replica_leaves_no_process_and_is_replaced(other: Any, death: str) -> None:
    request = sample((3, 4, 5), 11, 20, until="end")
    pid = info_once_up(other).pid
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    before = answers(other, [request])[0].tokens
    waiting = other.collect.remote()
    if death == "engine":
        ray.get(other.sabotage.remote())
        other.submit.remote([sample((5,))])
    else:
        os.kill(pid, signal.SIGKILL)
    if death == "engine":  # its last word says why
        notice, _ = ray.get(waiting, timeout=60)
        assert notice.line.startswith("the engine failed: RuntimeError: sabotaged (")
        assert notice.line.endswith(" in broken_step)")
        waiting = other.collect.remote()
    with pytest.raises(RayActorError):
        ray.get(waiting, timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    if death == "engine":  # the other death's restart is the same, and takes seconds
        assert info_once_up(other).pid != pid
        assert answers(other, [request])[0].tokens == before


def test_a_wrong_option_is_named(generator: Any) -> None:
    with pytest.raises(ValueError, match=r"engine\.max_sequences"):
        ray.get(generator.engine_options.remote({"max_sequences": 3}))
    with pytest.raises(ValueError, match="step_delimiter"):
        GeneratorActor("g", "nowhere", step_delimiter="")
