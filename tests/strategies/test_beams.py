"""Beam search, lookahead and DVTS against an engine whose right behaviour is known, over random trees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.strategies.beam_search import share
from orchestrator.strategies.registry import find
from tests.support.scripted import EOS, GENERATOR, VERIFIER, ScriptedEngine, letters, likes_good, operations


@settings(max_examples=50)
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
    nodes = await find("beam_search")(ops, n=n, width=width, distinct=False)

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
    nodes = await find("beam_search")(operations(engine), n=8, width=2, max_rounds=6, distinct=False)
    assert len(nodes) <= 8
    lengths = [len(request.prompt) for request in engine.samples]
    per_round = [lengths.count(length) for length in sorted(set(lengths))]
    assert per_round[0] == 8
    assert per_round == sorted(per_round, reverse=True)
    assert len({node.path for node in nodes}) == len(nodes)


@pytest.mark.parametrize("name", ["beam_search", "rebase", "particle_filtering"])
async def test_a_search_stops_after_its_rounds_and_what_is_not_finished_is_no_solution(name):
    engine = ScriptedEngine(letters(99))
    assert await find(name)(operations(engine), n=4, max_rounds=3) == []
    depths = [request.id.count(".") for request in engine.samples]
    assert depths == [0] * 4 + [1] * 4 + [2] * 4


@given(st.integers(0, 99), st.integers(1, 20))
def test_shares_are_whole_equal_and_complete(total, among):
    parts = share(total, among)
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("name", ["beam_search", "lookahead", "dvts"])
async def test_a_width_of_sqrt_is_the_square_root_of_n(name):
    async def search(width):
        return [node.path for node in await find(name)(operations(ScriptedEngine()), n=9, width=width)]

    assert await search("sqrt") == await search(3) != await search(9)


@given(
    width=st.integers(1, 3),
    beams=st.integers(1, 3),
    k=st.integers(0, 3),
    rounds=st.integers(1, 3),
    jitter=st.randoms(use_true_random=False),
)
async def test_lookahead_is_charged_n_times_k_plus_1_a_round_and_looks_ahead_greedily(
    width, beams, k, rounds, jitter
):
    n, engine = width * beams, ScriptedEngine(letters(99), jitter=jitter)
    ops = operations(engine)
    assert await find("lookahead")(ops, n=n, width=width, k=k, max_rounds=rounds, distinct=False) == []
    greedy = [request for request in engine.samples if request.temperature == 0]
    # The last round has nobody left to choose among, so nobody looks ahead.
    steps = n * (k + 1) * (rounds - 1) + n
    assert (len(engine.samples), len(greedy)) == (steps, n * k * (rounds - 1))
    assert len(engine.scores) == steps, "the steps ahead are scored, and charged"
    assert ops.usage.generator_tokens == ops.usage.verifier_tokens == 4 + 4 * steps, "each has 4 tokens"
    starts = [len(request.prompt) for request in engine.samples]
    assert ops.usage.generator_flops == GENERATOR.prefill(4) + sum(GENERATOR.sample(s, 4) for s in starts)
    assert ops.usage.verifier_flops == VERIFIER.prefill(4) + sum(VERIFIER.score(s, s + 4) for s in starts)
    assert [request.id.count(".") for request in engine.samples][-n:] == [rounds - 1] * n


async def test_lookahead_keeps_the_step_that_leads_somewhere_good():
    def write(request, text, rng):
        solution = text.partition("?")[2]
        if not solution:
            return rng.choice(["good start\n", "dull start\n"])[: request.max_tokens - 1] + "\n"
        return "xx\n" if solution.startswith("good") else "aa\n"

    def judge(text):
        last = text.rstrip("\n").rpartition("\n")[2]
        return {"aa": 1.0, "xx": 0.0}.get(last, 0.9 if "good" in last else 0.1)

    def starts(engine):
        first = [r for r in engine.samples if r.temperature and r.prompt.count(ord("\n")) == 1]
        return {"".join(map(chr, r.prompt)).partition("?")[2][:4] for r in first}

    blind, seeing = ScriptedEngine(write, judge), ScriptedEngine(write, judge)
    await find("lookahead")(operations(blind), n=8, width=4, k=0, max_rounds=2, distinct=False)
    await find("lookahead")(operations(seeing), n=8, width=4, k=1, max_rounds=2, distinct=False)
    assert starts(blind) == {"good"}
    assert starts(seeing) == {"dull"}


@settings(max_examples=40)
@given(width=st.integers(1, 4), subtrees=st.integers(1, 4), depth=st.integers(1, 5))
async def test_dvts_subtrees_never_mix_and_each_goes_on_from_its_best_alone(width, subtrees, depth):
    engine = ScriptedEngine(letters(depth))
    nodes = await find("dvts")(operations(engine), n=width * subtrees, width=width)
    assert len(engine.samples) == width * subtrees * depth
    assert len(nodes) == width * subtrees
    by_subtree = [[node for node in nodes if node.path[0] // width == i] for i in range(subtrees)]
    for leaves in by_subtree:
        assert len(leaves) == width, "every subtree ends with its own proposals"
        assert len({leaf.path[:-1] for leaf in leaves}) == 1, "of one parent"
    for request in engine.samples:
        depth_here = (len(request.prompt) - 4) // 4
        if depth_here:
            siblings = [s for s in engine.scores if len(s.step_ends) == depth_here]
            assert request.prompt in {s.tokens for s in siblings}


async def test_a_dvts_subtree_descends_from_its_best_proposal():
    engine = ScriptedEngine(letters(2))
    await find("dvts")(operations(engine), n=8, width=4, distinct=False)
    first = [s for s in engine.scores if len(s.step_ends) == 1]
    expanded = {request.prompt for request in engine.samples if len(request.prompt) > 4}
    by_id = {s.id: s for s in first}
    for subtree in range(2):
        proposals = [by_id[f"p/score/{i}"] for i in range(4 * subtree, 4 * subtree + 4)]
        best = max(proposals, key=lambda s: engine.judge("".join(map(chr, s.tokens))))
        assert best.tokens in expanded


async def test_what_only_looked_ahead_is_no_answer_of_a_search_cut_short():
    def write(request, text, rng):
        return f"xx{EOS}" if text.rpartition("?")[2] else rng.choice(["good\n", "evil\n"])

    for budget in range(100_000, 2_000_000, 50_000):
        ops = operations(ScriptedEngine(write, likes_good), budget=budget)
        try:
            nodes = await find("lookahead")(ops, n=4, width=2, distinct=False)
        except BudgetExhausted:
            nodes = ops.finished
        assert all(node.path[-1] > 0 for node in nodes), "a candidate's first child looked ahead"
