from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from actors.engine_jobs import Job, Pooled
from actors.messages import Failure, Request, ScoreRequest, ScoreResult
from actors.outbox import Outbox
from actors.reading import Reading
from actors.verifier import ScoreMemo, VerifierActor
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.label import LabelledSolution
from orchestrator.verifiers.model import load_verifier, scores
from orchestrator.verifiers.train import train
from tests.support.calls import answers, end, results_of, sample, score
from tests.support.shared_engines import CHUNK
from tests.support.tiny_models import MAX_LEN, make_reward_model, save_family, save_llama

ENDS = (20, 50, 70, 100, 131, 150)


def path(seed: int, length: int = ENDS[-1]) -> tuple[int, ...]:
    rng = random.Random(seed)
    return tuple(rng.randrange(1, 15) for _ in range(length))


def test_scores_are_hugging_faces(verifier: Any) -> None:
    model = make_reward_model()
    paths = [path(seed) for seed in range(6)]
    for tokens, result in zip(paths, answers(verifier, [score(p, *ENDS) for p in paths]), strict=True):
        reference = model(list(tokens))
        assert result.scores == pytest.approx([reference[end - 1] for end in ENDS], abs=1e-5)
        assert result.replica == "verifier"
    assert len(set(reference)) > 100  # a model that says the same everywhere tests nothing


def _mixture(path: Path) -> Path:
    return save_family(path, "mixtral", num_local_experts=4, num_experts_per_tok=2, head_dim=32)


TRAINED: dict[str, tuple[Callable[[Path], Path], dict[str, int]]] = {
    "llama": (save_llama, {"extra_layers": 1, "freeze": -1}),
    "mixtral": (_mixture, {"freeze": 1}),
}
"""By family: how its language model is made, and how a verifier is trained from it."""


@pytest.fixture(scope="module")
def trained(engines: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, Any]]]:
    """Of each family a verifier's directory, and the replica that serves it; started together."""
    rows = [LabelledSolution(f"p{seed}", "", (), (seed % 2,) * 6, path(seed), ENDS) for seed in range(8)]
    found: dict[str, tuple[Path, Any]] = {}
    for family, (save, layers) in TRAINED.items():
        directory = tmp_path_factory.mktemp(family)
        config = TrainConfig(steps=3, batch=8, lr=1e-2, warmup=0, held_out=0.4, **layers)
        backbone = save(directory / "backbone")
        assert train(rows, str(backbone), directory / "verifier", config, log=lambda line: None) is not None
        actor = ray.remote(VerifierActor).remote(family, str(directory / "verifier"))
        found[family] = directory / "verifier", actor
    yield found
    for _, actor in found.values():
        end(actor)


@pytest.mark.parametrize("family", TRAINED)
def test_a_verifier_trained_from_any_language_model_scores_as_plain_torch_does(
    trained: dict[str, tuple[Path, Any]], family: str
) -> None:
    directory, actor = trained[family]
    paths = [path(seed) for seed in range(20, 24)]
    with torch.inference_mode():
        expected = scores(load_verifier(directory), torch.tensor(paths)).numpy()
    assert np.ptp(expected) > 0.1
    cold = answers(actor, [score(tokens[: ENDS[2]], *ENDS[:3]) for tokens in paths])
    warm = answers(actor, [score(tokens, *ENDS) for tokens in paths])
    for result, row in zip(cold, expected, strict=True):
        assert result.scores == pytest.approx([row[end - 1] for end in ENDS[:3]], abs=1e-4)
    for result, row in zip(warm, expected, strict=True):
        assert result.scores == pytest.approx([row[end - 1] for end in ENDS], abs=1e-4)
        assert result.computed_tokens == ENDS[-1] - ENDS[2]


def test_step_by_step_equals_cold_and_computes_only_what_is_new(verifier: Any) -> None:
    ray.get(verifier.forget.remote())
    other = path(101)
    grown = []
    for n in range(1, len(ENDS) + 1):
        (result,) = answers(verifier, [score(other[: ENDS[n - 1]], *ENDS[:n])])
        grown.append(result)
    ray.get(verifier.remember.remote(0))
    (at_once,) = answers(verifier, [score(other, *ENDS)])  # re-run without the cache
    assert grown[-1].scores == at_once.scores  # bit for bit, or a search would depend on its cache
    assert [result.computed_tokens for result in grown] == [b - a for a, b in pairwise((0, *ENDS))]


def test_a_path_read_in_chunks_has_the_scores_of_one_read_whole(verifier: Any, in_chunks: Any) -> None:
    """Alone, among others that share a step's tokens with it, and step by step behind a cached prefix."""
    for replica in (verifier, in_chunks):
        ray.get(replica.forget.remote())
    before = ray.get(in_chunks.steps.remote())
    (alone,) = answers(in_chunks, [score(path(600), *ENDS)])
    assert ray.get(in_chunks.steps.remote()) - before == math.ceil(len(path(600)) / CHUNK)
    (whole,) = answers(verifier, [score(path(600), *ENDS)])
    assert alone.scores == pytest.approx(whole.scores, abs=1e-6)
    assert alone.computed_tokens == len(path(600))

    several = [path(seed, 100 + 7 * (seed - 600)) for seed in range(601, 606)]
    requests = [[score(tokens, 20, 50, 70, len(tokens)) for tokens in several] for _ in range(2)]
    for one, other in zip(answers(verifier, requests[0]), answers(in_chunks, requests[1]), strict=True):
        assert other.scores == pytest.approx(one.scores, abs=1e-6)

    (whole,) = answers(verifier, [score(path(610), *ENDS)])
    for n in range(1, len(ENDS) + 1):
        (grown,) = answers(in_chunks, [score(path(610)[: ENDS[n - 1]], *ENDS[:n])])
        assert grown.scores == pytest.approx(whole.scores[:n], abs=1e-6)
    assert grown.computed_tokens < len(path(610))
    assert len(set(whole.scores)) == len(ENDS)


def test_a_path_scored_again_needs_no_engine(verifier: Any) -> None:
    request, repeated = score(path(200), *ENDS), score(path(200), *ENDS)
    (first,), (again,) = answers(verifier, [request]), answers(verifier, [repeated])
    assert again == ScoreResult(repeated.id, first.scores, 0, "verifier")


def test_a_path_that_is_being_scored_is_not_computed_again(verifier: Any) -> None:
    ray.get(verifier.forget.remote())
    tokens = path(202)
    results = answers(verifier, [score(tokens, *ENDS) for _ in range(5)])
    assert len({result.scores for result in results}) == 1
    assert sorted(result.computed_tokens for result in results) == [0, 0, 0, 0, len(tokens)]

    first, second = (score(path(203), *ENDS) for _ in range(2))
    ray.get([verifier.submit.remote([first, second]), verifier.abort.remote([first.id])])
    (result,) = results_of(verifier, [second])
    assert len(result.scores) == len(ENDS)
    alone = score(path(204), *ENDS)
    ray.get([verifier.submit.remote([alone]), verifier.abort.remote([alone.id])])
    (again,) = answers(verifier, [score(path(204), *ENDS)])
    assert len(again.scores) == len(ENDS)


def test_what_was_forgotten_is_computed_anew_to_the_same_scores(verifier: Any) -> None:
    (first,) = answers(verifier, [score(path(201), *ENDS)])
    ray.get(verifier.forget.remote())
    (anew,) = answers(verifier, [score(path(201), *ENDS)])
    assert (anew.scores, anew.computed_tokens) == (first.scores, len(path(201)))


def test_siblings_in_one_batch_share_their_prefix(verifier: Any) -> None:
    ray.get(verifier.forget.remote())
    stem = path(300, 128)
    siblings = [stem + path(seed, 22) for seed in range(301, 309)]
    results = answers(verifier, [score(tokens, *ENDS) for tokens in siblings])
    assert len({result.scores[:4] for result in results}) == 1
    assert len({result.scores[-1] for result in results}) == len(siblings)
    assert sum(result.computed_tokens for result in results) == 128 + 8 * 22


@pytest.mark.parametrize("max_bytes", [0, 700])
def test_what_the_memo_lost_is_computed_again_without_the_cache(verifier: Any, max_bytes: int) -> None:
    ray.get(verifier.remember.remote(max_bytes))
    tokens = path(400 + max_bytes)
    (first,) = answers(verifier, [score(tokens, *ENDS)])
    (again,) = answers(verifier, [score(tokens, *ENDS)])
    assert again.scores == first.scores
    assert again.computed_tokens == 1 + 150


def test_bad_requests_fail_in_one_line_and_the_replica_lives(verifier: Any) -> None:
    tokens = path(500)
    bad: list[Request] = [
        score((), 0),
        score(tokens),
        score(tokens, 20),
        score(tokens, 20, 20, 150),
        score(tokens, 0, 150),
        score((99,), 1),
        score((1,) * (MAX_LEN + 1), MAX_LEN + 1),
        sample((1, 2)),
    ]
    *failures, result = answers(verifier, [*bad, score(tokens, *ENDS)])
    assert len(result.scores) == len(ENDS)
    for request, failure in zip(bad, failures, strict=True):
        assert isinstance(failure, Failure), request
        assert request.id in failure.error
        assert "verifier" in failure.error
        assert "\n" not in failure.error
    assert 0 < ray.get(verifier.ping.remote()) < 10


@pytest.fixture
def reader() -> VerifierActor:
    """A verifier without an engine, to be given an engine's outcomes."""
    reader = object.__new__(VerifierActor)
    reader.name, reader.model = "judge", "model"
    reader._reading, reader._memo = Reading(), ScoreMemo(1 << 20)
    return reader


async def test_results_go_to_who_asked_last_and_not_to_a_caller_that_is_out_of_reach(
    reader: VerifierActor,
) -> None:
    reader._outbox = Outbox()
    reader._start_seconds, reader._phases = 0.0, {}
    reader._engine = SimpleNamespace(  # type: ignore[assignment]
        max_model_len=8, max_num_seqs=1, kv_cache_tokens=8, dtype="float32", load=lambda: "load"
    )
    lost = asyncio.create_task(reader.collect())
    await asyncio.sleep(0.01)
    await reader.info()  # the pool has the replica back
    reader._outbox.put([ScoreResult("a", (0.5,), 0, "judge")])  # submitted, and known already
    await asyncio.sleep(0.01)
    assert await lost == []
    assert [each.id for each in (await reader.collect())[:-1]] == ["a"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, math.nan]]), "step 1 is nan"),
        (torch.tensor([[math.inf, math.inf], [0.0, 1.0]]), "step 0 is nan"),
        (torch.tensor([[0.0, 1.0]]), "1 rows for 2 tokens"),
        (torch.zeros(0, 2), "0 rows for 2 tokens"),
        (torch.zeros(3, 2), "3 rows for 2 tokens"),
    ],
)
def test_a_score_that_is_no_number_is_a_failure(reader: VerifierActor, rows: Any, words: str) -> None:
    request = ScoreRequest("r7", (3, 4), (1, 2))
    job = Job("k", [3, 4], None, request)
    ((key, failure),) = reader.results([Pooled(job, rows, cached_tokens=0, ran=len(job.prompt))])
    assert key == "k"
    assert isinstance(failure, Failure)
    assert words in failure.error
    assert "judge" in failure.error
    assert "r7" in failure.error


def test_a_memo_forgets_the_least_recently_used() -> None:
    memo = ScoreMemo(650)
    for name in (b"a", b"b", b"c"):
        memo.put(name, 0.5)
    memo.get(b"a")
    memo.put(b"d", 0.5)
    assert [memo.get(name) for name in (b"a", b"b", b"c", b"d")] == [0.5, None, 0.5, 0.5]
