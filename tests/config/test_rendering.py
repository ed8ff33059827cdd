"""Texts are shown as the models read them, with special tokens, and a mark where each score is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.config.rendering import (
    MARK,
    decoded,
    example_steps,
    specials,
    verifier_inputs,
    visible,
)
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.problems.sources import SOURCES
from tests.formats.families import FAMILIES, Family
from tests.support.paths import LAB_CONFIG
from tests.support.public_models import QUESTION, SPECIAL, save_language_model, save_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(st.data())
def test_a_text_with_marks_is_the_text_with_a_mark_a_read(tokenizer, data):
    pieces = st.sampled_from([*SPECIAL, "Natalia", " ", "\n", "ки", "漢", "«é»", "72"])
    text = "".join(data.draw(st.lists(pieces, min_size=1, max_size=20)))
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    reads = sorted(data.draw(st.sets(st.integers(1, len(tokens)), max_size=4)))
    shown = visible(tokenizer, tokens, reads)
    assert shown.count(MARK) == len(reads)
    assert shown.replace(MARK, "") == decoded(tokenizer, tokens) == text
    for number, read in enumerate(reads):
        before = MARK.join(shown.split(MARK)[: number + 1]).replace(MARK, "")
        assert decoded(tokenizer, tokens[:read]).rstrip("\ufffd") == before


def test_special_tokens_are_known_by_name(tokenizer):
    assert set(SPECIAL) <= set(specials(tokenizer))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_format_is_shown_with_the_places_that_it_reads(family, tmp_path):
    made: Family = family(tmp_path / "verifier")
    asked = dict(made.given)
    if asked.pop("whole", False):
        asked["kind"] = "orm"
    run = mine(tmp_path, made, **asked)
    steps = example_steps(run.codec, run.problems[0])
    inputs = verifier_inputs(run, steps)
    assert sum(text.count(MARK) for text in inputs) == (1 if made.whole else 2)
    assert all(steps[0].rstrip(".") in text for text in inputs), "the first step"
    assert QUESTION in inputs[0]
    last = inputs[-1].replace(MARK, "")
    assert r"\boxed{72}" in last


def test_two_steps_are_of_words_that_the_model_has(tokenizer):
    problem = Problem("p", "?", "642315\n563421\n215643")
    assert example_steps(Codec(tokenizer, "\n"), problem) == ("642315", "563421")
    assert example_steps(Codec(tokenizer, "\n\n"), Problem("p", "?", "72"))[1].endswith(r"\boxed{72}.")
    lab = prepare(load(LAB_CONFIG, ["problems.limit=1"])).codec
    assert example_steps(lab, Problem("p", "?", "123456")) == ("123", "456"), "its letters are digits"
    assert example_steps(lab, Problem("p", "?", "1")) == ("1", "1")


def test_a_source_that_knows_a_solution_gives_its_own_steps():
    run = prepare(load(LAB_CONFIG.with_name("coins.yaml"), ["problems.limit=1"]))
    (problem,) = run.problems
    steps = example_steps(run.codec, problem, SOURCES["coins"].solution(problem))
    assert steps[0].startswith("coin 1: ")
    assert steps[1] == f"the answer is {problem.answer}."
    (shown,) = verifier_inputs(run, steps)
    assert shown.count(MARK) == 2
    assert f"{steps[0]}\n{MARK}" in shown
    assert example_steps(run.codec, problem) != steps


def mine(tmp_path: Path, family: Family, **verifier: object) -> Prepared:
    save_language_model(tmp_path / "generator", "qwen3")
    (tmp_path / "problems.jsonl").write_text(json.dumps({"problem": QUESTION, "answer": "72"}))
    path = tmp_path / "mine.yaml"
    config = {
        "name": "mine",
        "runs": str(tmp_path / "runs"),
        "problems": {"source": "file", "path": str(tmp_path / "problems.jsonl"), "answers": "math"},
        "generator": {"model": str(tmp_path / "generator"), "max_tokens": 300},
        "verifier": {"model": str(family.directory), "format": family.name, **verifier},
        "strategy": {"name": "best_of_n", "n": 4},
        "budget": {"generations": 4},
    }
    path.write_text(json.dumps(config))
    return prepare(load(path))
