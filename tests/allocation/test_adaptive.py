"""The adaptive policy against exact greedy on known chances, its stops, and the traps of bandits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.adaptive import Adaptive
from orchestrator.allocation.rounds import Allocator, Asking
from orchestrator.benchmarks.allocation import exact_greedy
from orchestrator.config.loading import load
from orchestrator.errors import BadInput
from orchestrator.search.selection import Candidate, weighted

COST = 10
RIGHT = "right"
chances = st.floats(0, 1)


def coverage(p: Sequence[float], counts: Sequence[int]) -> float:
    return sum(1 - (1 - chance) ** n for chance, n in zip(p, counts, strict=True))


@given(st.lists(chances, min_size=1, max_size=4), st.integers(0, 6))
def test_exact_greedy_is_exact(p, budget):
    counts = exact_greedy(p, budget)
    assert sum(counts) == budget
    every = (n for n in product(range(budget + 1), repeat=len(p)) if sum(n) == budget)
    assert coverage(p, counts) == pytest.approx(max(coverage(p, n) for n in every))


def perfect(right: bool, rng: random.Random) -> float:
    return 0.97 if right else 0.02


@given(st.integers(1, 40), st.floats(0.05, 1))
def test_short_solutions_count_as_whole_ones(n, share):
    """Of the longest solution's cost they take a share: a problem that failed n times has failed n times."""
    wrong = [Candidate(f"w{i}", 0.1) for i in range(n)]
    belief = Adaptive.belief(wrong)
    spent = [int(COST * n * part) for part in (share, 1)]
    short, long = (Adaptive()._gain(Asking(wrong, COST, COST, each), belief, 0) for each in spent)
    assert short == pytest.approx(long)


def play(
    policy: Allocator, p: Sequence[float], solutions: int, seed: int, judge: Callable = perfect
) -> tuple[int, list[int]]:
    """Let the policy share ``solutions`` over problems of these chances: (problems whose weighted answer
    is right, solutions of each). Wrong answers are all different."""
    rng = random.Random(seed)
    found: list[list[Candidate]] = [[] for _ in p]
    active, left = list(range(len(p))), solutions * COST
    while active:
        asking = [Asking(found[i], COST, COST, COST * len(found[i])) for i in active]
        grants = policy(asking, left)
        assert sum(n or 0 for n in grants) * COST <= left
        if not any(grants):
            break
        for i, n in zip(active, grants, strict=True):
            for _ in range(n or 0):
                right = rng.random() < p[i]
                found[i].append(Candidate(RIGHT if right else f"{rng.random()}", judge(right, rng)))
                left -= COST
        active = [i for i, n in zip(active, grants, strict=True) if n is not None]
    return sum(weighted(candidates) == RIGHT for candidates in found), [len(each) for each in found]


def spread(seed: int, problems: int = 120) -> list[float]:
    """Chances like those of a real set: many easy, a long tail of hard ones."""
    rng = random.Random(seed)
    return [rng.betavariate(0.4, 0.5) for _ in range(problems)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("each", [3, 8, 16])
def test_with_a_verifier_it_finds_as_much_as_exact_greedy_that_knows_the_chances(seed, each):
    p = spread(seed)
    budget = each * len(p)
    right, _ = play(Adaptive(parallel=16), p, budget, seed)
    # Exact greedy knows every chance but fixes its counts in advance; this one sees what was found.
    assert right >= 0.95 * coverage(p, exact_greedy(p, budget))
    assert right > coverage(p, [each] * len(p))


def noisy(right: bool, rng: random.Random) -> float:
    return rng.betavariate(4, 3) if right else rng.betavariate(2, 4)


@pytest.mark.parametrize("seed", range(3))
def test_with_a_weak_verifier_it_answers_more_than_equal_shares_do(seed):
    p, each = spread(seed, 300), 8
    rng = random.Random(seed)
    equal = 0
    for chance in p:
        hits = [rng.random() < chance for _ in range(each)]
        answers = [Candidate(RIGHT if hit else f"{rng.random()}", noisy(hit, rng)) for hit in hits]
        equal += weighted(answers) == RIGHT
    right, _ = play(Adaptive(), p, each * len(p), seed, noisy)
    assert right > equal


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from("abc"), st.none() | chances), max_size=6),
            st.integers(1, 50),
            st.integers(0, 500),
        ),
        max_size=12,
    ),
    st.integers(0, 1000),
    st.integers(1, 8),
)
def test_what_it_grants_can_be_paid(problems, left, parallel):
    asking = [
        Asking([Candidate(answer, score) for answer, score in candidates], each, each, spent)
        for candidates, each, spent in problems
    ]
    grants = Adaptive(parallel=parallel)(asking, left)
    assert len(grants) == len(asking)
    assert sum((n or 0) * one.each for n, one in zip(grants, asking, strict=True)) <= left
    affordable = [one.each <= left for n, one in zip(grants, asking, strict=True) if n is not None]
    assert any(grants) == any(affordable)  # it never stalls while something can be paid


def test_solved_problems_stop_and_unseen_ones_are_each_tried_once_before_any_twice():
    solved = Asking([Candidate("a", 0.95)], COST, COST, COST)
    unseen = [Asking([], COST, COST, 0) for _ in range(5)]
    assert Adaptive(parallel=5)([solved, *unseen], 10**6) == [None, 1, 1, 1, 1, 1]
    _, counts = play(Adaptive(parallel=1), [1.0] * 20, 1000, 0)
    assert counts == [1] * 20


def test_a_set_that_cannot_be_solved_is_shared_fairly_to_the_end_of_the_budget():
    right, counts = play(Adaptive(parallel=4), [0.0] * 10, 200, 0)
    assert right == 0
    assert sum(counts) == 200
    assert max(counts) - min(counts) <= 2


def test_hopeless_problems_stop_and_leave_the_rest_of_the_budget_unspent():
    p = [1.0] * 80 + [0.0] * 20
    _, counts = play(Adaptive(), p, 64 * len(p), 0)
    assert counts[:80] == [1] * 80
    assert 50 < min(counts[80:]) <= max(counts[80:]) < 250
    _, counts = play(Adaptive(min_gain=0.0), p, 64 * len(p), 0)
    assert sum(counts) == 64 * len(p)


def test_exploration_favours_what_is_known_less():
    known = Asking([Candidate(f"{i}", 0.9) for i in range(9)], COST, COST, 9 * COST)
    new = Asking([Candidate("0", 0.5), Candidate("1", 0.5)], COST, COST, 2 * COST)
    gains = [
        [Adaptive(exploration=c)._gain(one, Adaptive.belief(one.candidates), 0) for one in (known, new)]
        for c in (0.0, 2.0)
    ]
    assert gains[1][1] - gains[0][1] > gains[1][0] - gains[0][0] > 0


def test_a_gain_is_the_chance_that_the_selected_answer_is_wrong_and_the_next_solution_right():
    candidates = [
        Candidate(answer, score) for answer, score in zip("aabb", (0.6, 0.6, 0.55, 0.55), strict=True)
    ]
    a, b = ((score / (1 - score)) ** 1.5 * 2**1.5 for score in (0.6, 0.55))
    none, total = 1.0, 1.0 + a + b
    expected = (b * (0.5 + 2) + none * 0.5) / total / (0.5 + 0.5 + 4)
    one = Asking(candidates, COST, COST, 4 * COST)
    assert Adaptive()._gain(one, Adaptive.belief(candidates), 0) == pytest.approx(expected)
    failed = [Candidate(f"w{i}", 0.02) for i in range(64)]
    hopeless = Adaptive()._gain(Asking(failed, COST, COST, 64 * COST), Adaptive.belief(failed), 0)
    assert hopeless == pytest.approx(0.5 / 65, rel=0.5), "little more than the prior says of 64 failures"


def test_graded_scores_tell_unsolved_problems_apart_where_binary_rewards_are_round_robin():
    hopeful = Asking([Candidate(f"{i}", 0.4) for i in range(8)], COST, COST, 8 * COST)
    hopeless = Asking([Candidate(f"{i}", 0.01) for i in range(8)], COST, COST, 8 * COST)
    grants = Adaptive(parallel=4)([hopeless, hopeful], 40 * COST)
    assert grants == [0, 4]
    again = Asking(hopeful.candidates, COST, COST, 80 * COST)  # but not for ever: it has cost much since
    assert Adaptive(parallel=4)([hopeless, again], 40 * COST)[0] > 0


def test_agreement_and_scores_make_an_answer_likelier_and_other_answers_less_likely():
    belief = Adaptive.belief
    a, b = Candidate("a", 0.6), Candidate("b", 0.55)
    assert belief([a]).right < belief([a, a]).right < belief([a, a, a]).right
    assert belief([a, b]).right < belief([a]).right
    assert belief([]).right == 0
    unscored = Candidate("a", None)
    assert 0 < belief([unscored]).right < belief([unscored] * 4).right < 1


@pytest.mark.parametrize(
    "override",
    [
        "allocation.name=greedy",
        "allocation.confidence=0",
        "allocation.round=1.5",
        "allocation.parallel=0",
        "allocation.exploration=-1",
        "allocation.min_gain=1",
        "allocation.min_gain=.nan",
    ],
)
def test_a_bad_allocation_is_refused_by_its_key(override):
    with pytest.raises(BadInput, match=override.partition("=")[0]):
        load("configs/lab.yaml", [override])
