"""vLLM gives each format's scores as the publishers' own code does: at once, and step by step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.messages import ScoreRequest
from actors.verifier import VerifierActor
from orchestrator.formats.definition import Input
from tests.formats.families import FAMILIES, Family
from tests.support.in_one_process import OneAfterTheOther
from tests.support.public_models import QUESTION
from tests.support.public_models import STEPS as SOLUTION


@pytest.fixture(scope="module")
def server(shared_ray: None) -> Iterator[Any]:
    actor = OneAfterTheOther.remote()  # type: ignore[attr-defined]
    yield actor
    ray.kill(actor)


def asked(inputs: list[Input]) -> list[ScoreRequest]:
    return [ScoreRequest(str(i), shown.tokens, shown.reads) for i, shown in enumerate(inputs)]


@pytest.mark.engine
@pytest.mark.parametrize("make", FAMILIES, ids=lambda family: family.__name__)
def test_each_formats_scores_are_the_publishers(server: Any, tmp_path: Path, make: Any) -> None:
    family: Family = make(tmp_path)
    format = family.format()
    expected = family.reference(family.tokenizer, QUESTION, SOLUTION)
    steps = [] if format.whole else range(1, len(SOLUTION) + 1)
    grown = [format.inputs(QUESTION, SOLUTION[:n], n - 1) for n in steps]
    groups = [asked(inputs) for inputs in (*grown, format.inputs(QUESTION, SOLUTION, 0))]
    options = {"reading": format.reading}
    *by_step, at_once = ray.get(server.answers.remote(VerifierActor, str(family.directory), options, groups))
    scores = [score for result in at_once for score in result.scores]
    print(f"{family.name}: {max(abs(a - b) for a, b in zip(scores, expected, strict=True)):.1e}")
    assert scores == pytest.approx(expected, abs=1e-4)
    if grown:
        results = [result for group in by_step for result in group]
        assert [score for result in results for score in result.scores] == pytest.approx(expected, abs=1e-4)
        # What an input shares with one before it is not computed again.
        read = sum(len(request.tokens) for group in groups[:-1] for request in group)
        assert sum(result.computed_tokens for result in results) < read
