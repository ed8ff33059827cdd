"""Real vLLM on tiny random models; the replicas are shared, since each takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.support.calls import info_once_up
from tests.support.in_one_process import OneAfterTheOther
from tests.support.shared_engines import SharedEngines


@pytest.fixture
def generator_path(engines: SharedEngines) -> Path:
    return engines.generator_path


@pytest.fixture
def generator(engines: SharedEngines) -> Any:
    return engines["generator"]


@pytest.fixture
def other(engines: SharedEngines) -> Any:
    """Takes its delimiter as text, and runs few requests at once."""
    info_once_up(engines["other"])  # an earlier test may have killed it
    return engines["other"]


@pytest.fixture
def verifier(engines: SharedEngines) -> Any:
    """With an empty memo; what the engine's cache holds is not known."""
    ray.get(engines["verifier"].remember.remote(1 << 20))
    return engines["verifier"]


@pytest.fixture
def in_chunks(engines: SharedEngines) -> Any:
    """A verifier that reads a path in chunks, as vLLM does by itself on GPUs; with an empty memo."""
    ray.get(engines["in_chunks"].remember.remote(1 << 20))
    return engines["in_chunks"]


@pytest.fixture
def asynchronous(engines: SharedEngines) -> Any:
    """A generator whose engine schedules a step while the one before runs, as vLLM does on GPUs."""
    return engines["asynchronous"]


@pytest.fixture
def by_block(engines: SharedEngines) -> Any:
    """A generator as vLLM comes: what it reuses are whole blocks."""
    return engines["by_block"]


@pytest.fixture
def tight(engines: SharedEngines) -> Any:
    """A generator with too few blocks for what it is given at once."""
    return engines["tight"]


@pytest.fixture
def cramped(engines: SharedEngines) -> Any:
    """A generator that must preempt, and reuses nothing."""
    return engines["cramped"]


@pytest.fixture(scope="session")
def one_by_one(shared_ray: None) -> Iterator[Any]:
    """A process that starts a replica of any model, asks it, and ends it."""
    actor = OneAfterTheOther.remote()  # type: ignore[attr-defined]
    yield actor
    ray.kill(actor)


@pytest.fixture
def paced_generator(engines: SharedEngines) -> Any:
    return engines["paced_generator"]


@pytest.fixture
def paced_verifier(engines: SharedEngines) -> Any:
    return engines["paced_verifier"]
