"""No strategy ranks two copies of one thought: what merging leaves free goes to the others."""

from __future__ import annotations

import contextlib
import inspect
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import SampleRequest
from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.strategies.beam_search import share
from orchestrator.strategies.registry import REGISTRY, find
from tests.support.scripted import EOS, ScriptedEngine, likes_good, operations, share_of_a, two_starts

PROMPT = 4
RANKING = sorted(
    name for name, one in REGISTRY.items() if "distinct" in inspect.signature(one.search).parameters
)


def alike(steps: int) -> ScriptedEngine:
    """Steps of one letter of three, a more often than the others; the ``steps``-th one ends the solution."""

    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        done = text.rpartition("?")[2].count("\n")
        return rng.choice("aaabc") + (EOS if done == steps - 1 else "\n")

    return ScriptedEngine(write, share_of_a)


def tokens_of(requests) -> Counter[tuple[int, ...]]:
    return Counter(getattr(request, "prompt", None) or request.tokens for request in requests)


def test_these_strategies_rank_candidates_and_all_of_them_look_for_copies_unless_told():
    ranking = "beam_search dvts early_rejection lookahead mcts particle_filtering rebase"
    assert ranking.split() == RANKING
    assert all(REGISTRY[name].parameters({})["distinct"] is True for name in RANKING)


@pytest.mark.parametrize("name", RANKING)
@settings(max_examples=15)
@given(jitter=st.randoms(use_true_random=False))
async def test_no_thought_is_scored_twice_and_the_order_of_the_engines_changes_nothing(name, jitter):
    async def search(timing: random.Random | None):
        engine = alike(3)
        engine.jitter = timing
        ops = operations(engine)
        nodes = await find(name)(ops, n=8)
        return engine, ops, [(node.key, node.tokens, node.scores) for node in nodes]

    engine, ops, found = await search(None)
    assert max(tokens_of(engine.scores).values()) == 1
    assert ops.usage.compared == len(engine.samples)
    assert ops.usage.copies == len(engine.samples) - len(engine.scores) > 0
    other, again, same = await search(jitter)
    assert same == found
    assert vars_of(again.usage) == vars_of(ops.usage)
    assert sorted(request.id for request in other.scores) == sorted(request.id for request in engine.scores)


def vars_of(usage) -> tuple[int, ...]:
    return usage.flops, usage.generator_tokens, usage.verifier_tokens, usage.compared, usage.copies


@pytest.mark.parametrize("name", RANKING)
async def test_the_literal_algorithm_scores_every_sample(name):
    engine = alike(3)
    ops = operations(engine)
    await find(name)(ops, n=8, distinct=False)
    assert len(engine.scores) == len(engine.samples)
    assert ops.usage.compared == 0


@settings(max_examples=40)
@given(
    budget=st.integers(0, 1_500_000), jitter=st.randoms(use_true_random=False), name=st.sampled_from(RANKING)
)
async def test_what_a_budget_buys_of_distinct_thoughts_does_not_depend_on_timing(budget, jitter, name):
    async def search(timing: random.Random | None):
        engine = alike(4)
        engine.jitter = timing
        ops = operations(engine, budget=budget)
        with contextlib.suppress(BudgetExhausted):
            await find(name)(ops, n=8)
        assert ops._lease.settled <= budget
        assert ops._lease.reserved == 0
        return [(node.key, node.tokens) for node in ops.finished], ops._lease.settled

    assert await search(None) == await search(jitter)


@settings(max_examples=40)
@given(width=st.integers(1, 4), beams=st.integers(1, 4), jitter=st.randoms(use_true_random=False))
async def test_a_beam_holds_different_steps_and_few_of_them_have_more_continuations(width, beams, jitter):
    n, depth = width * beams, 3
    engine = alike(depth)
    engine.jitter = jitter
    nodes = await find("beam_search")(operations(engine), n=n, width=width)
    assert len(nodes) == n, "as often as it was sampled"
    for level in range(1, depth):
        candidates = [s for s in engine.scores if len(s.step_ends) == level]
        asked = [request for request in engine.samples if len(request.prompt) == PROMPT + 2 * level]
        assert len(asked) == n, "what merging leaves free is spent"
        kept = tokens_of(asked)
        assert len(kept) == min(beams, len(candidates))
        assert sorted(kept.values()) == sorted(share(n, len(kept)))
        values = {s.tokens: engine.judge("".join(map(chr, s.tokens))) for s in candidates}
        dropped = [value for tokens, value in values.items() if tokens not in kept]
        assert max(dropped, default=0.0) <= min(values[tokens] for tokens in kept)


async def test_a_beam_is_not_filled_with_copies_of_its_best_step():
    async def starts(distinct):
        engine = ScriptedEngine(two_starts, likes_good)
        await find("beam_search")(operations(engine), n=16, width=4, distinct=distinct)
        second = [r for r in engine.samples if len(r.prompt) > PROMPT]
        return Counter("".join(map(chr, request.prompt[PROMPT:])) for request in second)

    assert await starts(False) == {"good\n": 16}
    assert await starts(True) == {"good\n": 8, "evil\n": 8}


async def test_rebase_shares_children_among_different_steps_and_not_among_copies():
    async def children(distinct):
        engine = ScriptedEngine(two_starts, lambda text: 0.6 if "good" in text else 0.5)
        await find("rebase")(operations(engine), n=16, temperature=0.1, distinct=distinct)
        firsts = Counter(chr(s.tokens[PROMPT]) for s in engine.scores if len(s.step_ends) == 1)
        asked = Counter(chr(r.prompt[PROMPT]) for r in engine.samples if len(r.prompt) > PROMPT)
        return firsts, asked

    firsts, asked = await children(True)
    assert firsts == {"g": 1, "e": 1}
    assert asked == {"g": 12, "e": 4}, "softmax(0.6, 0.5 / 0.1) = 0.73, 0.27 of 16"
    firsts, asked = await children(False)
    assert sum(firsts.values()) == sum(asked.values()) == 16


async def test_lookahead_looks_ahead_once_from_a_step_and_what_was_foreseen_is_not_scored_again():
    engine = alike(3)
    ops = operations(engine)
    await find("lookahead")(ops, n=8, width=4, k=1)
    greedy = [request for request in engine.samples if request.temperature == 0]
    assert len(greedy) == len(tokens_of(greedy)) < 16
    assert max(tokens_of(engine.scores).values()) == 1


async def test_subtrees_of_dvts_that_would_go_on_from_one_node_are_one_which_goes_on_from_as_many():
    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        at = [int(part) for part in request.id.rpartition("/")[2].split(".")]
        if len(at) == 1:
            return "g\n" if at[0] % 4 == 0 else "e\n"  # each of four subtrees has a g among its proposals
        return ("abcd"[at[-1] % 4] if len(at) == 2 else "x") + ("\n" if len(at) == 2 else EOS)

    def judge(text: str) -> float:
        return {"g": 0.9, "a": 0.8, "b": 0.7, "c": 0.6, "d": 0.5, "x": 0.4}.get(text[-2], 0.1)

    async def parents(distinct: bool) -> list[Counter[str]]:
        engine = ScriptedEngine(write, judge)
        nodes = await find("dvts")(operations(engine), n=16, width=4, distinct=distinct)
        assert len(nodes) == 16
        texts = ["".join(map(chr, request.prompt[PROMPT:])) for request in engine.samples]
        return [Counter(text for text in texts if text.count("\n") == depth) for depth in (1, 2)]

    assert await parents(True) == [{"g\n": 16}, {"g\na\n": 4, "g\nb\n": 4, "g\nc\n": 4, "g\nd\n": 4}]
    assert await parents(False) == [{"g\n": 16}, {"g\na\n": 16}], "four subtrees that are the same"


async def test_a_subtree_of_dvts_with_more_places_than_different_proposals_has_more_of_each():
    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        last = request.id.count(".") == 2
        return rng.choice("ab") + (EOS if last else "\n") if "\n" in text else "g\n"

    engine = ScriptedEngine(write, share_of_a)
    nodes = await find("dvts")(operations(engine), n=16, width=4)
    asked = [request for request in engine.samples if len(request.prompt) == PROMPT + 4]
    assert sorted(tokens_of(asked).values()) == [8, 8]
    assert len(nodes) == 16


async def test_mcts_has_one_branch_for_equal_children_and_stops_when_more_of_them_are_all_copies():
    engine = ScriptedEngine(two_starts, likes_good)
    nodes = await find("mcts")(operations(engine), n=16, width=8)
    assert len({node.tokens for node in nodes}) == len(nodes) == 2
    first, below = 8 + 8, 2 * (8 + 8)
    assert len(engine.samples) == first + below, "each of three nodes is given more once, in vain"


async def test_mcts_gives_more_children_to_a_node_whose_branches_are_all_visited():
    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        return "aabbccdd"[int(request.id.rpartition("/")[2]) % 8] + EOS

    engine = ScriptedEngine(write)
    nodes = await find("mcts")(operations(engine), n=8, width=2)
    assert sorted(chr(node.tokens[PROMPT]) for node in nodes) == ["a", "b", "c", "d"]
    assert len(engine.samples) == 10
    literal = ScriptedEngine(write)
    nodes = await find("mcts")(operations(literal), n=8, width=2, distinct=False)
    assert [chr(node.tokens[PROMPT]) for node in nodes] == ["a", "a"]


async def test_equal_particles_are_one_node_with_their_weights_added():
    engine = ScriptedEngine(two_starts, lambda text: 0.5)
    nodes = await find("particle_filtering")(operations(engine), n=400)
    assert len(nodes) == 400
    assert len(set(nodes)) == 2
    good = sum("good" in "".join(map(chr, node.tokens)) for node in nodes)
    first = sum(rng_of(request) for request in engine.samples if len(request.prompt) == PROMPT)
    assert good == pytest.approx(first, abs=60), "by how often each was sampled, and not 200 to 200 by chance"


def rng_of(request: SampleRequest) -> bool:
    return random.Random(request.seed).choice(["good\n", "evil\n"]) == "good\n"


async def test_early_rejection_goes_on_from_a_step_that_is_there_already_with_steps_of_its_own():
    engine = ScriptedEngine(
        lambda request, text, rng: rng.choice("ab") + EOS if "\n" in text else "a\n", lambda text: 0.5
    )
    nodes = await find("early_rejection")(operations(engine), n=12, width=4)
    assert len(nodes) == 12, "none is lost"
    assert len({node.tokens for node in nodes}) == 2
    assert len(engine.scores) == 3, "the first step, and two ends"
