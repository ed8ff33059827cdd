"""The budget in any unit: what it converts to, and what that buys on an engine."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import UNITS, Budget, Price, convert, described
from orchestrator.errors import BadInput
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, GENERATOR, VERIFIER, ScriptedEngine, letters, setting

FULL = 32
"""Tokens of the longest solution, as the scripted setting has it."""
prompts = st.lists(st.integers(1, 60), min_size=1, max_size=5)
verifiers = st.sampled_from([None, VERIFIER])


def prices(lengths: list[int], verifier=VERIFIER, new: int = FULL) -> list[Price]:
    return [Price.of(length, new, GENERATOR, verifier) for length in lengths]


def test_an_orm_reads_the_prompt_with_each_solution():
    once, each = GENERATOR.prefill(40), GENERATOR.sample(40, FULL)
    assert Price.of(40, FULL, GENERATOR, VERIFIER, "orm") == Price(once, each + VERIFIER.score(0, 40 + FULL))


@given(prompts, verifiers, st.integers(1, 200), st.integers(1, 200))
def test_more_generations_are_more_flops_for_every_problem(lengths, verifier, n, more):
    few, many = (convert("generations", k, prices(lengths, verifier), FULL) for k in (n, n + more))
    assert few.flops < many.flops
    assert all(a < b for a, b in zip(few.shares, many.shares, strict=True))


@given(prompts, verifiers, st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_tokens_are_never_fewer_flops_and_a_token_more_for_each_is_more(lengths, verifier, n, more):
    table, least = prices(lengths, verifier), len(lengths)
    few, many = (convert("tokens", k, table, FULL).flops for k in (n + least, n + least + more))
    assert few <= many
    assert few < convert("tokens", n + 2 * least, table, FULL).flops


@given(prompts, verifiers, st.integers(1, 100), st.integers(1, FULL))
def test_generations_are_so_many_tokens_and_buy_themselves(lengths, verifier, n, new):
    table = prices(lengths, verifier, new)
    asked = convert("generations", n, table, new)
    assert asked.shares == convert("tokens", n * new * len(lengths), table, new).shares
    assert (asked.generations, asked.tokens) == pytest.approx((n, n * new * len(lengths)))
    back = convert("flops", asked.flops, table, new)
    assert back.flops == asked.flops == sum(asked.shares)
    assert sum(back.shares) <= back.flops


async def best_of(n: int, budget: Budget, lengths: list[int], verified: bool) -> tuple[Controller, list]:
    """Best-of-``n`` of full-length solutions under ``budget``."""

    def write(request, text, rng):
        return "x" * FULL

    shared = setting(ScriptedEngine(write))
    if not verified:
        object.__setattr__(shared, "verifier", None)
    problems = [Problem(f"p{i}", "1" * (length - 1) + "?", "") for i, length in enumerate(lengths)]
    controller = Controller(shared, grader("exact"), Lease(budget.flops), shares=budget.shares)
    tokens = [CODEC.encode(problem.prompt) for problem in problems]
    return controller, await controller.run(problems, tokens, partial(find("best_of_n").search, n=n))


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("n", [1, 4, 7])
async def test_n_generations_pay_for_n_full_solutions_of_each_problem_and_for_no_more(n, verified):
    lengths = [2, 5, 30]
    budget = convert("generations", n, prices(lengths, VERIFIER if verified else None), FULL)
    controller, results = await best_of(n, budget, lengths, verified)
    assert [len(result.solutions) for result in results] == [n] * 3
    assert not any(result.exhausted for result in results)
    assert controller.budget.settled == budget.flops

    _, cut = await best_of(n + 1, budget, lengths, verified)
    assert all(result.exhausted for result in cut)
    assert [len(result.solutions) for result in cut] == [n] * 3


async def test_a_generation_buys_more_of_shorter_solutions():
    budget = convert("generations", 4, prices([4]), FULL)
    engine = ScriptedEngine(letters(3))
    controller = Controller(setting(engine), grader("exact"), Lease(budget.flops), shares=budget.shares)
    problem = Problem("p", "1+1?", "")
    (result,) = await controller.run(
        [problem], [CODEC.encode(problem.prompt)], partial(find("best_of_n").search, n=99)
    )
    assert len(result.solutions) > 4


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf")])
def test_an_amount_that_is_none_names_its_key(unit, amount):
    with pytest.raises(BadInput, match=f"^budget.{unit}: "):
        convert(unit, amount, prices([4]), FULL)


def test_the_conversion_is_shown():
    asked, buys = described(convert("generations", 16, prices([4, 4]), FULL).to_dict())
    assert asked.startswith("16 generations a problem = ")
    assert asked.endswith(" a problem")
    assert buys == "16 solutions of 32 tokens a problem, 1,024 tokens in all"
