"""Starts or joins Ray, and runs the pools of one run; leaves nothing behind at the end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray._private import auto_init_hook
from ray._private import worker as rays
from ray.exceptions import RayError

from actors.cluster import check_cluster, check_room, place_of
from actors.devices import number_devices
from actors.head import Head, outlive_the_head
from actors.leaving import replace_leaving
from actors.local_ray import LocalFiles, give_token, loopback
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
from actors.printed import PRINTED
from actors.spec import PoolSpec
from actors.waiting import tell_waiting

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

WORKER_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}

LONGEST_REASON = 400
"""Characters of what Ray says that are shown."""

START_ATTEMPTS = 3
"""The attempts to start a local Ray before ``connect`` fails."""

_local: list[LocalFiles] = []
"""The files of the local Ray, while it runs."""

_joined = 0
"""The ``connect`` calls that found a running Ray in this process, less the ``disconnect`` calls for them."""


def connect(address: str | None, specs: Sequence[PoolSpec]) -> Head | None:
    """Starts Ray on this machine (``address`` None) or joins a cluster, whose head it returns. Raises
    PoolFailed.

    A local Ray is given at least the CPUs that the pools ask for: replicas share cores rather than wait for
    each other for ever. A Ray that this process already runs is used as it is. What Ray and the replicas
    print is in this module's log.
    """
    global _joined
    if address is None and ray.is_initialized():
        _joined += 1
        return None
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    auto_init_hook.enable_auto_connect = False  # else a call after the end would start another Ray
    rays.print_to_stdstream = _log_printed
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray").handlers = [_IntoLog()]
    try:
        head = None if address is None else Head(check_cluster(address), outlive_the_head())
    except ConnectionError as error:
        raise PoolFailed(str(error)) from error
    try:
        if head is None:
            _start(specs)
        else:
            _init({"address": head.address, **_options({})})
            head = replace(head, raylet=rays._global_node.raylet_socket_name)
    # AuthenticationError is a RayError
    except (OSError, RuntimeError, ValueError, RayError) as error:
        problem = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        if address is None:
            disconnect()
            raise PoolFailed(f"Ray does not start on this machine: {problem}") from error
        raise PoolFailed(f"cluster.address={address}: {problem}") from error
    if head is None:
        try:
            check_room(specs, ray.cluster_resources())
        except ValueError as error:
            disconnect()
            raise PoolFailed(str(error)) from error
    return head


def _start(specs: Sequence[PoolSpec]) -> None:
    needed = sum(spec.replicas * spec.num_cpus for spec in specs)
    number_devices(os.environ)
    give_token()
    files = LocalFiles()
    _local.append(files)
    options = _options(files.environment)
    if not any(spec.replicas * spec.num_gpus for spec in specs):
        options["num_gpus"] = 0
    with loopback():
        # "local", since without an address Ray would join a cluster that happens to run on this machine.
        _init(
            {
                "address": "local",
                "num_cpus": max(os.cpu_count() or 1, int(needed + 0.999)),
                "include_dashboard": False,
                "_temp_dir": str(files.ray),
                **options,
            }
        )


def _options(environment: dict[str, str]) -> dict[str, Any]:
    return {
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {**WORKER_ENVIRONMENT, **environment}},
    }


def _init(options: dict[str, Any]) -> None:
    """Calls ``ray.init``, again if Ray's own 30 s for its start pass."""
    for left in reversed(range(START_ATTEMPTS)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray has no class for it
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            for files in _local:
                files.end_processes()
            if not left:
                raise RuntimeError(str(error)) from error


class _IntoLog(logging.Handler):
    """Takes the place of Ray's handler, which writes on standard error what Ray's own code logs here."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "%s: %s", record.name, record.getMessage())


def _log_printed(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Takes the place of Ray's function that prints on standard output and error what nodes and replicas
    report."""
    kept = PRINTED.add(data.get("actor_name") or "", data["lines"])
    # What the autoscaler reports, some twenty lines every few seconds, ``actors.waiting`` says in one.
    level = logging.DEBUG if data.get("pid") == "autoscaler" else logging.INFO
    for line in kept:
        log.log(level, "%s %s: %s", data.get("actor_name") or "ray", data.get("pid"), line)


def disconnect() -> None:
    """Stops a local Ray and removes its files; a cluster, and a Ray that ran before ``connect``, are left
    running."""
    global _joined
    if _joined:
        _joined -= 1
        return
    ray.shutdown(wait_for_processes=bool(_local))
    while _local:
        _local.pop().remove()


def abandon() -> None:
    """Kills a local Ray and removes its files, in a process that ends at once."""
    node = rays._global_node
    if _local and node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    while _local:
        _local.pop().remove()


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
        self._looking: list[asyncio.Task[None]] = []

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
            pool.place_of = place_of
        looks = (tell_waiting(self.pools, on_notice or (lambda line: None)), replace_leaving(self.pools))
        self._looking = [asyncio.create_task(look) for look in looks]
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
        for look in self._looking:
            look.cancel()
        await asyncio.gather(*(pool.close() for pool in self.pools))
