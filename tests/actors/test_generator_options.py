"""What a generator is told beside a request: texts that end a step or a solution, and sampling values."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import ray

from actors.generator import PIECE, GeneratorActor
from actors.messages import SampleRequest
from tests.support.tiny_models import SYMBOLS, save_generator

PROMPT = (1, 2, 3)
IDS = {symbol: token for token, symbol in enumerate(SYMBOLS)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_generator(tmp_path_factory.mktemp("generator")))


def ask(until: Any, count: int = 24, **values: Any) -> list[SampleRequest]:
    return [SampleRequest(f"{until}-{i}", PROMPT, i, 40, until, **values) for i in range(count)]


def text(tokens: tuple[int, ...]) -> str:
    return "".join(SYMBOLS[token] for token in tokens)


@pytest.mark.engine
def test_a_solution_ends_at_a_stop_and_a_step_at_any_of_several_delimiters(
    one_by_one: Any, model: str
) -> None:
    options = {"step_delimiter": (";", "4"), "stop": ("7",)}
    steps, ends, bogus = ray.get(
        one_by_one.answers.remote(GeneratorActor, model, options, [ask("step"), ask("end"), ask("bogus", 1)])
    )
    kinds = set()
    for result in steps:
        found = text(result.tokens)
        kinds.add(result.finish if result.finish != "step" else found[-1])
        if result.finish == "step":
            assert found.endswith((";", "4"))
            assert not any(mark in found[:-1] for mark in (";", "4", "7"))
        elif result.finish == "end":
            assert found.endswith(("7", "<eos>"))
    assert {";", "4", "end"} <= kinds, "each of them ended some"
    assert {result.finish for result in ends} <= {"end", "length"}
    assert any(text(result.tokens).endswith("7") for result in ends)
    assert all("7" not in text(result.tokens)[:-1] for result in ends)
    assert "allowed: end, step" in bogus[0].error, "it fails as that request, and the replica lives"


@pytest.mark.engine
def test_a_step_ends_with_the_token_with_which_an_expression_first_matches(
    one_by_one: Any, model: str
) -> None:
    options = {"step_delimiter": (), "step_pattern": r"[0-4]\+|;;", "stop": ("=",)}
    requests = [SampleRequest(f"{i}", PROMPT, i, 100, "step") for i in range(16)]
    surely = [msgspec.structs.replace(request, logprobs=True) for request in requests]
    first, again = ray.get(one_by_one.answers.remote(GeneratorActor, model, options, [requests, surely]))
    assert all(len(result.logprobs) == len(result.tokens) for result in again), "of all its pieces"
    assert [result.tokens for result in first] == [result.tokens for result in again], "by the seed alone"
    finishes = {result.finish for result in first}
    assert "step" in finishes
    for result in first:
        found = text(result.tokens)
        matches = [m.end() for m in re.finditer(r"[0-4]\+|;;", found)]
        assert matches == ([len(found)] if result.finish == "step" else [])
        if result.finish == "end":
            assert found.endswith(("=", "<eos>"))
    assert any(len(result.tokens) > PIECE for result in first), "some go over pieces"


@pytest.mark.engine
def test_sampling_values_that_a_replica_is_started_with_change_what_is_sampled(
    one_by_one: Any, model: str
) -> None:
    options: dict[str, Any] = {"step_delimiter": (), "sampling": {"top_k": 1}}
    only, greedy = ray.get(
        one_by_one.answers.remote(
            GeneratorActor, model, options, [ask("step", 6), ask("end", 1, temperature=0.0)]
        )
    )
    (best,) = {result.tokens for result in greedy}
    assert {result.tokens for result in only} == {best}, "only the most probable token is left"
    assert {result.finish for result in only} <= {"length", "end"}, (
        "without a delimiter a step ends by length"
    )
