"""Budget forcing: how long a model thinks, what it is charged, and that it answers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import SampleRequest
from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.errors import BadInput
from orchestrator.strategies.registry import find
from tests.support.scripted import EOS, GENERATOR, MARKER, VERIFIER, ScriptedEngine, operations

PROMPT = "1+1?"
BEGIN, MOST = len(PROMPT), 32
"""The prompt's tokens, and the tokens of a solution (``scripted.setting``)."""
ENDINGS = st.sampled_from([MARKER, EOS])


def thinks(thoughts: list[tuple[int, str]], answer: str = f"ok{EOS}") -> Any:
    """Writes thoughts of those lengths, each with its ending, one after the other; then ``answer``."""

    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        if request.until == "end":
            return answer
        length, ending = thoughts[min(text.count("W"), len(thoughts) - 1)]
        return "".join(rng.choices("abcd", k=length)) + ending

    return write


@st.composite
def budgets(draw: st.DrawFn) -> dict[str, Any]:
    most = draw(st.integers(1, 20))
    return {
        "min_thinking_tokens": draw(st.integers(0, most)),
        "max_thinking_tokens": most,
        "max_extensions": draw(st.integers(0, 4)),
        "wait": draw(st.sampled_from(["W", "Wa"])),
        "answer_prefix": draw(st.sampled_from(["", ":"])),
    }


def specified(thoughts: list[tuple[int, str]], p: dict[str, Any]) -> tuple[int, int, bool]:
    """(extensions, thinking tokens, whether it was cut), from the words of the strategy's definition."""
    most, wait = p["max_thinking_tokens"], len(p["wait"])
    length, extensions = 0, 0
    while True:
        thought, ending = thoughts[min(extensions, len(thoughts) - 1)]
        if length + thought + len(ending) > most:
            return extensions, most, True
        length += thought
        if length >= p["min_thinking_tokens"] or extensions == p["max_extensions"] or length + wait >= most:
            return extensions, length, False
        length, extensions = length + wait, extensions + 1


@given(st.lists(st.tuples(st.integers(0, 9), ENDINGS), min_size=1, max_size=4), budgets(), st.integers(1, 3))
async def test_thinking_is_extended_and_cut_exactly_as_specified_and_then_answered(thoughts, params, n):
    engine = ScriptedEngine(thinks(thoughts), jitter=random.Random(n))
    ops = operations(engine)
    nodes = await find("budget_forcing")(ops, n=n, **params)
    extensions, thinking, cut = specified(thoughts, params)
    assert len(nodes) == n
    assert ops.finished == nodes
    for node in nodes:
        text = "".join(map(chr, node.tokens[BEGIN:]))
        thought, _, answer = text.partition(MARKER)
        assert node.finished
        assert node.finish == "end"
        assert text.count(MARKER) == 1
        assert text.count(EOS) == 1, "only the last end of the sequence is kept"
        assert thought.count(params["wait"]) == extensions <= params["max_extensions"]
        assert len(thought.removesuffix("\n")) == thinking <= params["max_thinking_tokens"]
        assert answer == (params["answer_prefix"] if cut else "") + f"ok{EOS}"
        assert len(node.tokens) <= BEGIN + MOST


@given(
    thoughts=st.lists(st.tuples(st.integers(0, 9), ENDINGS), min_size=1, max_size=4),
    params=budgets(),
    answer=st.sampled_from([f"ok{EOS}", "x" * MOST]),
)
async def test_the_charge_is_what_the_generator_read_and_wrote(thoughts, params, answer):
    engine = ScriptedEngine(thinks(thoughts, answer))
    written = []

    async def sample(request, answer=engine.sample):
        result = await answer(request)
        written.append((request, result))
        return result

    engine.sample = sample
    ops = operations(engine)
    (node,) = await find("budget_forcing")(ops, **params)
    flops, tokens, before = GENERATOR.prefill(BEGIN), BEGIN, engine.samples[0].prompt
    for request, result in written:
        kept = len([... for a, b in zip(before, request.prompt, strict=False) if a == b])
        read = len(request.prompt)
        assert before[:kept] == request.prompt[:kept]
        flops += GENERATOR.body(kept, read) + GENERATOR.sample(read, len(result.tokens))
        tokens += read - kept + len(result.tokens)
        assert kept == read or read not in node.step_ends, "given text belongs to the step after it"
        before = request.prompt + result.tokens
    assert before == node.tokens
    assert (ops.usage.generator_flops, ops.usage.generator_tokens) == (flops, tokens)
    assert ops.usage.verifier_flops == VERIFIER.prefill(BEGIN) + VERIFIER.score(BEGIN, len(node.tokens))
    assert ops._lease.settled == ops.usage.flops
    assert ops._lease.reserved == 0
    assert len(node.scores) == len(node.step_ends)
    assert node.step_ends[-1] == len(node.tokens)
    delimiters = {i for i, token in enumerate(node.tokens, start=1) if token == ord("\n")}
    assert delimiters <= set(node.step_ends), "given ones too"


@given(st.integers(0, 2_000_000), budgets(), st.integers(0, 10**6))
async def test_a_chain_that_the_budget_lets_start_reaches_its_answer(budget, params, jitter):
    async def search(timing):
        engine = ScriptedEngine(thinks([(3, MARKER), (5, EOS)]), jitter=timing)
        ops = operations(engine, budget=budget)
        try:
            nodes = await find("budget_forcing")(ops, n=6, **params)
        except BudgetExhausted:
            nodes = ops.finished
        assert ops._lease.reserved == 0
        assert ops._lease.settled <= budget
        assert {request.id.split("/")[2].split(".")[0] for request in engine.samples} == {
            node.key.split(".")[0] for node in nodes
        }
        return [node.tokens for node in nodes]

    assert await search(None) == await search(random.Random(jitter))


@pytest.mark.parametrize(
    ("given_", "key", "allowed"),
    [
        ({"min_thinking_tokens": 2000}, "strategy.min_thinking_tokens", r"max_thinking_tokens \(1024\)"),
        ({"max_thinking_tokens": 0}, "strategy.max_thinking_tokens", "1 or more"),
        ({"max_extensions": -1}, "strategy.max_extensions", "0 or more"),
        ({"wait": ""}, "strategy.wait", "one or more characters"),
        ({"wait": 3}, "strategy.wait", "type str"),
    ],
)
def test_bad_parameters(given_, key, allowed):
    with pytest.raises(BadInput, match=allowed) as caught:
        find("budget_forcing").parameters(given_)
    assert caught.value.key == key
