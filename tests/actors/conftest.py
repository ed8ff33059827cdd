"""Real Ray and real vLLM, on tiny random models; the actors are shared, since each takes seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayTaskError

from actors.engine import engine_options
from actors.generator import GeneratorActor
from actors.verifier import ScoreMemo, VerifierActor
from tests.support import tiny_models
from tests.support.calls import info_once_up


class FragileGenerator(GeneratorActor):
    """Its engine can be broken from outside."""

    async def sabotage(self) -> None:
        """The next engine step raises."""

        def broken_step() -> Any:
            raise RuntimeError("sabotaged")

        self._engine._built.step = broken_step  # type: ignore[method-assign]

    async def engine_options(self, options: dict[str, Any]) -> None:
        """Raises if an engine would not take ``options``."""
        engine_options(self.model, dtype="float32", seed=0, options=options)


class ForgetfulVerifier(VerifierActor):
    """Its memo can be replaced."""

    async def remember(self, max_bytes: int) -> None:
        """Go on with an empty memo of ``max_bytes``."""
        self._memo = ScoreMemo(max_bytes)


@pytest.fixture(scope="session")
def generator_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_generator(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="session")
def verifier_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verifier")
    return tiny_models.save_reward_model(path, tiny_models.make_reward_model())


@pytest.fixture(scope="package")
def cluster(generator_path: Path, verifier_path: Path) -> Iterator[dict[str, Any]]:
    """Actors by name, started together: ``generator``; ``other``, which takes its delimiter as text, runs
    few requests at once, and restarts when it dies; ``verifier``. At the end they must leave no trace."""
    os.environ["OMP_NUM_THREADS"] = "1"  # three engines share a small machine
    ray.init("local", num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    path = str(generator_path)
    actors: dict[str, Any] = {
        "generator": ray.remote(FragileGenerator).remote(
            "generator", path, step_delimiter="\n", end_of_thinking=";"
        ),
        "other": ray.remote(FragileGenerator)
        .options(max_restarts=-1, max_task_retries=0)
        .remote("other", path, step_delimiter=";\n", end_of_thinking="12", engine={"max_num_seqs": 6}),
        "verifier": ray.remote(ForgetfulVerifier).remote("verifier", str(verifier_path)),
    }
    yield actors
    pids = [ray.get(actors[name].info.remote()).pid for name in ("generator", "verifier")]
    family = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children())]
    shared = set(os.listdir("/dev/shm"))
    for name in ("generator", "verifier"):
        ray.get([actors[name].shutdown.remote(), actors[name].shutdown.remote()])
        with pytest.raises(RayTaskError, match="shut down"):
            ray.get(actors[name].ping.remote())
        ray.kill(actors[name])
    _, alive = psutil.wait_procs(family, timeout=30)
    left = set(os.listdir("/dev/shm")) - shared
    ray.shutdown()
    assert not alive
    assert not left


@pytest.fixture
def generator(cluster: dict[str, Any]) -> Any:
    return cluster["generator"]


@pytest.fixture
def other(cluster: dict[str, Any]) -> Any:
    info_once_up(cluster["other"])  # an earlier test may have killed it
    return cluster["other"]


@pytest.fixture
def verifier(cluster: dict[str, Any]) -> Any:
    """With an empty memo; what the engine's cache holds is not known."""
    ray.get(cluster["verifier"].remember.remote(1 << 20))
    return cluster["verifier"]
