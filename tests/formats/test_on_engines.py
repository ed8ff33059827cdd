"""vLLM gives each format's scores as the publishers' own code does: at once, and step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.messages import Load, ScoreRequest
from actors.reading import Reading
from orchestrator.formats.definition import Input
from tests.formats.families import CHOICES, FAMILIES, Family
from tests.support.public_models import QUESTION
from tests.support.public_models import STEPS as SOLUTION


@ray.remote(num_cpus=0)
class OneAfterTheOther:
    """Serves several models in one process, which imports vLLM once."""

    async def scores(self, model: str, reading: Reading, inputs: list[list[Input]]) -> list[list[float]]:
        """The scores of each list of inputs; a list is asked when the one before it is answered."""
        from actors.verifier import VerifierActor

        verifier = await asyncio.to_thread(VerifierActor, "verifier", model, reading=reading)
        found, computed = [], []
        for group in inputs:
            requests = [ScoreRequest(str(i), shown.tokens, shown.reads) for i, shown in enumerate(group)]
            await verifier.submit(requests)
            results: dict[str, Any] = {}
            while len(results) < len(requests):
                new = [each for each in await verifier.collect() if not isinstance(each, Load)]
                results |= {each.id: each for each in new}
            found.append([score for request in requests for score in results[request.id].scores])
            computed.append(sum(result.computed_tokens for result in results.values()))
        await verifier.shutdown()
        return [*found, computed]


@pytest.fixture(scope="module")
def server(shared_ray: None) -> Iterator[Any]:
    actor = OneAfterTheOther.remote()  # type: ignore[attr-defined]
    yield actor
    ray.kill(actor)


@pytest.mark.engine
@pytest.mark.parametrize("make", FAMILIES, ids=lambda family: family.__name__)
def test_each_formats_scores_are_the_publishers(server: Any, tmp_path: Path, make: Any) -> None:
    family: Family = make(tmp_path)
    format = family.format(**CHOICES.get(family.name, {}))
    expected = family.reference(family.tokenizer, QUESTION, SOLUTION)
    whole = format.inputs(QUESTION, SOLUTION, 0)
    steps = range(1, len(SOLUTION) + 1)
    grown = [] if format.whole else [format.inputs(QUESTION, SOLUTION[:n], n - 1) for n in steps]
    *grown_scores, at_once, computed = ray.get(
        server.scores.remote(str(family.directory), format.reading, [*grown, whole])
    )
    difference = max(abs(a - b) for a, b in zip(at_once, expected, strict=True))
    print(f"{family.name}: largest difference {difference:.1e}")
    assert at_once == pytest.approx(expected, abs=1e-4)
    if grown:
        assert [score for each in grown_scores for score in each] == pytest.approx(expected, abs=1e-4)
        opening, last = format.opening(QUESTION), grown[-1][-1].tokens
        # What an input shares with those before it is not computed again.
        assert sum(computed[:-1]) < sum(len(each.tokens) for inputs in grown for each in inputs)
        assert len(opening) < len(last)
