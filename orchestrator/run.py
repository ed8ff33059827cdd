"""One run, put together: engines, searches, records.

``execute`` takes what ``preparation`` has checked, does the work, and leaves ``runs/RUN_ID/`` (config,
journal, results) and an MLflow run behind.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from actors.deployment import Deployment, connect, disconnect
from actors.generator import GeneratorActor
from actors.messages import ReplicaInfo
from actors.pool import PoolSpec
from actors.replica import Replica
from actors.verifier import VerifierActor
from orchestrator.answers import ANSWERS
from orchestrator.config import (
    Config,
    GeneratorConfig,
    ReviserConfig,
    VerifierConfig,
    to_dict,
    to_yaml,
)
from orchestrator.controller import Controller, Search, SearchResult
from orchestrator.journal import Journal
from orchestrator.ledger import Lease
from orchestrator.preparation import Prepared, fingerprint
from orchestrator.results import Summary, summarise, write_parquet
from orchestrator.revision import FORMATS, RevisionPrompt
from orchestrator.selection import rules
from orchestrator.setting import Sampling, Setting
from orchestrator.strategies import find
from orchestrator.tracking import Step, Tracker, local_uri


class Observer(Protocol):
    """What watches a run: the display."""

    def starting(self, replicas: int) -> None: ...

    def ready(self, info: ReplicaInfo) -> None: ...

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None: ...

    def result(self, result: SearchResult) -> None: ...


def new_run_id(config: Config) -> str:
    return f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


async def execute(
    prepared: Prepared, run_id: str, observer: Observer, search: Search | None = None
) -> tuple[Summary, str | None]:
    """Run it: the configured strategy, or ``search`` in its place. Returns the summary, and what tracking
    could not write (None: nothing).

    Interrupted or failed, it still closes the engines, keeps the journal and ends the MLflow run.
    """
    config = prepared.config
    directory = Path(config.runs) / run_id
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(to_yaml(config))
    journal = Journal(directory / "journal.sqlite", fingerprint=fingerprint(prepared))
    tracker = _tracker(config, run_id)
    tracker.artifact(directory / "config.yaml")
    status = "KILLED"
    try:
        summary, results = await _search(
            prepared, run_id, journal, tracker, observer, search or _strategy(config)
        )
        write_parquet(results, directory / "results.parquet")
        tracker.artifact(directory / "results.parquet")
        tracker.metrics([(name, value, 0) for name, value in metrics(summary).items()])
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        try:
            journal.close()
        finally:
            tracker.artifact(directory / "journal.sqlite")
            failure = tracker.close(status)
    return summary, failure


def _strategy(config: Config) -> Search:
    params = {str(key): value for key, value in config.strategy.items() if key != "name"}
    return partial(find(config.strategy["name"]).search, **params)


def metrics(summary: Summary) -> dict[str, float]:
    """The summary as MLflow metrics: one flat name each."""
    return {
        **{f"accuracy/{rule}": value for rule, value in summary.accuracy.items()},
        "coverage": summary.coverage,
        **{
            f"interval/{name}_{end}": bound
            for name, ends in summary.intervals.items()
            for end, bound in zip(("low", "high"), ends, strict=True)
        },
        **{
            f"pass_at/{k}{end}": value
            for k, estimate in summary.pass_at_k.items()
            for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
        },
        "distinct_answers": summary.distinct_answers,
        **({"flips": summary.flips} if summary.flips is not None else {}),
        **{f"flops/{name}": float(value) for name, value in vars(summary.flops).items()},
        **{f"tokens/{name}": float(value) for name, value in summary.tokens.items()},
        "tokens_per_second": summary.tokens_per_second,
        "seconds": summary.seconds,
        "startup_seconds": summary.startup_seconds,
        **{f"utilisation/{name}": value for name, value in summary.utilisation.items()},
        "problems/total": float(summary.problems),
        "problems/answered": float(summary.answered),
        "problems/exhausted": float(summary.exhausted),
        "problems/failed": float(summary.failed),
        "operations": float(summary.operations),
    }


def _tracker(config: Config, run_id: str) -> Tracker:
    runs = Path(config.runs).resolve()
    uri, artifacts = config.tracking.uri, None
    if uri is None:
        uri, artifacts = local_uri(runs), (runs / "artifacts").as_uri()
    return Tracker(uri, config.tracking.experiment, run_id, to_dict(config), artifacts=artifacts)


async def _search(
    prepared: Prepared,
    run_id: str,
    journal: Journal,
    tracker: Tracker,
    observer: Observer,
    search: Search,
) -> tuple[Summary, list[SearchResult]]:
    config = prepared.config
    began = time.monotonic()
    generators, verifiers, revisers = pool_specs(config)
    specs = [spec for spec in (generators, verifiers, revisers) if spec is not None]
    observer.starting(sum(spec.replicas for spec in specs))
    connect(config.cluster.address, specs)
    deployment = Deployment(generators, verifiers, revisers)
    try:
        await deployment.start(config.cluster.start_timeout_seconds, observer.ready)
        started = time.monotonic()
        controller = _controller(prepared, deployment, journal)
        curve = AnytimeCurve(len(prepared.problems), controller.budget, tracker.metrics)

        def on_result(result: SearchResult) -> None:
            curve.add(result)
            observer.result(result)

        controller.on_result = on_result
        observer.searching(controller, deployment, len(prepared.problems))
        results = await controller.run(prepared.problems, prepared.prompts, search)
        seconds = time.monotonic() - started
        summary = summarise(
            run_id,
            results,
            controller.usage,
            budget=prepared.budget,
            seconds=seconds,
            startup_seconds=started - began,
            utilisation={pool.spec.name: pool.utilisation(seconds) for pool in deployment.pools},
        )
        return summary, results
    finally:
        await deployment.close()
        disconnect()


def _controller(prepared: Prepared, deployment: Deployment, journal: Journal) -> Controller:
    config, generator = prepared.config, prepared.config.generator
    setting = Setting(
        engine=deployment,
        codec=prepared.codec,
        generator=prepared.generator,
        verifier=prepared.verifier,
        reviser=prepared.reviser,
        revision_prompt=RevisionPrompt(
            prepared.codec, FORMATS[config.reviser.format], config.problems.template, generator.chat
        ),
        sampling=Sampling(
            generator.temperature, generator.top_p, generator.max_step_tokens, generator.max_tokens
        ),
        aggregation=config.verifier.aggregation,
        seed=config.seed,
        journal=journal,
    )
    return Controller(
        setting,
        ANSWERS[config.problems.answers],
        Lease(prepared.budget),
        rules=rules(scored=prepared.verifier is not None, chains=prepared.reviser is not None),
        searches_at_once=config.max_searches,
    )


def pool_specs(config: Config) -> tuple[PoolSpec, PoolSpec | None, PoolSpec | None]:
    """The pools that a config asks for: generators, verifiers, revisers."""
    delimiter = {"step_delimiter": config.generator.step_delimiter}
    generators = _pool_spec("generator", GeneratorActor, config.generator, delimiter)
    assert generators is not None
    verifiers = _pool_spec("verifier", VerifierActor, config.verifier, {"kind": config.verifier.kind})
    revising = find(config.strategy["name"]).needs_reviser
    revisers = _pool_spec("reviser", GeneratorActor, config.reviser, delimiter) if revising else None
    return generators, verifiers, revisers


def _pool_spec(
    name: str,
    replica: type[Replica],
    pool: GeneratorConfig | VerifierConfig | ReviserConfig,
    options: dict[str, Any],
) -> PoolSpec | None:
    if pool.model is None:
        return None
    return PoolSpec(
        name,
        replica,
        pool.model,
        pool.replicas,
        pool.resources.num_cpus,
        pool.resources.num_gpus,
        {"dtype": pool.dtype, "engine": pool.engine, **options},
    )


class AnytimeCurve:
    """Accuracy over all problems against FLOPs spent, a point each time a search ends.

    MLflow's steps are integers: a step is 10⁶ FLOPs. A problem that is not done counts as wrong.
    """

    def __init__(self, problems: int, budget: Lease, log: Callable[[list[Step]], None]) -> None:
        self._problems = problems
        self._budget = budget
        self._log = log
        self._correct: dict[str, int] = {}
        self._covered = 0

    def add(self, result: SearchResult) -> None:
        step = self._budget.spent // 1_000_000
        for rule, right in result.correct.items():
            self._correct[rule] = self._correct.get(rule, 0) + right
        self._covered += result.covered
        points = [(f"anytime/accuracy_{r}", n / self._problems, step) for r, n in self._correct.items()]
        self._log([*points, ("anytime/coverage", self._covered / self._problems, step)])
