"""REBASE, particle filtering and Monte-Carlo tree search: who is given the next children."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.strategies import mcts
from orchestrator.strategies.particle_filtering import resample
from orchestrator.strategies.rebase import balance
from orchestrator.strategies.registry import find
from tests.support.scripted import EOS, ScriptedEngine, letters, likes_good, operations, two_starts


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


@settings(max_examples=30)
@given(n=st.integers(1, 16), ending=st.floats(0.05, 1), jitter=st.randoms(use_true_random=False))
async def test_rebase_gives_each_round_what_is_not_completed(n, ending, jitter):
    def write(request, text, rng):
        return f"ab{EOS}" if rng.random() < ending else "".join(rng.choices("ab", k=3)) + "\n"

    engine = ScriptedEngine(write, jitter=jitter)
    ops = operations(engine)
    nodes = await find("rebase")(ops, n=n, max_rounds=30)
    lengths = [len(request.prompt) for request in engine.samples]
    finished: dict[int, int] = {}
    for node in nodes:
        finished[len(node.path)] = finished.get(len(node.path), 0) + 1
    budget = n
    for depth, length in enumerate(sorted(set(lengths)), start=1):
        assert lengths.count(length) == budget
        budget -= finished.get(depth, 0)
    assert len(nodes) <= n


async def test_particles_stay_n_and_finished_ones_are_not_extended():
    def write(request, text, rng):
        return f"ab{EOS}" if rng.random() < 0.3 else "".join(rng.choices("ab", k=3)) + "\n"

    engine = ScriptedEngine(write)
    nodes = await find("particle_filtering")(operations(engine), n=9, max_rounds=40)
    assert len(nodes) == 9
    assert not any(EOS in "".join(map(chr, request.prompt)) for request in engine.samples)


@pytest.mark.parametrize("name", ["particle_filtering", "rebase"])
async def test_what_the_verifier_likes_takes_over(name):
    engine = ScriptedEngine(two_starts, likes_good)
    nodes = await find(name)(operations(engine), n=24)
    first = ["good" in "".join(map(chr, s.tokens)) for s in engine.scores if len(s.step_ends) == 1]
    assert 0 < sum(first) < 24, "both were proposed"
    assert len(nodes) == 24
    assert all("good" in "".join(map(chr, node.tokens)) for node in nodes)


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
    nodes = await find("mcts")(operations(ScriptedEngine(letters(2))), n=99, width=3, distinct=False)
    assert len(nodes) == 9


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


async def test_mcts_explores_by_the_visits_of_all_siblings_as_ucb1_does():
    root = mcts.Branch(operations(ScriptedEngine()).root, None, 0.0)
    root.children = [mcts.Branch(root.node, root, value) for value in (0.4, 0.8, 0.2)]
    assert root.children[0].ucb(2.0) == pytest.approx(0.4 + 2.0 * math.sqrt(math.log(3)))
    root.children[1].back_up(0.6)
    assert root.children[1].ucb(2.0) == pytest.approx(0.7 + 2.0 * math.sqrt(math.log(4) / 2))
    assert root.children[2].ucb(2.0) == pytest.approx(0.2 + 2.0 * math.sqrt(math.log(4)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(0, 300), st.floats(0.01, 10))
def test_no_node_of_rebase_has_fewer_children_than_a_worse_one_and_each_is_within_one_of_its_share(
    values, budget, temperature
):
    shares = balance(values, budget, temperature)
    for i, a in enumerate(values):
        assert all(shares[i] >= shares[j] for j, b in enumerate(values) if a > b)
    mass = sum(math.exp((value - max(values)) / temperature) for value in values)
    for share, value in zip(shares, values, strict=True):
        assert abs(share - budget * math.exp((value - max(values)) / temperature) / mass) < 1 + 1e-6


def test_what_rounding_leaves_in_rebase_goes_to_the_largest_remainders():
    # W_j = 16 · softmax(R_j / 0.1) = 8.04 4.88 1.47 0.66 0.30 0.27 0.18 0.12 0.08
    values = [0.42, 0.37, 0.25, 0.17, 0.09, 0.08, 0.04, 0.0, -0.04]
    assert balance(values, 16, 0.1) == [8, 5, 2, 1, 0, 0, 0, 0, 0]
