"""What holds for every strategy, and for a user's own."""

from __future__ import annotations

import contextlib
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import SampleRequest
from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.errors import BadInput
from orchestrator.runs.assembly import controller_of
from orchestrator.runs.session import pool_specs
from orchestrator.strategies.registry import REGISTRY, find
from tests.support.paths import LAB_CONFIG, OWN_STRATEGY
from tests.support.scripted import EOS, POLICY, SMALL, ScriptedEngine, letters, operations


async def test_best_of_n_samples_n_whole_independent_solutions():
    engine = ScriptedEngine(letters(3))
    nodes = await find("best_of_n")(operations(engine), n=5)
    assert [node.path for node in nodes] == [(i,) for i in range(5)]
    assert all(node.finished and len(node.scores) == 3 for node in nodes)
    assert len({request.seed for request in engine.samples}) == 5
    assert {request.until for request in engine.samples} == {"end"}


async def test_early_rejection_gives_a_path_up_at_its_first_poor_step_and_begins_others():
    def judge(text: str) -> float:
        return 0.05 if "d" in text else 0.9

    engine = ScriptedEngine(letters(3, length=1), judge)
    ops = operations(engine)
    nodes = await find("early_rejection")(ops, n=20, width=3, threshold=0.1)
    depths = {len(node.path) for node in nodes}
    assert len({request.id.split("/")[-1].split(".")[0] for request in engine.samples}) == 20
    assert depths == {3}
    for node in nodes:  # only the last step may be a poor one
        assert all(score >= 0.1 for score in node.scores[:-1])
    whole = operations(ScriptedEngine(letters(3, length=1), judge))
    assert len(nodes) < len(await find("early_rejection")(whole, n=20, width=3, threshold=0)) == 20
    assert ops.usage.flops < whole.usage.flops


@pytest.mark.parametrize(("stop", "begun"), [(0.8, 6), (0.96, 20), (1.0, 20)])
async def test_early_rejection_begins_no_more_once_a_finished_path_is_good_enough(stop, begun):
    # The fifth path is the first good one to the end; its group of three is the second.
    def judge(text: str) -> float:
        return 0.95 if text.endswith("$") and "good" in text else 0.5

    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        return "good" + EOS if request.id.endswith("/4") else "poor" + EOS

    engine = ScriptedEngine(write, judge)
    nodes = await find("early_rejection")(operations(engine), n=20, width=3, threshold=0.1, stop=stop)
    assert len(engine.samples) == len(nodes) == begun


def of_any_length(request: SampleRequest, text: str, rng: random.Random) -> str:
    """Each step, the first too, may be the last."""
    if request.until == "end":
        return "ab\n" * rng.randrange(4) + f"ab{EOS}"
    return letters(1 if rng.random() < 0.3 else 99)(request, text, rng)


@pytest.mark.parametrize("name", sorted(REGISTRY))
@settings(max_examples=20)
@given(share=st.floats(0, 1), jitter=st.randoms(use_true_random=False))
async def test_every_strategy_is_anytime(name, share, jitter):
    """Cut at any share of what it would spend, a search never overdraws, and returns finished nodes
    that it would return uncut."""

    async def search(budget):
        ops = operations(ScriptedEngine(of_any_length, jitter=jitter), budget=budget)
        try:
            nodes = await find(name)(ops, **SMALL.get(name, {"n": 8}))
        except BudgetExhausted:
            await ops.drain()
            nodes = ops.finished
            assert all(node.finished for node in nodes)
        assert ops._lease.settled <= budget
        assert ops._lease.reserved == 0
        return ops._lease.settled, [node.tokens for node in nodes], {node.path for node in nodes}

    spent, solutions, paths = await search(10**12)
    if name == "compute_optimal":  # what it runs depends on the budget
        await search(int(share * spent))
        return
    _, found, its_paths = await search(int(share * spent))
    assert len(found) <= len(solutions)
    if name in ("particle_filtering", "dvts"):  # a finished path may be dropped for another later
        return
    assert its_paths <= paths
    assert set(found) <= set(solutions)


@pytest.mark.parametrize("name", ["beam_search", "rebase", "dvts", "particle_filtering"])
async def test_a_search_that_is_cut_in_its_last_round_answers_with_what_it_finished_there(name):
    whole = operations(ScriptedEngine(letters(4)))
    await find(name)(whole, n=16)
    ops = operations(ScriptedEngine(letters(4)), budget=int(0.95 * whole.usage.flops))
    with pytest.raises(BudgetExhausted):
        await find(name)(ops, n=16)
    assert 8 <= len(ops.finished) < 16


@pytest.mark.parametrize("name", sorted(REGISTRY))
async def test_what_was_finished_before_a_strategy_began_is_still_an_answer_when_it_is_cut(name):
    whole = operations(ScriptedEngine(letters(4)))
    await find(name)(whole, **SMALL.get(name, {"n": 8}))
    ops = operations(ScriptedEngine(letters(4)), budget=whole.usage.flops)
    earlier = await ops.sample(ops.root, 2, until="end")
    with contextlib.suppress(BudgetExhausted):
        await find(name)(ops, **SMALL.get(name, {"n": 8}))
    assert {node.path for node in earlier} <= {node.path for node in ops.finished}


def test_every_strategy_is_documented_and_has_defaults():
    for name, strategy in REGISTRY.items():
        assert strategy.search.__doc__
        assert strategy.parameters({"policy": POLICY} if name == "compute_optimal" else {})


@pytest.mark.parametrize(
    ("name", "given", "key", "allowed"),
    [
        ("beam", {}, "strategy.name", "beam_search, best_of_n"),
        ("self_consistency", {}, "strategy.name", "is best_of_n, read by the rule majority"),
        ("beam_search", {"width": "root"}, "strategy.width", "type int or sqrt"),
        ("lookahead", {"n": 8, "width": "sqrt"}, "strategy.n", "squares, as 4, 16, 64, 256"),
        ("best_of_n", {"n": 0}, "strategy.n", "1 or more"),
        ("best_of_n", {"n": 2.5}, "strategy.n", "type int"),
        ("best_of_n", {"n": True}, "strategy.n", "type int"),
        ("best_of_n", {"width": 4}, "strategy.width", "best_of_n takes n"),
        ("lookahead", {"k": -1}, "strategy.k", "0 or more"),
        ("rebase", {"temperature": 0}, "strategy.temperature", "above 0"),
        ("particle_filtering", {"temperature": -1.0}, "strategy.temperature", "above 0"),
        ("mcts", {"exploration": -0.1}, "strategy.exploration", "0 or more"),
        ("mcts", {"exploration": math.nan}, "strategy.exploration", "0 or more"),
        ("mcts", {"exploration": math.inf}, "strategy.exploration", "0 or more"),
        ("rebase", {"temperature": math.nan}, "strategy.temperature", "above 0"),
        ("particle_filtering", {"temperature": math.nan}, "strategy.temperature", "above 0"),
        ("early_rejection", {"threshold": math.nan}, "strategy.threshold", "0 "),
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


OWN = f"{OWN_STRATEGY}:until_two_agree"


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
        (f"{OWN_STRATEGY}:ghost", "no coroutine function"),
        (f"{OWN_STRATEGY}:Counter", "no coroutine function"),
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


REVISES = """
async def chain(ops, *, length: int = 3):
    attempts = []
    for _ in range(length):
        attempts += await ops.revise([attempts])
    return attempts
"""


async def test_a_users_own_strategy_may_revise_without_saying_so(tmp_path):
    (tmp_path / "own.py").write_text(REVISES)
    own = [f"strategy={{name: '{tmp_path}/own.py:chain'}}", f"runs={tmp_path}", "problems.limit=1"]

    def prepared(*overrides):
        ready = prepare(load(LAB_CONFIG, [*own, *overrides]))
        return ready, pool_specs(ready)

    generators, pools = prepared()
    assert generators.reviser is generators.generator
    assert pools.reviser == pools.generator
    assert len(pools.started) == 2, "no engine more than without"
    revisers, pools = prepared("reviser.model=${lab:reviser}")
    assert revisers.reviser not in (None, revisers.generator)
    assert pools.reviser is not None
    assert pools.reviser.model.endswith("reviser")
    plain, _ = prepared("strategy={name: best_of_n, n: 4}")
    assert plain.reviser is None
    assert plain.budget == generators.budget == revisers.budget

    assert controller_of(generators, ScriptedEngine(), None).context.reviser is generators.reviser
    assert len(await find(generators.config.strategy["name"])(operations(ScriptedEngine()), length=3)) == 3


@pytest.mark.parametrize(
    ("signature", "given", "said"),
    [
        ("ops, n", {}, "its parameter n needs a default"),
        ("ops, n, /", {"n": 1}, "its parameter n needs a default"),
        ("ops, *, n", {"n": 1}, "its parameter n needs a default"),
        ("", {}, r"its first parameter must be the operations: \(ops, …\)"),
        ("*, n=1", {}, r"its first parameter must be the operations: \(ops, …\)"),
        ("ops", {"n": 8}, "takes no parameters"),
        ("ops, n=16", {"ops": 8}, "takes n"),
        ("ops, n=16", {"n": "many"}, "type int"),
    ],
)
def test_a_function_that_no_configuration_can_call_is_said(tmp_path, signature, given, said):
    (tmp_path / "own.py").write_text(f"async def f({signature}): return []")
    with pytest.raises(BadInput, match=said) as caught:
        find(f"{tmp_path / 'own.py'}:f").parameters(given)
    assert "\n" not in str(caught.value)


async def test_a_users_own_parameters_need_not_be_keyword_only(tmp_path):
    (tmp_path / "own.py").write_text("async def f(ops, n=16): return await ops.sample(ops.root, n)")
    own = find(f"{tmp_path / 'own.py'}:f")
    assert own.parameters({}) == {"n": 16}
    assert len(await own(operations(ScriptedEngine()), **own.parameters({"n": 8}))) == 8
