"""Running engines: Ray, and the pools that a run asks for. One session may serve many runs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from actors.deployment import Deployment, abandon, connect, disconnect
from actors.dialects import ChatFrame
from actors.endpoint import EndpointActor, look
from actors.generator import GeneratorActor
from actors.head import watched
from actors.hub import HubAccess
from actors.messages import PoolFailed, ReplicaInfo
from actors.pool import Pool
from actors.replica import Replica
from actors.spec import PoolSpec
from actors.verifier import VerifierActor
from orchestrator.config.adapter import rank
from orchestrator.config.endpoint import chat_frame, secret
from orchestrator.config.generator import delimiters, others, step_pattern
from orchestrator.config.judge import PreparedJudge
from orchestrator.config.model_config import Section
from orchestrator.config.preparation import Prepared
from orchestrator.config.schema import ClusterConfig, Config, EndpointConfig, GeneratorConfig, JudgeConfig
from orchestrator.errors import BadInput
from orchestrator.runs.judging import Ask

JOIN_SECONDS = 30.0
"""Seconds that joining a cluster may take."""
STOP_SECONDS = 5.0
"""Seconds for which a run that is interrupted waits for a start of Ray that is under way."""
SIGNAL_SECONDS = 0.1
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's ``max_lora_rank`` can have."""


class SessionObserver(Protocol):
    """Watches engines start."""

    def starting(self, names: Sequence[str]) -> None:
        """Is told which replicas are about to start."""

    def ready(self, info: ReplicaInfo) -> None:
        """Is told that a replica can serve."""

    def notice(self, line: str) -> None:
        """Is told, in one line, of a replica that is lost, awaited or back."""


class Pools(NamedTuple):
    """The pools that a run asks for; None where it needs none.

    Where the generators revise, the reviser is the generator's own pool.
    """

    generator: PoolSpec
    verifier: PoolSpec | None
    reviser: PoolSpec | None
    judge: PoolSpec | None = None

    @property
    def started(self) -> list[PoolSpec]:
        """Every pool once."""
        reviser = None if self.reviser == self.generator else self.reviser
        return [spec for spec in (self.generator, self.verifier, reviser, self.judge) if spec is not None]

    def together_with(self, other: Pools) -> Pools | None:
        """Returns pools that serve the runs of both; None where one pool cannot be what both ask for."""
        pairs = list(zip(self, other, strict=True))
        if any(mine != its for mine, its in pairs if mine is not None and its is not None):
            return None
        return Pools(*(its if mine is None else mine for mine, its in pairs))  # type: ignore[arg-type]


def pool_specs(prepared: Prepared) -> Pools:
    """Returns the pools that a run asks for."""
    config = prepared.config
    section = config.generator
    writing = {
        "step_delimiter": delimiters(section),
        "stop": tuple(section.stop),
        "sampling": others(section),
    }
    if (pattern := step_pattern(section)) is not None:
        writing["step_pattern"] = pattern
    marker = {"end_of_thinking": section.end_of_thinking}
    generators = _pool_spec("generator", GeneratorActor, section, config.cluster, writing | marker)
    assert generators is not None
    if section.endpoint is not None:
        frame = chat_frame(prepared.codec)
        options = _at_endpoint(section, section.endpoint, frame) | _hub(config.cluster) | writing | marker
        if section.confidence is not None:
            options["logprobs"] = True
        generators = replace(generators, replica=EndpointActor, options=options)
    verifiers, verifier = None, prepared.verifier
    if verifier is not None and verifier.function is None:
        reading = {"reading": verifier.reading}
        verifiers = _pool_spec("verifier", VerifierActor, config.verifier, config.cluster, reading)
    revisers = None
    if prepared.strategy.strategy.has_reviser:
        revisers = _pool_spec("reviser", GeneratorActor, config.reviser, config.cluster, writing)
        revisers = revisers or generators
    judges = None if prepared.judge is None else judge_spec(config, prepared.judge)
    return Pools(generators, verifiers, revisers, judges)


def judge_spec(config: Config, judge: PreparedJudge) -> PoolSpec:
    """Returns the pool of a run's judge."""
    reading = {} if judge.writes else {"reading": judge.reading}
    spec = _pool_spec("judge", VerifierActor, config.judge, config.cluster, reading)
    assert spec is not None
    if (endpoint := config.judge.endpoint) is None:
        return spec
    options = _at_endpoint(config.judge, endpoint, judge.frame)
    # It is required, and no question is answered by steps.
    options |= _hub(config.cluster)
    return replace(spec, replica=EndpointActor, options={**options, "step_delimiter": "\n"})


def _at_endpoint(
    section: GeneratorConfig | JudgeConfig, endpoint: EndpointConfig, frame: ChatFrame | None
) -> dict[str, Any]:
    """Returns the options of a model that is at a running server."""
    return {
        "url": endpoint.url,
        "served": endpoint.model,
        "key": secret(endpoint),
        "concurrency": endpoint.concurrency,
        "timeout": endpoint.timeout_seconds,
        "retries": endpoint.retries,
        "frame": frame,
        "revision": section.revision,
        "trust_remote_code": section.trust_remote_code,
    }


def _hub(cluster: ClusterConfig) -> dict[str, Any]:
    """Returns the replicas' access to the hub; on this machine they inherit it."""
    access = HubAccess.of(os.environ) if cluster.address is not None else None
    return {"hub": access} if access is not None and access.values else {}


def check_context(prepared: Prepared, deployment: Deployment) -> None:
    """Raises BadInput where the server of ``generator.endpoint`` reads less than a problem needs.

    How much an engine reads is known before it starts (``config.lengths``).
    """
    config = prepared.config
    if config.generator.endpoint is None:
        return
    longest = max(range(len(prepared.prompts)), key=lambda index: len(prepared.prompts[index]))
    prompt = len(prepared.prompts[longest])
    needed = prompt + config.generator.max_tokens
    for info in deployment.generator.infos:
        if 0 < info.max_model_len < needed:
            raise BadInput(
                "generator.endpoint.url",
                config.generator.endpoint.url,
                f"this server reads {info.max_model_len} tokens; problem {prepared.problems[longest].id} has "
                f"{prompt} prompt tokens, generator.max_tokens is {config.generator.max_tokens}: {needed} or "
                "more are needed (vllm serve --max-model-len)",
            )


def _pool_spec(
    name: str,
    replica: type[Replica],
    pool: Section,
    cluster: ClusterConfig,
    options: dict[str, Any],
) -> PoolSpec | None:
    if pool.model is None:
        return None
    source: dict[str, Any] = {}
    if pool.revision is not None:
        source |= {"revision": pool.revision, "tokenizer_revision": pool.revision}
    if pool.trust_remote_code:
        source["trust_remote_code"] = True
    adapter = getattr(pool, "adapter", None)
    if adapter is not None:
        # vLLM takes only some ranks as its largest.
        held = next(size for size in LORA_RANKS if size >= rank(adapter, f"{name}.adapter"))
        source |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": held}
        options = {**options, "adapter": adapter}
    return PoolSpec(
        name,
        replica,
        pool.model,
        pool.replicas,
        pool.resources.num_cpus,
        pool.resources.num_gpus,
        {"dtype": pool.dtype, "engine": {**pool.engine, **source}, **_hub(cluster), **options},
        pool.min_replicas,
        cluster.probe_after_seconds,
        cluster.probe_timeout_seconds,
        cluster.start_timeout_seconds,
        pool.resources.custom,
    )


@dataclass(frozen=True)
class Session:
    """Running engines."""

    deployment: Deployment
    startup_seconds: float
    """Seconds that Ray and the engines took to start."""

    def pools_of(self, prepared: Prepared) -> list[Pool]:
        """Returns the pools that a run uses."""
        asked = pool_specs(prepared).started
        return [pool for pool in self.deployment.pools if pool.spec in asked]


@asynccontextmanager
async def session(pools: Pools, cluster: ClusterConfig, observer: SessionObserver) -> AsyncIterator[Session]:
    """Starts or joins Ray, starts the pools, and takes both down at the end, however it ends.

    Raises PoolFailed where they do not start.
    """
    began = time.monotonic()
    specs = pools.started
    for spec in specs:
        if spec.replica is EndpointActor and cluster.address is None:  # else another node asks it
            await look(spec.name, spec.model, spec.options)
    observer.starting([name for spec in specs for name in spec.names])
    reviser = None if pools.reviser == pools.generator else pools.reviser
    deployment = Deployment(pools.generator, pools.verifier, reviser, pools.judge)
    async with _ray(cluster, specs, observer.notice):
        try:
            await deployment.start(cluster.start_timeout_seconds, observer.ready, observer.notice)
            yield Session(deployment, time.monotonic() - began)
        finally:
            await deployment.close()


def _hear_signals() -> None:
    """Gives this process back the signals for which Ray has put a handler of its own in place: one that
    aborts."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


@asynccontextmanager
async def _ray(
    cluster: ClusterConfig, specs: list[PoolSpec], notice: Callable[[str], None]
) -> AsyncIterator[None]:
    """Starts or joins Ray, and stops or leaves it at the end. Raises PoolFailed, also where the head is lost
    meanwhile.

    Both are done by a thread of their own, so that the event loop goes on: the display lives, and a signal is
    heard. It is one thread, since the processes of a local Ray end with the thread that has started them.
    """
    loop = asyncio.get_running_loop()
    up, down, over = loop.create_future(), loop.create_future(), threading.Event()
    for ending in (up, down):  # asyncio would say of an error that nobody has asked for it
        ending.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def settle(future: asyncio.Future[Any], error: BaseException | None, result: Any = None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)

    def tell(future: asyncio.Future[Any], error: BaseException | None = None, result: Any = None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, future, error, result)

    def work() -> None:
        try:
            tell(up, result=connect(cluster.address, specs))
            over.wait()
            disconnect()
        except BaseException as error:
            tell(up, error)
            tell(down, error)
        tell(down)

    threading.Thread(target=work, name="ray", daemon=True).start()
    within = None if cluster.address is None else JOIN_SECONDS
    try:
        async with asyncio.timeout(within):
            while not up.done():
                await asyncio.wait([up], timeout=SIGNAL_SECONDS)
                _hear_signals()
        head = up.result()
    except TimeoutError:
        over.set()  # what joins later leaves at once
        late = f"no head of a Ray cluster has answered there in {within:g} s"
        raise PoolFailed(f"cluster.address={cluster.address}: {late}") from None
    except asyncio.CancelledError:
        over.set()
        await asyncio.wait([down], timeout=STOP_SECONDS)
        if not down.done():  # the processes of a local Ray end with this one
            abandon()
        raise
    try:
        async with watched(head, notice) if head is not None else nullcontext():
            yield
    finally:
        over.set()
        await down


@asynccontextmanager
async def judge_alone(config: Config, judge: PreparedJudge, observer: SessionObserver) -> AsyncIterator[Ask]:
    """Starts the engines of a judge and nothing else; yields what asks it, and takes them down at the end.

    Raises PoolFailed where they do not start.
    """
    spec = judge_spec(config, judge)
    if spec.replica is EndpointActor and config.cluster.address is None:
        await look(spec.name, spec.model, spec.options)
    observer.starting(spec.names)
    async with _ray(config.cluster, [spec], observer.notice):
        pool: Pool[Any] = Pool(spec)
        pool.on_notice = observer.notice
        try:
            await pool.start(config.cluster.start_timeout_seconds, on_ready=observer.ready)
            yield pool.run
        finally:
            await pool.close()
