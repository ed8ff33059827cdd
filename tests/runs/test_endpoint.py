"""Searches on running servers: the same model gives the same solutions at each kind of server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages import PoolFailed, ReplicaInfo, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from actors.pool import Pool
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.errors import BadInput
from orchestrator.runs import session as sessions
from orchestrator.runs.assembly import controller_of
from orchestrator.runs.controller import SearchResult
from orchestrator.runs.run import Run
from orchestrator.runs.session import check_context, pool_specs
from tests.support.openai_server import FakeServer, LocalReplicaHandle, drop, served, status
from tests.support.paths import LAB_CONFIG


class Engines:
    """The pool of a server, and a verifier that likes the digit 1."""

    def __init__(self, pool: Pool[SampleResult], codec: Any) -> None:
        self.pool, self.codec = pool, codec

    async def sample(self, request: SampleRequest) -> SampleResult:
        return await self.pool.run(request)

    revise = sample

    async def score(self, request: ScoreRequest) -> ScoreResult:
        texts = [self.codec.decode(request.tokens[:end]) for end in request.step_ends]
        scores = tuple(text.count("1") / len(text) for text in texts)
        return ScoreResult(request.id, scores, len(request.tokens), "scripted")


def prepared(tmp_path: Path, url: str, *overrides: str) -> Prepared:
    given = [
        f"generator.endpoint={url}",
        "generator.endpoint.model=it",
        "problems.limit=3",
        f"runs={tmp_path}",
    ]
    return prepare(load(LAB_CONFIG, [*given, *overrides]))


@asynccontextmanager
async def pool_of(run: Prepared) -> AsyncIterator[Pool[SampleResult]]:
    pool: Pool[SampleResult] = Pool(pool_specs(run).generator, LocalReplicaHandle)
    await pool.start(60)
    try:
        yield pool
    finally:
        await pool.close()


async def found(tmp_path: Path, kind: str, *overrides: str, faults: Any = ()) -> list[SearchResult]:
    """The results of a run on a server of this kind."""
    directory = tmp_path / kind
    directory.mkdir()
    server = FakeServer(None, kind)
    async with served(server) as url:
        run = prepared(directory, url, *overrides)
        server.tokenizer = run.codec.tokenizer
        async with pool_of(run) as pool:
            server.faults = list(faults)
            journal = Journal(directory / "journal.sqlite", fingerprint="it")
            control = controller_of(run, Engines(pool, run.codec), journal)
            results = await control.run(run.problems, run.prompts, run.strategy)
            journal.close()
    assert control.budget.spent <= run.budget.flops
    assert control.usage.computed_flops > 0
    return results


@pytest.mark.parametrize(
    "strategy", [("strategy={name: best_of_n, n: 4}",), ("strategy={name: beam_search, n: 4, width: 2}",)]
)
async def test_every_kind_of_server_gives_the_same_solutions(tmp_path: Path, strategy: tuple[str, ...]):
    results = {kind: await found(tmp_path, kind, *strategy) for kind in ("vllm", "text", "strings")}
    shaken = await found(
        tmp_path, "strict", *strategy, faults=[status(503), drop, status(429, Retry_After="0"), status(500)]
    )
    for of_kind in (*results.values(), shaken):
        assert [result.error for result in of_kind] == [None] * 3
        assert [result.solutions for result in of_kind] == [r.solutions for r in results["vllm"]]
    solutions = [s for result in results["vllm"] for s in result.solutions]
    assert len(solutions) == 12
    assert {s.finish for s in solutions} == {"end"}
    assert all(s.text.count("\n") == 2 for s in solutions)


async def test_a_server_of_token_ids_tells_confidence_and_one_of_text_is_refused(tmp_path: Path):
    asked = ("strategy={name: best_of_n, n: 4}", "generator.confidence=mean")
    results = await found(tmp_path, "vllm", *asked)
    assert all(0 < s.confidence < 1 for result in results for s in result.solutions)
    assert {"confident", "confidence_weighted"} < set(results[0].selected)
    with pytest.raises(PoolFailed, match=r"gives no log-probabilities .* allowed here: null"):
        await found(tmp_path, "text", *asked)


async def test_a_server_whose_context_is_too_short_is_refused_before_the_search(tmp_path: Path):
    server = FakeServer(None, max_model_len=64)
    async with served(server) as url:
        run = prepared(tmp_path, url)
        server.tokenizer = run.codec.tokenizer
        async with pool_of(run) as pool:
            with pytest.raises(BadInput, match=r"reads 64 tokens; problem lab-test-\d+ has \d+ prompt"):
                check_context(run, SimpleNamespace(generator=pool))  # type: ignore[arg-type]
            server.max_model_len = 4096
        async with pool_of(run) as pool:
            check_context(run, SimpleNamespace(generator=pool))  # type: ignore[arg-type]


class Watched:
    """A session's observer that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ups: list[str] = []

    def starting(self, names: list[str]) -> None:
        self.lines.append(f"{len(names)}")

    def ready(self, info: ReplicaInfo) -> None:
        self.ups.append(info.name)

    def notice(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(
    ("server", "words"),
    [({"key": "secret"}, "refuses the key"), ({"name": "other"}, "serves no 'it'.*can be: other")],
)
async def test_a_server_that_cannot_be_used_is_told_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: dict[str, Any], words: str
):
    monkeypatch.setattr(sessions, "connect", lambda *given: pytest.fail("Ray was started"))
    watched = Watched()
    async with served(FakeServer(None, **server)) as url:
        run = prepared(tmp_path, url, "verifier.model=null", "strategy={name: best_of_n, n: 2}", "baseline=0")
        with pytest.raises(PoolFailed, match=f"^generator: {url} {words}"):
            async with sessions.session(pool_specs(run), run.config.cluster, watched):
                pass
    assert watched.lines == []


@pytest.mark.cluster
async def test_a_run_on_a_server_is_a_run(tmp_path: Path, shared_ray: None):
    server = FakeServer(None)
    watched = Watched()
    async with served(server) as url:
        run = prepared(tmp_path, url, "verifier.model=null", "strategy={name: best_of_n, n: 2}", "baseline=0")
        server.tokenizer = run.codec.tokenizer
        async with sessions.session(pool_specs(run), run.config.cluster, watched) as engines:
            assert watched.ups == ["generator-0"]
            with Run(run, "r") as record:
                summary = await record.search(engines, Observed())
    assert (summary.problems, summary.failed, summary.answered) == (3, 0, 3)
    assert any("token ids in and out" in line for line in watched.lines)
    assert len(server.bodies) == 1 + 6, "the greeting, and the solutions"


class Observed:
    """A run's observer that looks away."""

    def searching(self, *given: Any) -> None: ...

    def ended(self) -> None: ...

    def sampling_baseline(self, samples: int) -> None: ...

    def result(self, result: SearchResult) -> None: ...

    def notice(self, line: str) -> None: ...
