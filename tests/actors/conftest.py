"""Real Ray and real vLLM, on tiny random models; the actors are shared, since each takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.generator import GeneratorActor
from actors.verifier import ScoreMemo, VerifierActor
from tests.actors import tiny_models


class FragileGenerator(GeneratorActor):
    """Its engine can be broken from outside."""

    async def sabotage(self) -> None:
        """The next engine step raises."""

        def broken_step() -> Any:
            raise RuntimeError("sabotaged")

        self._engine._built.step = broken_step  # type: ignore[method-assign]


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


@pytest.fixture(scope="session")
def cluster(generator_path: Path, verifier_path: Path) -> Iterator[dict[str, Any]]:
    """Actors by name, started together: ``generator``; ``other``, which takes its delimiter as text, runs
    few requests at once, and restarts when it dies; ``verifier``."""
    os.environ["OMP_NUM_THREADS"] = "1"  # Ray would set it, but not if its environment has another value
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    path = str(generator_path)
    actors = {
        "generator": ray.remote(GeneratorActor).remote("generator", path, step_delimiter="\n"),
        "other": ray.remote(FragileGenerator)
        .options(max_restarts=-1, max_task_retries=0)
        .remote("other", path, step_delimiter=";\n", engine={"max_num_seqs": 5}),
        "verifier": ray.remote(ForgetfulVerifier).remote("verifier", str(verifier_path)),
    }
    yield actors
    ray.shutdown()


@pytest.fixture
def generator(cluster: dict[str, Any]) -> Any:
    return cluster["generator"]


@pytest.fixture
def other(cluster: dict[str, Any]) -> Any:
    return cluster["other"]


@pytest.fixture
def verifier(cluster: dict[str, Any]) -> Any:
    """With an empty memo; what the engine's cache holds is not known."""
    ray.get(cluster["verifier"].remember.remote(1 << 20))
    return cluster["verifier"]
