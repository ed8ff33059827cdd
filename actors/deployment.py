"""Starts or joins Ray, and runs the pools of one run; leaves nothing behind at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors.messages import (
    PoolFailed,
    ReplicaInfo,
    Request,
    SampleRequest,
    SampleResult,
    ScoreRequest,
    ScoreResult,
)
from actors.pool import Pool
from actors.spec import PoolSpec

WORKER_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}


START_ATTEMPTS = 3
"""The attempts to start a local Ray before ``connect`` fails."""

_local_sessions: list[Path] = []
"""The session directory of the local Ray, while it runs."""

_joined = 0
"""The ``connect`` calls that found a running Ray in this process, less the ``disconnect`` calls for them."""


def connect(address: str | None, specs: Sequence[PoolSpec], *, log_to_driver: bool = False) -> None:
    """Starts Ray on this machine (``address`` None) or joins a cluster. Raises PoolFailed.

    A local Ray is given at least the CPUs that the pools ask for: replicas share cores rather than wait for
    each other for ever. A Ray that this process already runs is used as it is.
    """
    global _joined
    if address is None and ray.is_initialized():
        _joined += 1
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": log_to_driver,
        "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
    }
    if address is None:
        needed = sum(spec.replicas * spec.num_cpus for spec in specs)
        # "local", since without an address Ray would join a cluster that happens to run on this machine.
        options |= {
            "address": "local",
            "num_cpus": max(os.cpu_count() or 1, int(needed + 0.999)),
            "include_dashboard": False,
        }
        gpus = sum(spec.replicas * spec.num_gpus for spec in specs)
        if not gpus:
            options["num_gpus"] = 0
    else:
        options["address"] = address
    terminate = signal.getsignal(signal.SIGTERM)  # Ray replaces the handler by one that exits
    try:
        session = _init(options)
        if address is None:
            _local_sessions.append(session)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)
    except (
        ConnectionError,
        RuntimeError,
        ValueError,
        RayError,
    ) as error:  # AuthenticationError is a RayError
        problem = str(error).splitlines()[0]
        if address is not None:
            problem += " (is it up? With a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH)"
        raise PoolFailed(f"cluster.address={address}: {problem}") from error


def _init(options: dict[str, Any]) -> Path:
    """Calls ``ray.init``, again if Ray's own 30 s for its start pass. Returns the session's directory."""
    for left in reversed(range(START_ATTEMPTS)):
        try:
            started: Any = ray.init(**options)
            return Path(started.address_info["session_dir"])
        except Exception as error:  # Ray has no class for it
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if not left:
                raise RuntimeError(str(error)) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def disconnect() -> None:
    """Stops a local Ray and removes the sockets that it leaves behind; a cluster, and a Ray that ran before
    ``connect``, are left running."""
    global _joined
    if _joined:
        _joined -= 1
        return
    ray.shutdown()
    while _local_sessions:
        shutil.rmtree(_local_sessions.pop() / "sockets", ignore_errors=True)


class Deployment:
    """The pools of a run.

    Attributes:
        generator: the pool of generators.
        verifier: the pool of verifiers; None if nothing is scored.
        reviser: the pool of revisers; the generators' pool if they revise.
        judges: the pool of judges of answers; None if no model judges.
    """

    def __init__(
        self,
        generator: PoolSpec,
        verifier: PoolSpec | None = None,
        reviser: PoolSpec | None = None,
        judge: PoolSpec | None = None,
    ) -> None:
        self.generator: Pool[SampleResult] = Pool(generator)
        self.verifier: Pool[ScoreResult] | None = Pool(verifier) if verifier is not None else None
        self.reviser: Pool[SampleResult] = Pool(reviser) if reviser is not None else self.generator
        self.judges: Pool[Any] | None = Pool(judge) if judge is not None else None

    @property
    def pools(self) -> list[Pool]:
        """The pools, each once."""
        apart = self.reviser if self.reviser is not self.generator else None
        return [pool for pool in (self.generator, self.verifier, apart, self.judges) if pool is not None]

    async def start(
        self,
        within: float,
        on_ready: Callable[[ReplicaInfo], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        """Starts all pools at once. Raises PoolFailed, after it has closed those that were started.

        Args:
            within: seconds until every pool must be up.
            on_ready: is called with each replica that is up for the first time.
            on_notice: is called with one line when a replica is lost, awaited or back, until ``close``.
        """
        for pool in self.pools:
            pool.on_notice = on_notice or pool.on_notice
        starting = [asyncio.create_task(pool.start(within, on_ready=on_ready)) for pool in self.pools]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await self.close()
            raise

    def sample(self, request: SampleRequest) -> Awaitable[SampleResult]:
        """Returns the result of the generators; see ``Pool.run``."""
        return self.generator.run(request)

    def revise(self, request: SampleRequest) -> Awaitable[SampleResult]:
        """Returns the result of the revisers; see ``Pool.run``."""
        return self.reviser.run(request)

    def score(self, request: ScoreRequest) -> Awaitable[ScoreResult]:
        """Returns the result of the verifiers; see ``Pool.run``."""
        assert self.verifier is not None, "this deployment has no verifier"
        return self.verifier.run(request)

    def judge(self, request: Request) -> Awaitable[Any]:
        """Returns the result of the judges, which score or, at an endpoint, write; see ``Pool.run``."""
        assert self.judges is not None, "this deployment has no judge"
        return self.judges.run(request)

    async def forget(self) -> None:
        """Empties the caches of all engines."""
        await asyncio.gather(*(pool.forget() for pool in self.pools))

    async def close(self) -> None:
        """Closes all pools."""
        await asyncio.gather(*(pool.close() for pool in self.pools))
