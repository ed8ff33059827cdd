"""What the generator's configuration leaves to the model is taken from it, and said."""

from __future__ import annotations

import json
import shutil

import pytest

from orchestrator.config.generator import delimiters, others
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.config.schema import LAB_MODELS
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG


def prepared(tmp_path, *overrides: str) -> Prepared:
    return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", *overrides]))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model"
    shutil.copytree(LAB_MODELS / "generator-s", path)
    own = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 1.0, "repetition_penalty": 1.2}
    (path / "generation_config.json").write_text(json.dumps(own))
    return path


def test_the_models_own_values_are_the_default_and_a_key_comes_first(tmp_path, model):
    run = prepared(tmp_path, f"generator.model={model}", "generator.temperature=null", "generator.top_k=5")
    assert run.taken == {"temperature": 0.6, "repetition_penalty": 1.2}
    section = run.config.generator
    assert (section.temperature, section.top_k, section.top_p, section.min_p) == (0.6, 5, 1.0, 0.0)
    assert others(section) == {"top_k": 5, "repetition_penalty": 1.2}


def test_a_model_that_does_not_sample_by_itself_is_greedy(tmp_path, model):
    (model / "generation_config.json").write_text('{"do_sample": false}')
    run = prepared(tmp_path, f"generator.model={model}", "generator.temperature=null")
    assert run.config.generator.temperature == 0


def test_a_model_without_such_a_file_has_nothing_on(tmp_path, model):
    (model / "generation_config.json").unlink()
    run = prepared(tmp_path, f"generator.model={model}")
    assert (run.taken, others(run.config.generator), run.config.generator.temperature) == ({}, {}, 1.0)
    (model / "generation_config.json").write_text("{")
    with pytest.raises(BadInput, match=r"generator\.model.*generation_config\.json cannot be read"):
        prepared(tmp_path, f"generator.model={model}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator.temperature=-1", r"generator\.temperature: -1"),
        ("generator.temperature=.inf", r"generator\.temperature: inf"),
        ("generator.top_k=-2", r"generator\.top_k: -2.*0 or more"),
        ("generator.min_p=1.5", r"generator\.min_p: 1\.5.*0 to 1"),
        ("generator.repetition_penalty=0", r"generator\.repetition_penalty: 0"),
        ("generator.presence_penalty=3", r"generator\.presence_penalty: 3.*-2 to 2"),
        ("generator.step_delimiter=[]", r"generator\.step_delimiter"),
        ("generator.step_delimiter=[a, '']", r"generator\.step_delimiter"),
        ("generator.step_delimiter=3", r"generator\.step_delimiter: 3"),
        ("generator.stop=['']", r"generator\.stop"),
        ("generator.step_delimiter={regex: '('}", r"generator\.step_delimiter\.regex.*is not one"),
        (
            "generator.step_delimiter={regex: 'a*'}",
            r"generator\.step_delimiter\.regex.*where there is nothing",
        ),
        ("generator.step_delimiter={expression: a}", r"generator\.step_delimiter.*allowed: \{regex"),
        ("generator.system=Hello", r"generator\.system: 'Hello'.*generator\.chat=true"),
        ("generator.examples=[{user: a}]", r"generator\.examples"),
        ("generator.chat_options={enable_thinking: false}", r"generator\.chat_options"),
        *(
            (
                f"generator.chat_options={{{name}: x}}",
                rf"generator\.chat_options\.{name}: 'x'.*variables that",
            )
            for name in ("tokenize", "add_generation_prompt", "messages", "return_dict")
        ),
        (
            "generator.chat_options={chat_template: x}",
            r"chat_options\.chat_template: 'x'.*set generator\.chat_t",
        ),
        ("generator.engine.override_generation_config={top_k: 1}", "it would change nothing"),
        ("generator.engine.enable_lora=true", "it would change nothing"),
        ("verifier.engine.trust_remote_code=true", r"set verifier\.trust_remote_code"),
        ("verifier.engine.revision=main", r"set verifier\.revision"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, override, words):
    with pytest.raises(BadInput, match=words):
        prepared(tmp_path, override)


def test_delimiters_are_one_several_or_none(tmp_path):
    assert delimiters(prepared(tmp_path, r'generator.step_delimiter=["\n", ";"]').config.generator) == (
        "\n",
        ";",
    )
    assert delimiters(prepared(tmp_path, "generator.step_delimiter=null").config.generator) == ()


def test_a_quantised_model_in_float32_is_refused_before_vllm_does_in_many_lines(tmp_path, model):
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"generator\.dtype: 'float32'.*fp8.*allowed: auto"):
        prepared(tmp_path, f"generator.model={model}", "generator.dtype=float32")
    assert prepared(tmp_path, f"generator.model={model}", "generator.dtype=auto").problems
    with pytest.raises(BadInput, match=r"verifier\.dtype: 'float32'.*awq"):
        prepared(tmp_path, "verifier.engine.quantization=awq")


def test_a_delimiter_of_any_kind_takes_the_place_of_another(tmp_path):
    kinds = [r'"\n"', r'["\n", ";"]', "{regex: 'a+b'}", "null"]
    for below in kinds[:3]:
        for over in kinds:
            both = [f"generator.step_delimiter={below}", f"generator.step_delimiter={over}"]
            alone = load(LAB_CONFIG, both[1:]).generator.step_delimiter
            assert over == "null" or load(LAB_CONFIG, both).generator.step_delimiter == alone
    with pytest.raises(BadInput):
        load(LAB_CONFIG, ["generator.stop=[a]", "generator.stop={a: 1}"])


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            {"temperature": 2.5},
            r"generator\.temperature: 2\.5 .*generation_config\.json of .*allowed: 0 to 2",
        ),
        ({"temperature": "hot"}, r"generator\.temperature: 'hot'"),
        ({"top_k": 20.5}, r"generator\.top_k: 20\.5"),
        ({"repetition_penalty": 0}, r"generator\.repetition_penalty: 0"),
    ],
)
def test_a_models_own_value_that_no_engine_takes_is_refused(tmp_path, model, own, words):
    (model / "generation_config.json").write_text(json.dumps(own))
    with pytest.raises(BadInput, match=words):
        prepared(tmp_path, f"generator.model={model}", "generator.temperature=null")


def test_a_models_own_top_k_of_minus_one_is_off(tmp_path, model):
    (model / "generation_config.json").write_text('{"top_k": -1}')
    run = prepared(tmp_path, f"generator.model={model}")
    assert (run.taken, run.config.generator.top_k) == ({}, 0)
