"""One Ray and one set of engines for all tests of a session: each engine takes 14 s of a core to start.

An engine is started when the first test asks for it, and all that the session's tests will ask for are then
started beside it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayTaskError

from actors.deployment import Deployment, connect, disconnect
from actors.handle import RayReplicaHandle
from actors.pool import Pool
from actors.replica import Replica
from actors.spec import PoolSpec
from actors.verifier import VerifierActor
from orchestrator.benchmarks.paced import paced
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.schema import ClusterConfig
from orchestrator.runs.session import Pools, Session, SessionObserver, pool_specs
from tests.support import tiny_models
from tests.support.calls import info_once_up
from tests.support.echo import Echo
from tests.support.hub import MODEL, Hub, hub
from tests.support.leftovers import Footprint, socket_files
from tests.support.paths import LAB_CONFIG
from tests.support.replicas import AsynchronousGenerator, ForgetfulVerifier, FragileGenerator

CPUS = 4
"""Of the shared Ray. The shared engines take none of them."""

BLOCK = 32
BLOCK_BYTES = 4 * 2 * 64 * 4 * BLOCK  # layers, keys and values, width, float32
TIGHT = 24
"""Blocks of the engine that is short of them; its longest request needs eight."""

CHUNK = 40
"""Tokens of a step at most, of the engine that reads in chunks; no multiple of a block."""

CACHE_BYTES = 128 << 20
"""The memory for keys and values of each engine: all of them are up at once, and have touched it."""

PARAMETERS = 24e9
"""Of the models that the paced engines act."""

LAB = (
    "generator.replicas=1",
    r'generator.end_of_thinking="\n"',
    "generator.engine.max_model_len=384",
    "verifier.engine.max_model_len=384",
    f"generator.engine.kv_cache_memory_bytes={CACHE_BYTES}",
    f"verifier.engine.kv_cache_memory_bytes={CACHE_BYTES}",
)
"""Overrides of the lab's configuration with which the shared lab engines can serve a run."""


START_SECONDS = 300


@contextmanager
def one_ray() -> Iterator[None]:
    """A Ray of this process. At its end it must leave no process, no shared memory and no socket."""
    footprint = Footprint()
    with _environment(footprint.environment):
        connect(None, [PoolSpec("shared", Echo, "", num_cpus=CPUS)])  # type: ignore[type-var]
    try:
        yield
    finally:
        disconnect()
        left, names = footprint.left(time.monotonic() + 30), socket_files(footprint.directory)
        footprint.remove()
        assert not left, left
        assert not names, names


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


class SharedEngines:
    """Replicas by name (``ENGINES``), each started once. ``close`` ends them, and sees that their processes
    end."""

    def __init__(self, directory: Path) -> None:
        self.generator_path = tiny_models.save_generator(directory / "generator")
        self.verifier_path = tiny_models.save_reward_model(
            directory / "verifier", tiny_models.make_reward_model()
        )
        self.lab = pool_specs(prepare(load(LAB_CONFIG, LAB)))
        self.hub: Hub | None = None
        """From which two replicas load their model; up while they are."""
        self._hub_files = directory / "hub"
        self._actors: dict[str, Any] = {}
        self._stack = ExitStack()

    def __getitem__(self, name: str) -> Any:
        """The replica; perhaps not up yet."""
        if name not in self._actors:
            self._actors[name] = ENGINES[name](self)
        return self._actors[name]

    def start(self, replica: type[Replica], name: str, model: Path | str, **options: Any) -> Any:
        return ray.remote(replica).options(num_cpus=0).remote(name, str(model), **_small(options))

    def start_from_hub(self, name: str, **options: Any) -> Any:
        """A generator that restarts when it dies, and loads its model from a hub."""
        if self.hub is None:
            self.hub = self._stack.enter_context(hub(self.generator_path))
        environment = {
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HOME": str(self._hub_files),
            "HF_HUB_OFFLINE": "0",
        }
        make = ray.remote(FragileGenerator).options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, runtime_env={"env_vars": environment}
        )
        return make.remote(name, MODEL, **_small(options))

    @asynccontextmanager
    async def session(
        self, pools: Pools, cluster: ClusterConfig, observer: SessionObserver
    ) -> AsyncIterator[Session]:
        """In place of ``orchestrator.runs.session.session``: the same, over the lab's engines, which are told
        to forget before and stay up afterwards."""
        assert pools.generator == self.lab.generator
        assert pools.verifier in (self.lab.verifier, None)
        assert pools.reviser in (pools.generator, None)

        def attach(spec: PoolSpec, name: str) -> SharedReplica:
            return SharedReplica(self[f"lab_{spec.name}"])

        deployment = Deployment(pools.generator, pools.verifier)
        deployment.generator = deployment.reviser = Pool(pools.generator, attach)
        if pools.verifier is not None:
            deployment.verifier = Pool(pools.verifier, attach)
        observer.starting([pool.name for pool in pools.started])
        try:
            await deployment.start(START_SECONDS, observer.ready, observer.notice)
            await deployment.forget()
            yield Session(deployment, 0.0)
        finally:
            await deployment.close()

    def close(self) -> None:
        with self._stack:
            actors = list(self._actors.values())
            pids = [info_once_up(actor).pid for actor in actors]
            family = [process for pid in pids for process in (psutil.Process(pid), *_descendants(pid))]
            ray.get([actor.shutdown.remote() for actor in actors for _ in range(2)])
            for actor in actors:
                with pytest.raises(RayTaskError, match="shut down"):
                    ray.get(actor.ping.remote())
                ray.kill(actor)
            _, alive = psutil.wait_procs(family, timeout=30)
            assert not alive


def _descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


class SharedReplica(RayReplicaHandle):
    """The way to a replica that outlives the pool."""

    def __init__(self, actor: Any) -> None:
        self._actor, self.id = actor, actor._actor_id.hex()

    async def call(self, method: str, *args: Any) -> Any:
        return None if method == "shutdown" else await super().call(method, *args)

    def restart(self) -> None:
        raise AssertionError("a test must not end an engine that others use")

    def kill(self) -> None: ...


def paced_engine(pool: str) -> dict[str, Any]:
    """The engine's options of the pool in a benchmark's configuration."""
    engine = getattr(load(LAB_CONFIG, paced(PARAMETERS, PARAMETERS)), pool).engine
    return {name: engine[name] for name in ("worker_cls", "additional_config")}


def _small(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"engine": {"kv_cache_memory_bytes": CACHE_BYTES} | options.get("engine", {})}


def _by_step(self: SharedEngines, name: str, engine: dict[str, Any]) -> Any:
    return self.start(FragileGenerator, name, self.generator_path, step_delimiter="\n", engine=engine)


def _of_spec(self: SharedEngines, spec: PoolSpec | None) -> Any:
    assert spec is not None
    return self.start(spec.replica, f"{spec.name}-0", spec.model, **spec.options)


ENGINES: dict[str, Callable[[SharedEngines], Any]] = {
    "generator": lambda self: self.start_from_hub("generator", step_delimiter="\n", end_of_thinking=";"),
    # Takes its delimiter as text, and runs few requests at once.
    "other": lambda self: self.start_from_hub(
        "other", step_delimiter=";\n", end_of_thinking="12", engine={"max_num_seqs": 6}
    ),
    "verifier": lambda self: self.start(ForgetfulVerifier, "verifier", self.verifier_path),
    "in_chunks": lambda self: self.start(
        ForgetfulVerifier,
        "in_chunks",
        self.verifier_path,
        engine={"enable_chunked_prefill": True, "max_num_batched_tokens": CHUNK, "max_num_seqs": 8},
    ),
    "asynchronous": lambda self: self.start(
        AsynchronousGenerator, "asynchronous", self.generator_path, step_delimiter="\n", end_of_thinking=";"
    ),
    "by_block": lambda self: _by_step(self, "by_block", {"kv_transfer_config": None}),
    "tight": lambda self: _by_step(
        self, "tight", {"kv_cache_memory_bytes": TIGHT * BLOCK_BYTES, "max_num_seqs": 16}
    ),
    "cramped": lambda self: _by_step(
        self,
        "cramped",
        {"num_gpu_blocks_override": 12, "enable_prefix_caching": False, "kv_transfer_config": None},
    ),
    "paced_generator": lambda self: _by_step(self, "paced", paced_engine("generator")),
    "paced_verifier": lambda self: self.start(
        VerifierActor, "paced", self.verifier_path, engine=paced_engine("verifier")
    ),
    "lab_generator": lambda self: _of_spec(self, self.lab.generator),
    "lab_verifier": lambda self: _of_spec(self, self.lab.verifier),
}
"""How each is started. A fixture has the same name."""
