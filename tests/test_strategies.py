"""Each strategy against an engine whose right behaviour is known, over random trees."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.strategies import REGISTRY, find
from orchestrator.strategies.beam_search import share
from tests.scripted import EOS, ScriptedEngine, letters, operations


async def test_best_of_n_samples_n_whole_independent_solutions():
    engine = ScriptedEngine(letters(3))
    nodes = await find("best_of_n")(operations(engine), n=5)
    assert [node.path for node in nodes] == [(i,) for i in range(5)]
    assert all(node.finished and len(node.scores) == 3 for node in nodes)
    assert len({request.seed for request in engine.samples}) == 5
    assert {request.until for request in engine.samples} == {"end"}


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(1, 4),
    beams=st.integers(1, 4),
    depth=st.integers(1, 5),
    jitter=st.randoms(use_true_random=False),
)
async def test_beam_search_expands_the_top_n_over_m_of_each_round(width, beams, depth, jitter):
    n = width * beams
    engine = ScriptedEngine(letters(depth), jitter=jitter)
    ops = operations(engine)
    nodes = await find("beam_search")(ops, n=n, width=width)

    rounds: dict[int, list] = {}
    for request in engine.scores:
        text = "".join(map(chr, request.tokens))
        rounds.setdefault(len(request.step_ends), []).append((engine.judge(text), request.tokens))
    assert sorted(rounds) == list(range(1, depth + 1))
    assert all(len(candidates) == n for candidates in rounds.values()), "N steps a round"
    for level in range(1, depth):
        ends = {request.prompt for request in engine.samples if len(request.prompt) == 4 + 4 * level}
        kept = [score for score, tokens in rounds[level] if tokens in ends]
        dropped = [score for score, tokens in rounds[level] if tokens not in ends]
        assert max(dropped, default=0.0) <= min(kept)
        for prompt in ends:
            expansions = sum(request.prompt == prompt for request in engine.samples)
            copies = sum(tokens == prompt for _, tokens in rounds[level])
            assert expansions % width == 0
            assert expansions <= width * copies
    assert len(nodes) == n
    assert all(node.finished for node in nodes)


async def test_finished_paths_leave_the_beam_and_take_their_place_with_them():
    def write(request, text, rng):
        return f"ab{EOS}" if rng.random() < 0.4 else "abc\n"

    engine = ScriptedEngine(write)
    nodes = await find("beam_search")(operations(engine), n=8, width=2, max_rounds=6)
    assert len(nodes) <= 8
    lengths = [len(request.prompt) for request in engine.samples]
    per_round = [lengths.count(length) for length in sorted(set(lengths))]
    assert per_round[0] == 8
    assert per_round == sorted(per_round, reverse=True)
    assert len({node.path for node in nodes}) == len(nodes)


async def test_beam_search_stops_after_its_rounds():
    engine = ScriptedEngine(letters(99))
    nodes = await find("beam_search")(operations(engine), n=4, width=2, max_rounds=3)
    assert [len(node.path) for node in nodes] == [3] * 4
    assert len(engine.samples) == 12


@given(st.integers(0, 99), st.integers(1, 20))
def test_shares_are_whole_equal_and_complete(total, among):
    parts = share(total, among)
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("name", "given", "key", "allowed"),
    [
        ("beam", {}, "strategy.name", "beam_search or best_of_n"),
        ("best_of_n", {"n": 0}, "strategy.n", "1 or more"),
        ("best_of_n", {"n": 2.5}, "strategy.n", "type int"),
        ("best_of_n", {"n": True}, "strategy.n", "type int"),
        ("best_of_n", {"width": 4}, "strategy.width", "best_of_n takes n"),
        ("beam_search", {"n": 4, "width": 8}, "strategy.width", r"1 to strategy.n \(4\)"),
        ("beam_search", {"n": 10, "width": 4}, "strategy.n", r"multiples of strategy.width \(4\)"),
    ],
)
def test_bad_parameters_are_one_line_that_names_key_value_and_what_is_allowed(name, given, key, allowed):
    with pytest.raises(BadInput, match=allowed) as caught:
        find(name).parameters(given)
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


def test_every_strategy_is_documented_and_has_defaults():
    for strategy in REGISTRY.values():
        assert strategy.search.__doc__
        assert strategy.parameters({})


@settings(max_examples=25, deadline=None)
@given(budget=st.integers(0, 2_000_000), name=st.sampled_from(sorted(REGISTRY)))
async def test_every_strategy_is_anytime(budget, name):
    from orchestrator.ledger import BudgetExhausted

    ops = operations(ScriptedEngine(letters(4), jitter=random.Random(0)), budget=budget)
    try:
        nodes = await find(name)(ops)
    except BudgetExhausted:
        await ops.drain()
        nodes = ops.finished
    assert all(node.finished for node in nodes)
    assert ops._lease.settled <= budget
    assert ops._lease.reserved == 0
