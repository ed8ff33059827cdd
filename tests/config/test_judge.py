"""The section ``judge``: what is wrong with it is told before the start, and what it asks is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.endpoint import EndpointActor
from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.loading import load
from orchestrator.config.machine import pools_of
from orchestrator.config.models import sections
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.errors import BadInput
from orchestrator.problems.problem import Problem
from orchestrator.runs.session import pool_specs
from tests.support.paths import LAB_CONFIG
from tests.support.public_models import save_language_model, save_token_classifier

URL = "http://host:8000/v1"
WORDS = "judge.choices={N: 0, Y: 1}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "model"
    save_language_model(path, "qwen3")
    return path


def prepared(model: Path, *overrides: str) -> Prepared:
    own = [f"runs={model.parent}", "problems.limit=2", "problems.answers=judge", f"judge.model={model}"]
    return prepare(load(LAB_CONFIG, [*own, WORDS, *overrides]))


def test_a_judge_has_a_pool_of_its_own_and_costs_of_the_rows_that_are_read(model):
    run = prepared(model, "judge.replicas=2")
    assert run.judge is not None
    assert run.judge.reading.tokens == ("N", "Y")
    assert run.judge.costs.head_flops == 2 * 64 * 2
    assert run.judge.limit == 1024
    spec = pool_specs(run).judge
    assert spec is not None
    assert (spec.name, spec.replicas, spec.options["reading"]) == ("judge", 2, run.judge.reading)
    assert pool_specs(run).started[-1] == spec
    assert [role for role, _ in sections(run)] == ["generator", "verifier", "judge"]
    assert [pool.role for pool in pools_of(run.config, revises=False)] == ["generator", "verifier", "judge"]


def test_a_question_is_filled_in_one_pass_and_asked_in_the_models_own_template(model):
    run = prepared(
        model, "judge.template='{problem}|{truth}|{answer}|{solution}|{choices}'", "judge.system=S"
    )
    assert run.judge is not None
    problem = Problem("p", "{answer}?", "1", also=("one",), choices=("a", "b"))
    text = run.judge.question.tokenizer.decode(run.judge.tokens(problem, "{truth}", "so {problem}"))
    assert "<|im_start|>system\nS<|im_end|>" in text
    assert "{answer}?\n\n(A) a\n(B) b|1 or one|{truth}|so {problem}|N or Y<|im_end|>" in text
    assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["judge.model=null"], r"judge\.model: null is not usable; needed with problems\.answers=judge"),
        (["problems.answers=math"], r"judge\.model: .*it would judge nothing: problems\.answers is math"),
        (["judge.template='{truth}?'"], r"judge\.template: .*it must contain \{answer\}"),
        (["judge.choices={N: 0, Y: 2}"], r"judge\.choices\.Y: 2.*allowed: 0 to 1"),
        (["judge.choices={N: 0, Y: 0}"], r"judge\.choices: .*not all of one value"),
        (["judge.choices={N: 0, 'no way': 1}"], r"judge\.choices: 'no way' .*words of one token each"),
        (["judge.flops=0"], r"judge\.flops: 0\.0 .*above 0, or null"),
        (["judge.endpoint=here"], r"judge\.endpoint\.url: 'here' .*a base URL"),
        (
            [f"judge.endpoint={URL}", "judge.engine={max_model_len: 9}"],
            r"judge\.engine: .*of its own",
        ),
        ([f"judge.endpoint={URL}", "judge.replicas=3"], r"judge\.replicas: 3 .*of its own"),
        ([f"judge.endpoint={URL}", "judge.max_tokens=0"], r"judge\.max_tokens: 0"),
        (["judge.replicas=0"], r"judge\.replicas: 0"),
        (["judge.engine={model: x}"], r"judge\.engine\.model: 'x'"),
        (["judge.model=/nowhere"], r"judge\.model: '/nowhere'"),
    ],
)
def test_what_is_wrong_with_a_judge_is_told_before_the_start(model, overrides, said):
    with pytest.raises(BadInput, match=said):
        prepared(model, *overrides)


def test_a_judge_at_an_endpoint_needs_no_machine_and_is_charged_for_what_it_writes(model):
    run = prepared(model, f"judge.endpoint={URL}", "judge.choices={}", "judge.max_tokens=9")
    assert run.judge is not None
    assert run.judge.costs.head_flops > 2 * 64 * 2, "all rows of its head"
    assert run.judge.cost(10, 9) == run.judge.costs.prefill(10) + run.judge.costs.sample(10, 9)
    spec = pool_specs(run).judge
    assert spec is not None
    assert (spec.replica, spec.replicas, spec.num_cpus) == (EndpointActor, 1, 0)
    assert (spec.options["url"], spec.options["served"]) == (URL, str(model))
    frame = spec.options["frame"]
    assert frame.question(f"{frame.before}why?{frame.after}") == "why?"
    same = prepared(model, "judge.choices={}", "judge.max_tokens=9", "judge.endpoint=http://other:1/v1")
    assert fingerprint(same.config) == fingerprint(run.config)


def test_a_reward_model_is_no_judge(model, tmp_path):
    save_token_classifier(tmp_path / "trl")
    with pytest.raises(BadInput, match=r"judge\.model: .*needed: a causal language model"):
        prepared(model, f"judge.model={tmp_path}/trl")


def test_a_judge_is_part_of_a_runs_fingerprint_where_there_is_one(model):
    usual = load(LAB_CONFIG)
    run = prepared(model).config
    assert "judge" in str(run)
    assert fingerprint(usual) == fingerprint(load(LAB_CONFIG, ["judge.replicas=3", "judge.dtype=bfloat16"]))
    other = prepared(model, "judge.template='{answer} {choices}'").config
    more = prepared(model, "judge.replicas=2").config
    assert fingerprint(run) == fingerprint(more)
    assert len({fingerprint(each) for each in (usual, run, other)}) == 3
