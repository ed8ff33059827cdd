"""The compute-optimal strategy: a few samples tell the bin, and the policy what to run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.errors import BadInput
from orchestrator.strategies.registry import find, resolve
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import EOS, POLICY, ScriptedEngine, letters, operations

EASY, MEDIUM, HARD = 0.9, 0.25, 0.1
RICH, POOR = 10**12, 650_000
"""Budgets that reach the policy's second row, and its first alone."""


async def searched(score: float, budget: int = RICH):
    engine = ScriptedEngine(letters(2), lambda text: score)
    ops = operations(engine, budget=budget)
    return engine, ops, await find("compute_optimal")(ops, policy=POLICY)


@pytest.mark.parametrize(
    ("score", "runs", "samples", "revisions", "steps"),
    [
        (EASY, "best_of_n", 6, 0, 0),  # best of 6: four that told the bin and two more
        (MEDIUM, "beam_search", 4, 0, 16),  # beam search of 8, two rounds
        (HARD, "revisions", 4, 4, 0),  # two chains of two revisions
    ],
)
async def test_the_bin_of_the_mean_score_says_what_runs(score, runs, samples, revisions, steps):
    engine, ops, nodes = await searched(score)
    assert ops.chosen.split()[0] == runs, "the results show it"
    untils = [request.until for request in engine.samples]
    assert (untils.count("end"), untils.count("step"), len(engine.revisions)) == (samples, steps, revisions)
    assert untils[:4] == ["end"] * 4, "the estimate comes first"
    assert [node.path for node in nodes[:4]] == [(0,), (1,), (2,), (3,)]
    assert all(node.finished and node.scores for node in nodes)
    assert len({node.path for node in nodes}) == len(nodes)


async def test_a_small_budget_takes_the_row_that_it_reaches():
    _, ops, nodes = await searched(MEDIUM, POOR)
    assert len(nodes) == 6, "best of 6 and not a beam search of 8"
    assert ops.usage.flops <= POOR


@pytest.mark.parametrize(("score", "whole"), [(EASY, 6), (MEDIUM, 8), (HARD, 4)])
async def test_what_it_chooses_it_can_pay_for(score, whole):
    """The second row's budget is 10^6 FLOPs: where it is chosen for less in all, samples of the estimate are
    the first of its own."""
    for budget in range(700_000, 1_500_000, 50_000):
        engine, _, nodes = await searched(score, budget)
        untils = [request.until for request in engine.samples]
        if score == MEDIUM and "step" in untils:
            assert len(nodes) == 4 + whole, "the beam search was not cut"
            assert budget > 1_000_000 / 1.1
        if score == HARD and engine.revisions:
            assert len(nodes) == 4 + whole


async def test_best_of_n_below_the_samples_of_the_estimate_is_those():
    engine, _, nodes = await searched(EASY, POOR)
    assert len(nodes) == len(engine.samples) == 4


async def test_solutions_that_a_strategy_returns_as_all_that_is_finished_are_there_once():
    _, _, nodes = await searched(HARD, POOR)  # dvts answers with all that is finished
    assert len(nodes) == 4 + 4
    assert len({node.path for node in nodes}) == 8


async def test_the_mean_decides_and_not_a_single_sample():
    def write(request, text, rng):
        return rng.choice(["a", "b"]) * 3 + EOS

    engine = ScriptedEngine(write, lambda text: float(text.endswith("aaa$")))
    ops = operations(engine)
    await find("compute_optimal")(ops, policy=POLICY)
    first = [node for node in ops.finished if node.path in {(0,), (1,), (2,), (3,)}]
    share = sum(ops.value(node) for node in first) / 4
    assert 0 < share < 1
    ran = "best_of_n" if share >= 0.3 else "beam_search"
    assert ("step" in {request.until for request in engine.samples}) == (ran == "beam_search")


async def test_timing_does_not_change_the_choice():
    async def found(jitter):
        ops = operations(ScriptedEngine(letters(3), jitter=jitter), budget=1_500_000)
        nodes = await find("compute_optimal")(ops, policy=POLICY)
        return [(node.path, node.tokens) for node in nodes], ops.usage.flops

    assert await found(None) == await found(random.Random(3)) == await found(random.Random(4))


def policy(tmp_path: Path, **changes) -> str:
    raw = yaml.safe_load(Path(POLICY).read_text()) | changes
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(raw))
    return str(tmp_path / "policy.yaml")


def chosen(tmp_path: Path, strategy: dict) -> str:
    raw = yaml.safe_load(Path(POLICY).read_text())
    raw["budgets"][0]["bins"][0]["strategy"] = strategy
    return policy(tmp_path, budgets=raw["budgets"])


def config(path: str, *overrides: str):
    named = ("strategy.name=compute_optimal", f"strategy.policy={path}")
    return load(
        LAB_CONFIG,
        [*named, "problems.limit=4", "reviser.format=lab", "generator.engine.max_model_len=400", *overrides],
    )


@pytest.mark.parametrize(("given", "compared"), [({}, 0), ({"distinct": True}, 8)])
async def test_a_policy_that_was_learned_before_strategies_looked_for_copies_runs_them_as_they_were(
    tmp_path, given, compared
):
    path = chosen(tmp_path, {"name": "dvts", "n": 4, "width": 2, **given})
    ops = operations(ScriptedEngine(letters(2), lambda text: EASY), budget=POOR)
    await find("compute_optimal")(ops, policy=path)
    assert ops.usage.compared == compared


def test_a_policy_needs_what_its_choices_need(tmp_path):
    row = {"accuracy": 0.5, "flops": 1.0, "problems": 1, "strategy": {"name": "best_of_n", "n": 2}}
    plain = [{"flops": 1.0, "bins": [row | {"bin": number} for number in (1, 2, 3)]}]

    def needed(path):
        return resolve({"name": "compute_optimal", "policy": path}).strategy.needs_reviser

    assert needed(POLICY)
    assert not needed(policy(tmp_path, budgets=plain))
    assert not resolve({"name": "best_of_n", "n": 4}).strategy.needs_reviser


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"name": "beam"}, "strategy.name: 'beam'"),
        ({"name": "best_of_n", "n": 0}, "strategy.n: 0"),
        ({"name": "compute_optimal", "policy": POLICY}, "cannot choose itself"),
    ],
)
def test_a_policy_that_chooses_what_cannot_run_is_refused(tmp_path, strategy, said):
    with pytest.raises(BadInput, match=said) as caught:
        prepare(config(chosen(tmp_path, strategy)))
    assert caught.value.key == "strategy.policy"


def test_a_policy_is_for_the_models_it_was_fitted_with(tmp_path):
    prepare(config(POLICY))
    with pytest.raises(BadInput, match="fitted with another; allowed: generator-s") as caught:
        prepare(config(POLICY, "generator.model=${lab:generator-m}"))
    assert caught.value.key == "generator.model"
    with pytest.raises(BadInput, match="fitted with another; allowed: prm") as caught:
        prepare(config(POLICY, "verifier.model=${lab:prm-weak}"))
    assert caught.value.key == "verifier.model"
    with pytest.raises(BadInput, match="allowed: last") as caught:
        prepare(config(POLICY, "verifier.aggregation=min"))
    assert caught.value.key == "verifier.aggregation"
    with pytest.raises(BadInput, match="needs a verifier"):
        prepare(config(POLICY, "verifier.model=null"))
    with pytest.raises(BadInput, match="ttc fit wrote"):
        prepare(config(str(tmp_path / "none.yaml")))


def test_another_policy_is_another_run(tmp_path):
    path = policy(tmp_path)
    before = fingerprint(prepare(config(path)))
    assert fingerprint(prepare(config(path))) == before
    policy(tmp_path, thresholds=[0.4, 0.2])
    assert fingerprint(prepare(config(path))) != before
