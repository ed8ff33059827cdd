"""Allocation by a policy: near the best plan, within the budget, the estimate first, the same each time."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.compute_optimal import NOTHING, ComputeOptimal
from orchestrator.allocation.policy import Choice, Policy, Row, read_policy
from orchestrator.allocation.rounds import REFUSED, Asking
from orchestrator.budget.ledger import Lease
from orchestrator.config.checks import check_strategy
from orchestrator.config.loading import load
from orchestrator.errors import BadInput
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import digest
from orchestrator.search.selection import Candidate
from orchestrator.strategies.registry import find, resolve
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, POLICY, ScriptedEngine, letters, setting

ESTIMATE = 4.0
BEST_OF_N, OTHER = {"name": "best_of_n", "n": 8}, {"name": "beam_search", "n": 8, "width": 4}


def policy(*bins: list[tuple[float, float, dict]]) -> ComputeOptimal:
    """By bin: (accuracy, FLOPs, strategy) at each budget."""
    rows = [
        Row(10.0 ** (1 + i), tuple(Choice(strategy, accuracy, flops, 9) for accuracy, flops, strategy in row))
        for i, row in enumerate(zip(*bins, strict=True))
    ]
    cuts = tuple(1 - (b + 1) / len(bins) for b in range(len(bins) - 1))
    return ComputeOptimal(Policy("t", "weighted", "g", "v", "last", 2, cuts, ESTIMATE, tuple(rows)))


choices = st.tuples(st.floats(0, 1), st.floats(0.5, 50), st.sampled_from([BEST_OF_N, OTHER]))
tables = st.integers(1, 3).flatmap(
    lambda rows: st.lists(st.lists(choices, min_size=rows, max_size=rows), min_size=1, max_size=3)
)


def worth(allocation: ComputeOptimal, bins: list[int], rows: tuple[int, ...]) -> tuple[float, float]:
    """(accuracy, FLOPs) that the policy expects of these rows."""
    accuracy = flops = 0.0
    for number, row in zip(bins, rows, strict=True):
        if row != NOTHING:
            choice = allocation.learned.rows[row].bins[number - 1]
            accuracy += choice.accuracy
            flops += max(0.0, choice.flops - (ESTIMATE if choice.strategy is BEST_OF_N else 0.0))
    return accuracy, flops


@given(tables, st.data())
def test_the_plan_is_the_best_but_for_one_step(table, data):
    allocation = policy(*table)
    bins = data.draw(st.lists(st.integers(1, len(table)), min_size=1, max_size=4))
    left = data.draw(st.floats(0, 120))
    accuracy, flops = worth(allocation, bins, tuple(allocation.plan(bins, left)))
    assert flops <= left + 1e-6
    rows = range(NOTHING, len(table[0]))
    every = (worth(allocation, bins, each) for each in product(rows, repeat=len(bins)))
    best = max(gain for gain, cost in every if cost <= left)
    gains = [step.gain for number in set(bins) for step in allocation.steps(number)]
    assert accuracy >= best - max(gains, default=0.0) - 1e-9


def test_what_the_estimate_pays_for_is_taken_first_and_then_the_steepest_step():
    allocation = policy(
        [(0.9, ESTIMATE, BEST_OF_N), (1.0, 44.0, BEST_OF_N)],  # nothing more to pay, then .1 for 40
        [(0.1, 10.0, OTHER), (0.8, 30.0, OTHER)],  # .8 for 30 is steeper than .1 for 10
    )
    assert allocation.plan([1, 2, 2], 0) == [0, NOTHING, NOTHING]
    assert allocation.plan([1, 2, 2], 35) == [0, 1, NOTHING]
    assert allocation.plan([1, 2, 2], 60) == [0, 1, 1]
    assert allocation.plan([1, 2, 2], 100) == [1, 1, 1]


def test_what_the_estimates_own_samples_answer_is_no_gain_of_the_first_step():
    """Bin 1 is solved by the estimate, bin 2 is not: the little that is left buys steps in bin 2."""
    table = [(1.0, 20.0, OTHER)], [(0.5, 20.0, OTHER)]
    unsaid, told = policy(*table), policy(*table)
    told = ComputeOptimal(replace(told.learned, estimate_accuracy=(0.99, 0.0)))
    assert unsaid.plan([1, 2], 20) == [0, NOTHING]
    assert told.plan([1, 2], 20) == [NOTHING, 0]
    assert [step.gain for step in told.steps(1)] == [pytest.approx(0.01)]


def test_a_bin_that_nothing_was_measured_for_gets_its_estimate_alone():
    nan = float("nan")
    assert policy([(nan, nan, OTHER)], [(0.5, 10.0, OTHER)]).plan([1, 2], 100) == [NOTHING, 0]


def test_what_is_granted_makes_each_problem_run_the_row_that_was_planned_for_it():
    each = 10  # FLOPs of a solution
    sizes, gains = (4, 8, 16, 32), {1: (0.9, 0.92, 0.93, 0.94), 2: (0.1, 0.3, 0.5, 0.6)}
    rows = tuple(
        Row(
            n * each,
            tuple(Choice({"name": "best_of_n", "n": n}, gains[b][i], n * each, 9) for b in (1, 2)),
        )
        for i, n in enumerate(sizes)
    )
    allocation = ComputeOptimal(Policy("t", "weighted", "g", "v", "last", 4, (0.5,), 4 * each, rows))
    bins = [1] * 10 + [2] * 10
    asking = [Asking([Candidate("a", 1.0 if b == 1 else 0.0)] * 4, each, each, 4 * each) for b in bins]
    for left in (900, 1500, 4000):
        plan = allocation.plan(bins, left)
        assert max(plan) > 0
        for b, one, row, grant in zip(bins, asking, plan, allocation(asking, left), strict=True):
            funds = (grant or 0) * each
            run = allocation.learned.choice(float(b == 1), funds, one.spent)
            assert run == rows[max(row, 0)].bins[b - 1]
            assert grant is None if row == 0 else grant == sizes[row] - 4


def test_a_problem_whose_estimate_cannot_be_paid_is_refused_and_not_told_as_done():
    allocation = policy([(0.5, 10.0, OTHER)])
    poor = [Asking([], 8, 8, 0)] * 3
    assert allocation(poor, 20) == [2, REFUSED, REFUSED]


# The test policy's thresholds are .3 and .2 of the scripted scores: a problem's letters make its bin.
EASY, MEDIUM = "a" * 3, "b" * 3
PROBLEMS = [Problem(f"p{i}", f"{EASY if i % 2 else MEDIUM}{i}?", "aaa\nbbb\nccc") for i in range(6)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]


async def run(budget: int, jitter: random.Random | None = None):
    engine = ScriptedEngine(letters(3), lambda text: 0.9 if EASY in text[:3] else 0.25, jitter=jitter)
    control = Controller(
        setting(engine), grader("exact"), Lease(budget), allocator=ComputeOptimal(read_policy(POLICY))
    )
    search = partial(find("compute_optimal").search, policy=POLICY)
    return control, await control.run(PROBLEMS, PROMPTS, search)


async def test_the_medium_problems_get_what_the_easy_ones_leave():
    control, results = await run(8_000_000)
    steps = [sum(len(s.step_scores) for s in result.solutions) for result in results]
    assert all(result.error is None for result in results)
    assert len({*steps[1::2]}) == 1
    assert min(steps[0::2]) > max(steps[1::2])
    assert control.usage.flops <= 8_000_000
    for seed in range(3):
        _, again = await run(8_000_000, random.Random(seed))
        assert digest(again) == digest(results)


@pytest.mark.parametrize("budget", [1, 10**5, 10**6, 3 * 10**6, 10**8])
async def test_the_budget_is_kept_and_every_search_ends(budget):
    control, results = await run(budget)
    assert control.budget.settled == control.usage.flops <= budget
    assert control.budget.reserved == 0
    assert [result.error for result in results] == [None] * 6
    unpaid = [result for result in results if not result.solutions]
    assert all(result.exhausted for result in unpaid), "refused for want of money, which is said"


def test_it_needs_the_strategy_whose_policy_it_follows():
    def check(*overrides):
        config = load(LAB_CONFIG, overrides)
        check_strategy(config, resolve(config.strategy))

    with pytest.raises(BadInput, match=r"allocation.name.*with strategy compute_optimal"):
        check("allocation.name=compute_optimal")
    policy = ["strategy.name=compute_optimal", f"strategy.policy={POLICY}"]
    check(*policy, "allocation.name=compute_optimal")
    with pytest.raises(BadInput, match=r"allocation.name: 'adaptive'.*uniform or compute_optimal"):
        check(*policy, "allocation.name=adaptive")
