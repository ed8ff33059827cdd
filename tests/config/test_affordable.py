"""A budget that buys nothing is refused before the start, and one that can gain little is warned of."""

from __future__ import annotations

import json

import pytest

from orchestrator.config.affordable import affordable
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.config.warnings import warnings_of
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import POLICY


def prepared(tmp_path, *overrides: str) -> Prepared:
    return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", *overrides]))


BEST = ("strategy.name=best_of_n", "strategy.n=4")
ROOM = ("generator.engine.max_model_len=400", "verifier.engine.max_model_len=400")
FEW = ("problems.limit=12", "budget.flops=4e8")


def test_shares_that_buy_no_first_solution_are_refused_with_what_would_help(tmp_path):
    with pytest.raises(
        BadInput, match=r"of 12 equal shares \(3\.33e\+07 FLOPs\) none buys a longest sol"
    ) as no:
        prepared(tmp_path, *BEST, *FEW)
    assert "FLOPs, problems.limit=3 or less or allocation.name=adaptive" in str(no.value)
    for mended in ("problems.limit=3", "allocation.name=adaptive"):
        assert warnings_of(prepared(tmp_path, *BEST, *FEW, mended)) == []


def test_the_limit_that_is_named_is_the_largest_that_buys_each_problem_a_solution(tmp_path):
    run = prepared(tmp_path, *BEST, *FEW, "problems.limit=3")
    assert all(share >= cost for share, cost in zip(run.budget.shares, run.whole, strict=True))
    with pytest.raises(BadInput):
        prepared(tmp_path, *BEST, *FEW, "problems.limit=4")
    assert [affordable(flops, [3, 5, 2]) for flops in (2, 3, 9, 10, 14, 15)] == [0, 1, 1, 2, 2, 3]


def test_shares_that_buy_steps_and_no_solution_are_warned_of(tmp_path):
    (line,) = warnings_of(prepared(tmp_path, "problems.limit=12", "budget.flops=8e8"))
    assert line.startswith("budget.flops: an equal share buys no longest solution of 12 of 12 problems")
    assert line.endswith("whole ones are bought with problems.limit=6")
    with pytest.raises(
        BadInput, match=r"none buys a longest step .*7\.46e\+08 FLOPs or problems.limit=1 or less$"
    ):
        prepared(tmp_path, "problems.limit=12", "budget.flops=1e8")


@pytest.mark.parametrize(
    ("overrides", "moves"),
    [
        (["strategy.name=best_of_n", "strategy.n=4"], True),
        (["strategy.name=beam_search"], False),
        (["strategy.name=mcts"], False),
        ([f"strategy={{name: compute_optimal, policy: {POLICY}}}", *ROOM], False),
    ],
)
def test_a_budget_that_moves_is_named_only_where_it_buys_solutions(tmp_path, overrides, moves):
    few = ["problems.limit=12", "budget.flops=1.3e8"]
    with pytest.raises(BadInput, match="equal shares") as refused:
        prepared(tmp_path, *overrides, *few)
    assert ("allocation.name=adaptive" in str(refused.value)) == moves


def test_of_a_users_own_strategy_it_is_not_known_that_it_scores_its_first_step(tmp_path):
    (tmp_path / "own.py").write_text("async def f(ops):\n    return await ops.sample(ops.root, 1)\n")
    own = f"strategy={{name: '{tmp_path}/own.py:f'}}"
    run = prepared(tmp_path, own, "problems.limit=12", "budget.flops=4e8")
    assert len(warnings_of(run)) == 1
    with pytest.raises(BadInput, match=r"none buys a longest step with its prompt \(2\.\d+e\+07"):
        prepared(tmp_path, own, "problems.limit=12", "budget.flops=2e8")


def test_a_budget_that_moves_must_buy_one_solution(tmp_path):
    with pytest.raises(BadInput, match=r"the cheapest longest solution costs 1\.17e\+08 FLOPs"):
        prepared(tmp_path, "problems.limit=12", "allocation.name=adaptive", "budget.flops=1e8")


def test_generations_of_shorter_solutions_than_a_sample_reserves_are_refused(tmp_path):
    short = ("problems.limit=4", "budget.generations=1", "budget.solution_tokens=4")
    with pytest.raises(BadInput, match=r"budget\.generations: 1 .*none buys a longest solution"):
        prepared(tmp_path, *BEST, *short)
    assert warnings_of(prepared(tmp_path, *BEST, "problems.limit=4", "budget.generations=1")) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("problems.limit=5000", "problems.limit is 5,000, and there are 2,000 problems"),
        (
            "generator.temperature=0",
            "generator.temperature is 0: the 32 samples of strategy.n are all the same",
        ),
        ("strategy.max_rounds=1", "strategy.max_rounds is 1, and the shortest answer has 6 steps"),
        ("strategy.max_rounds=5", "strategy.max_rounds is 5, and the shortest answer has 6 steps"),
    ],
)
def test_what_can_gain_nothing_is_warned_of(tmp_path, override, words):
    plain = ("problems.limit=8", "budget.flops=1e12")
    assert warnings_of(prepared(tmp_path, *plain)) == []
    (line,) = warnings_of(prepared(tmp_path, *plain, override))
    assert words in line


def test_a_prompt_without_a_token_is_refused(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({"problem": "1\n2\n", "answer": "1"}) + "\n")
    source = (f"problems={{source: file, path: {path}}}", *BEST)
    prepared(tmp_path, *source)
    path.write_text("\n".join(json.dumps({"problem": text, "answer": "1"}) for text in ("1\n", "")) + "\n")
    with pytest.raises(BadInput, match=r"problem.*(without a token|empty)"):
        prepared(tmp_path, *source)


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("unit", ["flops", "tokens"])
def test_a_budget_that_is_no_number_is_refused_before_any_model_is_looked_at(amount, unit):
    with pytest.raises(
        BadInput, match=rf"budget\.{unit}: {amount} is not usable; allowed: a positive number"
    ):
        load(LAB_CONFIG, [f"budget.{unit}=.{amount}".replace(".-inf", "-.inf"), "generator.model=/no/such"])
