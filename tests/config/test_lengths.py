"""A context that is too small is known before the start, also where only the model's config.json says it."""

from __future__ import annotations

import json
import shutil

import pytest

from orchestrator.config.lengths import context
from orchestrator.config.loading import load
from orchestrator.config.models import model_facts, sections
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.config.schema import LAB_MODELS
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG

OWN = ["generator.engine.max_model_len=null", "verifier.engine.max_model_len=null"]


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 4096, "max_seq_len": 2048}, 2048),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
        ({"text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"hidden_size": 64}, None),
        ({"max_position_embeddings": "many"}, None),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 8192),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 40960, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 40960),
        (
            {
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope"},
            },
            4096,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": None}}, None),
    ],
)
def test_the_context_that_an_engine_derives_from_a_model(config, tokens):
    assert context(config) == tokens


def model(directory, name, **changes):
    shutil.copytree(LAB_MODELS / name, directory / name)
    path = directory / name / "config.json"
    changed = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
    return str(directory / name)


def prepared(directory, *overrides):
    return prepare(load(LAB_CONFIG, [f"runs={directory}/runs", "problems.limit=4", *overrides]))


@pytest.mark.parametrize(("pool", "name"), [("generator", "generator-s"), ("verifier", "prm")])
def test_a_model_whose_own_context_is_too_small_is_refused(tmp_path, pool, name):
    small = model(tmp_path, name, max_position_embeddings=64)
    with pytest.raises(BadInput) as error:
        prepared(tmp_path, *OWN, f"{pool}.model={small}")
    said = str(error.value)
    assert said.startswith(
        f"{pool}.model: {small!r} is not usable; problem lab-test-0000 has 42 prompt tokens"
    )
    assert "generator.max_tokens is 48; its config.json gives it a context of 64, and 90 are needed" in said
    assert "or problems.too_long=skip leaves out what does not fit" in said
    assert prepared(tmp_path, f"{pool}.model={small}").problems, "where the user says a length, that counts"


def test_the_labs_models_fit_their_own_context_and_one_that_says_nothing_is_not_refused(tmp_path):
    assert len(prepared(tmp_path, *OWN).problems) == 4
    unknown = model(tmp_path, "prm", max_position_embeddings=None)
    assert prepared(tmp_path, *OWN, f"verifier.model={unknown}").skipped == ()


@pytest.fixture
def mixed(tmp_path):
    """A file of puzzles' symbols, two problems of which are too long for a context of 100 after 48 tokens."""
    lengths = {"short": 10, "long": 53, "just": 52, "longer": 90, "first": 1}
    rows = [{"id": id, "problem": "1" * n, "answer": "1"} for id, n in lengths.items()]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "problems.source=file",
        f"problems.path={tmp_path}/p.jsonl",
        "problems.limit=null",
        "generator.engine.max_model_len=100",
    ]


def test_problems_that_are_too_long_are_skipped_and_counted(tmp_path, mixed):
    found = prepared(tmp_path, *mixed, "problems.too_long=skip")
    assert [problem.id for problem in found.problems] == ["short", "just", "first"]
    assert [len(prompt) for prompt in found.prompts] == [10, 52, 1]
    assert found.skipped == ("long", "longer")
    assert len(found.budget.shares) == 3
    with pytest.raises(
        BadInput, match=r"max_model_len: 100 .*problem longer has 90 prompt.* allowed: 138 or more; or "
    ):
        prepared(tmp_path, *mixed)


def test_where_all_are_too_long_nothing_is_left_to_skip(tmp_path, mixed):
    with pytest.raises(BadInput, match=r"problem first has 1 prompt tokens.*; allowed: 49 or more$"):
        prepared(tmp_path, *mixed, "problems.too_long=skip", "generator.engine.max_model_len=48")
    with pytest.raises(
        BadInput, match=r"problems\.too_long: 'truncate' is not usable; allowed: refuse or skip"
    ):
        prepared(tmp_path, "problems.too_long=truncate")


def test_what_is_skipped_is_no_part_of_the_run(tmp_path, mixed):
    skipping = prepared(tmp_path, *mixed, "problems.too_long=skip")
    rows = [row for row in (tmp_path / "p.jsonl").read_text().splitlines() if "long" not in row]
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    assert fingerprint(prepared(tmp_path, *mixed)) == fingerprint(skipping)


def test_a_context_that_the_engine_overrides_is_the_context(tmp_path):
    override = "generator.engine.hf_overrides={max_position_embeddings: 64}"
    with pytest.raises(BadInput, match=r"generator\.model.*a context of 64, and 90 are needed"):
        prepared(tmp_path, *OWN, override)
    small = model(tmp_path, "generator-s", max_position_embeddings=64)
    longer = "generator.engine.hf_overrides={max_position_embeddings: 512}"
    assert prepared(tmp_path, *OWN, f"generator.model={small}", longer).skipped == ()
    linear = "generator.engine.hf_overrides={rope_scaling: {rope_type: linear, factor: 2.0}}"
    assert prepared(tmp_path, *OWN, f"generator.model={small}", linear).skipped == ()


def test_layers_that_the_engine_overrides_are_the_ones_charged(tmp_path):
    usual = prepared(tmp_path)
    assert usual.verifier is not None
    for pool, costs in (("generator", usual.generator), ("verifier", usual.verifier.costs)):
        fewer = prepared(tmp_path, f"{pool}.engine.hf_overrides={{num_hidden_layers: 1}}")
        assert fewer.verifier is not None
        found = fewer.generator if pool == "generator" else fewer.verifier.costs
        assert found.position_flops * costs.full_layers == costs.position_flops
        assert found.full_layers == 1
        (facts,) = (model_facts(*each) for each in sections(fewer) if each[0] == pool)
        assert facts.parameters == found.n_parameters < costs.n_parameters


def test_a_configuration_from_elsewhere_is_refused_since_it_would_not_be_charged(tmp_path):
    with pytest.raises(BadInput, match=r"generator\.engine\.hf_config_path: 'x' .*allowed: hf_overrides"):
        prepared(tmp_path, "generator.engine.hf_config_path=x")


def test_overrides_that_are_no_mapping_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"generator\.engine\.hf_overrides: 'x' .*allowed: a mapping of keys"):
        prepared(tmp_path, "generator.engine.hf_overrides=x")
