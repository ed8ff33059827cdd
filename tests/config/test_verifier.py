"""A verifier of the public formats is looked at, named and charged before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, fingerprint, prepare
from orchestrator.errors import BadInput
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import view_of
from tests.formats.families import math_shepherd, orm, qwen_prm, token
from tests.formats.test_formats import OWN
from tests.support.paths import LAB_CONFIG


def prepared(tmp_path: Path, *overrides: str) -> Prepared:
    return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", *overrides]))


def test_the_labs_own_verifier_reads_the_generators_token_ids(tmp_path):
    run = prepared(tmp_path)
    assert (run.config.verifier.format, run.config.verifier.kind) == ("steps", "prm")
    assert run.verifier is not None
    assert run.verifier.format is None


def test_a_verifier_of_another_vocabulary_goes_by_text_in_its_own_format(tmp_path):
    family = qwen_prm(tmp_path / "prm")
    run = prepared(tmp_path, f"verifier.model={family.directory}")
    assert (run.config.verifier.format, run.config.verifier.kind) == ("qwen-prm", "prm")
    assert run.verifier is not None
    assert run.verifier.reading.outputs == (1, 2)
    assert run.verifier.limit == 128
    longer = prepared(tmp_path, f"verifier.model={family.directory}", "verifier.engine.max_model_len=null")
    assert longer.verifier is not None
    assert longer.verifier.limit == 1024, "the model's own"


def test_a_reward_model_scores_whole_solutions(tmp_path):
    model = orm(tmp_path / "orm").directory
    run = prepared(tmp_path, f"verifier.model={model}", "strategy={name: best_of_n, n: 2}")
    assert (run.config.verifier.format, run.config.verifier.kind) == ("orm", "orm")
    with pytest.raises(
        BadInput, match=r"verifier\.model.*scores whole solutions, and beam_search goes by steps"
    ):
        prepared(tmp_path, f"verifier.model={model}", "strategy={name: beam_search, n: 4, width: 2}")
    with pytest.raises(BadInput, match=r"verifier\.kind: 'prm'.*allowed: orm"):
        prepared(tmp_path, f"verifier.model={model}", "verifier.kind=prm", "strategy={name: best_of_n, n: 2}")


def test_a_language_model_is_charged_for_the_rows_of_its_head_that_are_read(tmp_path):
    model = math_shepherd(tmp_path / "shepherd").directory
    with pytest.raises(BadInput, match=r"verifier\.format: null.*math-shepherd, rlhflow or judge"):
        prepared(tmp_path, f"verifier.model={model}")
    run = prepared(tmp_path, f"verifier.model={model}", "verifier.format=math-shepherd")
    assert run.verifier is not None
    assert run.verifier.costs.head_flops == 2 * 64 * 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["verifier.format=judge"], r"verifier\.model.*needed: a causal language model"),
        (["verifier.format=steps"], r"verifier\.model.*same vocabulary"),
        (["verifier.template='{problem} {solution}'"], r"verifier\.template.*verifier\.format=judge"),
        (["verifier.format=orm"], r"verifier\.model.*has 2 labels; format orm reads 1"),
        (["verifier.choices={a: 2}"], r"verifier\.choices\.a: 2.*allowed: 0 to 1"),
        (["verifier.token_ratio=0.5"], r"verifier\.token_ratio: 0\.5"),
    ],
)
def test_what_does_not_fit_is_told_before_the_start(tmp_path, overrides, words):
    model = token(tmp_path / "trl").directory
    with pytest.raises(BadInput, match=words):
        prepared(tmp_path, f"verifier.model={model}", *overrides)


def test_a_generator_is_no_reward_model_and_a_reward_model_no_generator(tmp_path):
    with pytest.raises(BadInput, match=r"generator\.model.*allowed: a causal language model"):
        prepared(tmp_path, "generator.model=${lab:prm}")


def test_generations_pay_for_best_of_n_with_what_is_granted_for_its_scores(tmp_path):
    model = orm(tmp_path / "orm").directory
    longer = ["generator.engine.max_model_len=null", "verifier.engine.max_model_len=null"]
    overrides = [
        f"verifier.model={model}",
        "strategy={name: best_of_n, n: 4}",
        "budget.generations=4",
        *longer,
    ]
    run = prepared(tmp_path, *overrides)
    view = view_of(
        run.problems[0], run.prompts[0], run.codec, run.verifier.costs, run.verifier.format, ratio=2.0
    )
    new = run.config.generator.max_tokens
    solution = run.generator.sample(len(run.prompts[0]), new) + view.worst(Node("", run.prompts[0]), new)
    assert run.budget.shares[0] == run.generator.prefill(len(run.prompts[0])) + 4 * solution


def test_a_run_whose_own_format_has_changed_is_another(tmp_path):
    file, model = tmp_path / "own.py", qwen_prm(tmp_path / "prm").directory
    file.write_text(OWN)
    overrides = [f"verifier.model={model}", f"verifier.format={file}:Own"]
    before = fingerprint(prepared(tmp_path, *overrides))
    assert fingerprint(prepared(tmp_path, *overrides)) == before
    file.write_text(OWN.replace("!", "?"))
    assert fingerprint(prepared(tmp_path, *overrides)) != before
