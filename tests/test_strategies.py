"""Each strategy against an engine whose right behaviour is known, over random trees."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.ledger import BudgetExhausted
from orchestrator.revision import FORMATS, Attempt
from orchestrator.strategies import REGISTRY, find, mcts
from orchestrator.strategies.beam_search import share
from orchestrator.strategies.particle_filtering import resample
from orchestrator.strategies.rebase import balance
from tests.scripted import EOS, GENERATOR, VERIFIER, ScriptedEngine, letters, operations


async def test_best_of_n_samples_n_whole_independent_solutions():
    engine = ScriptedEngine(letters(3))
    nodes = await find("best_of_n")(operations(engine), n=5)
    assert [node.path for node in nodes] == [(i,) for i in range(5)]
    assert all(node.finished and len(node.scores) == 3 for node in nodes)
    assert len({request.seed for request in engine.samples}) == 5
    assert {request.until for request in engine.samples} == {"end"}


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


@pytest.mark.parametrize("k", [0, 1, 3])
async def test_lookahead_costs_n_times_k_plus_1_a_round_and_looks_ahead_greedily(k):
    engine = ScriptedEngine(letters(99))
    nodes = await find("lookahead")(operations(engine), n=8, width=2, k=k, max_rounds=3)
    greedy = [request for request in engine.samples if request.temperature == 0]
    # The last round has nobody left to choose among, so nobody looks ahead.
    assert (len(engine.samples), len(greedy)) == (8 * 3 + 8 * k * 2, 8 * k * 2)
    assert len(engine.scores) == len(engine.samples), "the steps ahead are scored, and charged"
    assert [len(node.path) for node in nodes] == [3] * 8


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
    await find("lookahead")(operations(blind), n=8, width=4, k=0, max_rounds=2)
    await find("lookahead")(operations(seeing), n=8, width=4, k=1, max_rounds=2)
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
    await find("dvts")(operations(engine), n=8, width=4)
    first = [s for s in engine.scores if len(s.step_ends) == 1]
    expanded = {request.prompt for request in engine.samples if len(request.prompt) > 4}
    by_id = {s.id: s for s in first}
    for subtree in range(2):
        proposals = [by_id[f"p/score/{i}"] for i in range(4 * subtree, 4 * subtree + 4)]
        best = max(proposals, key=lambda s: engine.judge("".join(map(chr, s.tokens))))
        assert best.tokens in expanded


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(0, 300), st.floats(0.01, 10))
def test_rebase_shares_sum_to_the_rounds_budget_and_follow_the_values(values, budget, temperature):
    shares = balance(values, budget, temperature)
    assert sum(shares) == budget
    assert min(shares) >= 0
    # a clearly better node never gets fewer (one apart is rounding)
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert a < b or shares[i] >= shares[j] - 1


def test_rebase_shares_are_the_papers_for_a_known_case():
    # softmax([0.9, 0.8, 0.5] / 0.1) = [0.7214, 0.2654, 0.0132]
    assert balance([0.8, 0.9, 0.5], 16, 0.1) == [4, 12, 0]
    assert sorted(balance([0.5, 0.5, 0.5], 7, 0.1)) == [2, 2, 3]


async def test_rebase_gives_each_round_what_is_not_completed():
    def write(request, text, rng):
        return f"ab{EOS}" if rng.random() < 0.3 else "".join(rng.choices("ab", k=3)) + "\n"

    engine = ScriptedEngine(write)
    ops = operations(engine)
    nodes = await find("rebase")(ops, n=12, max_rounds=30)
    lengths = [len(request.prompt) for request in engine.samples]
    finished: dict[int, int] = {}
    for node in nodes:
        finished[len(node.path)] = finished.get(len(node.path), 0) + 1
    budget = 12
    for depth, length in enumerate(sorted(set(lengths)), start=1):
        assert lengths.count(length) == budget
        budget -= finished.get(depth, 0)
    assert len(nodes) <= 12


async def test_mcts_finds_n_different_solutions_and_samples_only_where_it_has_not_been():
    engine = ScriptedEngine(letters(3))
    nodes = await find("mcts")(operations(engine), n=6, width=3)
    assert len({node.path for node in nodes}) == len(nodes) == 6
    assert all(node.finished for node in nodes)
    parents = [request.id.rpartition("/")[2].rpartition(".")[0] for request in engine.samples]
    assert all(parents.count(parent) == 3 for parent in parents), "each node is expanded once, by width"
    assert len(engine.samples) <= 6 * 3 * 3


async def test_mcts_without_exploration_follows_the_verifier_and_with_it_looks_elsewhere():
    async def first_steps(exploration):
        nodes = await find("mcts")(
            operations(ScriptedEngine(letters(4))), n=8, width=4, exploration=exploration
        )
        return len({node.path[0] for node in nodes})

    assert await first_steps(0.0) < await first_steps(50.0) == 4


async def test_mcts_stops_when_every_solution_has_been_visited():
    nodes = await find("mcts")(operations(ScriptedEngine(letters(2))), n=99, width=3)
    assert len(nodes) == 9


async def test_particles_stay_n_and_finished_ones_are_not_extended():
    def write(request, text, rng):
        return f"ab{EOS}" if rng.random() < 0.3 else "".join(rng.choices("ab", k=3)) + "\n"

    engine = ScriptedEngine(write)
    nodes = await find("particle_filtering")(operations(engine), n=9, max_rounds=40)
    assert len(nodes) == 9
    assert not any(EOS in "".join(map(chr, request.prompt)) for request in engine.samples)


def two_starts(request, text, rng):
    """Good or bad at the first step, by chance; then a step that ends it."""
    solution = text.rpartition("?")[2]
    return f"xx{EOS}" if solution else rng.choice(["good\n", "evil\n"])


def likes_good(text):
    return 0.999 if "good" in text else 0.001


@pytest.mark.parametrize("name", ["particle_filtering", "rebase"])
async def test_what_the_verifier_likes_takes_over(name):
    engine = ScriptedEngine(two_starts, likes_good)
    nodes = await find(name)(operations(engine), n=24)
    first = ["good" in "".join(map(chr, s.tokens)) for s in engine.scores if len(s.step_ends) == 1]
    assert 0 < sum(first) < 24, "both were proposed"
    assert len(nodes) == 24
    assert all("good" in "".join(map(chr, node.tokens)) for node in nodes)


async def test_mcts_backs_values_up_to_the_root_as_means():
    root = mcts.Branch(operations(ScriptedEngine()).root, None, 0.0)
    child = mcts.Branch(root.node, root, 0.4)
    leaf = mcts.Branch(root.node, child, 0.8)
    root.children, child.children = [child], [leaf]
    leaf.back_up(0.8)
    assert (leaf.visits, child.visits, root.visits) == (2, 2, 2)
    assert child.ucb(0.0) == pytest.approx(0.6)
    assert leaf.ucb(0.0) == pytest.approx(0.8)
    assert leaf.ucb(1.0) > leaf.ucb(0.0)


async def test_what_only_looked_ahead_or_was_pruned_is_no_answer_of_a_search_cut_short():
    def write(request, text, rng):
        return f"xx{EOS}" if text.rpartition("?")[2] else rng.choice(["good\n", "evil\n"])

    for name, params in (("lookahead", {"n": 4, "width": 2}), ("dvts", {"n": 4, "width": 2})):
        for budget in range(100_000, 2_000_000, 50_000):
            ops = operations(ScriptedEngine(write, likes_good), budget=budget)
            try:
                nodes = await find(name)(ops, **params)
            except BudgetExhausted:
                nodes = ops.finished
            if name == "dvts":
                assert len(nodes) % 2 == 0, "subtrees answer whole"
            else:
                assert all(node.path[-1] > 0 for node in nodes), "a candidate's first child looked ahead"


def test_resampling_is_in_proportion_to_the_odds_and_repeats_itself_from_a_seed():
    particles = [object(), object(), object()]
    draws = [
        particle
        for seed in range(3000)
        for particle in resample(particles, [0.5, 0.8, 0.0], 1.0, random.Random(seed))
    ]
    shares = [draws.count(particle) / len(draws) for particle in particles]
    assert shares[0] == pytest.approx(1 / 5, abs=0.02), "odds 1 : 4"
    assert shares[1] == pytest.approx(4 / 5, abs=0.02)
    assert shares[2] == 0
    again = [resample(particles, [0.5, 0.8, 0.1], 1.0, random.Random(7)) for _ in range(2)]
    assert again[0] == again[1]


@given(st.integers(0, 99), st.integers(1, 20))
def test_shares_are_whole_equal_and_complete(total, among):
    parts = share(total, among)
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("name", "given", "key", "allowed"),
    [
        ("beam", {}, "strategy.name", "beam_search, best_of_n"),
        ("best_of_n", {"n": 0}, "strategy.n", "1 or more"),
        ("best_of_n", {"n": 2.5}, "strategy.n", "type int"),
        ("best_of_n", {"n": True}, "strategy.n", "type int"),
        ("best_of_n", {"width": 4}, "strategy.width", "best_of_n takes n"),
        ("lookahead", {"k": -1}, "strategy.k", "0 or more"),
        ("rebase", {"temperature": 0}, "strategy.temperature", "above 0"),
        ("particle_filtering", {"temperature": -1.0}, "strategy.temperature", "above 0"),
        ("mcts", {"exploration": -0.1}, "strategy.exploration", "0 or more"),
        ("revisions", {"n": 6, "length": 4}, "strategy.n", r"multiples of strategy.length \(4\)"),
        ("dvts", {"n": 6, "width": 4}, "strategy.n", r"multiples of strategy.width \(4\)"),
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


@settings(max_examples=25)
@given(budget=st.integers(0, 2_000_000), name=st.sampled_from(sorted(REGISTRY)))
async def test_every_strategy_is_anytime(budget, name):
    ops = operations(ScriptedEngine(letters(4), jitter=random.Random(0)), budget=budget)
    try:
        nodes = await find(name)(ops)
    except BudgetExhausted:
        await ops.drain()
        nodes = ops.finished
    assert all(node.finished for node in nodes)
    assert ops._lease.settled <= budget
    assert ops._lease.reserved == 0


@settings(max_examples=30)
@given(length=st.integers(1, 7), chains=st.integers(1, 3), jitter=st.randoms(use_true_random=False))
async def test_a_revision_sees_exactly_the_last_four_attempts_of_its_chain(length, chains, jitter):
    engine = ScriptedEngine(letters(2), jitter=jitter)
    nodes = await find("revisions")(operations(engine), n=length * chains, length=length)
    assert len(nodes) == len(engine.revisions) == length * chains
    assert engine.samples == []
    requests = {request.id.rpartition("/")[2]: request for request in engine.revisions}
    for start in range(0, len(nodes), length):
        chain = nodes[start : start + length]
        texts = ["".join(map(chr, node.tokens[4:])).replace(EOS, "") for node in chain]
        for i, node in enumerate(chain):
            assert node.path == (*((start // length,)), *([0] * i)), "each attempt is the one before's child"
            shown = "".join(f"{text}#" for text in texts[max(0, i - 4) : i])
            assert "".join(map(chr, requests[node.key].prompt)) == f"{shown}1+1?"
            assert node.finished
            assert len(node.scores) == 2


async def test_a_revision_is_charged_its_whole_context_and_scored_without_it():
    engine = ScriptedEngine(letters(2))
    ops = operations(engine)
    await find("revisions")(ops, n=3, length=3)
    contexts = [len(request.prompt) for request in engine.revisions]
    assert contexts == [4, 12, 20], "an attempt is 8 characters with its #"
    assert ops.usage.generator_flops == sum(GENERATOR.prefill(c) + GENERATOR.sample(c, 8) for c in contexts)
    assert {len(request.tokens) for request in engine.scores} == {12}
    assert ops.usage.verifier_flops == VERIFIER.prefill(4) + 3 * VERIFIER.score(4, 12)


def test_every_revision_format_shows_the_attempts_and_starts_with_the_bare_problem():
    attempts = [Attempt(("one\n", "two"), (0.9, 0.2)), Attempt(("three\n", "four"), (0.3, 0.8))]
    for name in ("plain", "self_critique", "verifier_feedback"):
        assert FORMATS[name]("problem", []) == "problem"
        text = FORMATS[name]("problem", attempts)
        assert text.startswith("problem")
        assert all(step in text for step in ("one", "two", "three", "four"))
    feedback = FORMATS["verifier_feedback"]("problem", attempts)
    assert "[step 1, judged 0.30] three" in feedback
    assert "Step 1 is the most doubtful" in feedback
    assert FORMATS["verifier_feedback"]("p", [Attempt(("a",), ())]) == FORMATS["plain"](
        "p", [Attempt(("a",), ())]
    )


OWN = f"{Path(__file__).parent / 'own_strategy.py'}:until_two_agree"


async def test_a_users_own_strategy_is_a_file_and_a_function():
    strategy = find(OWN)
    assert strategy.parameters({"limit": 30}) == {"limit": 30}
    engine = ScriptedEngine(lambda request, text, rng: rng.choice("abcdef") + EOS)
    nodes = await strategy(operations(engine), limit=30)
    texts = [node.tokens for node in nodes]
    assert texts.count(texts[-1]) == 2
    assert len(set(texts)) == len(texts) - 1, "it stopped at the first agreement"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("nowhere.py:f", "a file that exists"),
        (f"{Path(__file__).parent / 'own_strategy.py'}:ghost", "no coroutine function"),
        (f"{Path(__file__).parent / 'own_strategy.py'}:Counter", "no coroutine function"),
    ],
)
def test_a_file_that_gives_no_strategy_is_said(name, allowed):
    with pytest.raises(BadInput, match=allowed):
        find(name)


def test_a_users_own_strategy_has_its_parameters_checked():
    with pytest.raises(BadInput, match="takes limit"):
        find(OWN).parameters({"n": 4})
    with pytest.raises(BadInput, match="type int"):
        find(OWN).parameters({"limit": "many"})
