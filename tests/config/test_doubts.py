"""What is allowed and is often a mistake is told, and nothing is said where it is right."""

from __future__ import annotations

import json

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preview import preview
from tests.formats.families import qwen_prm
from tests.support.paths import CONFIGS
from tests.support.public_models import CHATML, save_language_model

ROWS = [{"problem": "How many is 48 + 24?", "answer": "72"}, {"problem": "And 5 + 5?", "answer": "10"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_language_model(path / "chat", "qwen3")
    save_language_model(path / "plain", "qwen3", template=None)
    # As a base model: its template ends a turn with a token at which it does not stop.
    save_language_model(path / "base", "qwen3", template=CHATML.replace("<|im_end|>", "<|im_start|>"))
    save_language_model(path / "begins", "qwen3", template="<|endoftext|><|endoftext|>" + CHATML)
    file = path / "begins" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bos_token": "<|endoftext|>"}))
    qwen_prm(path / "prm")
    return path


def doubts(models, *overrides: str, rows=ROWS) -> tuple[str, ...]:
    (models / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = models / "run.yaml"
    config = {
        "name": "run",
        "runs": str(models / "runs"),
        "problems": {
            "source": "file",
            "path": str(models / "problems.jsonl"),
            "answers": "math",
            "template": r"{problem} Use \boxed{}.",
        },
        "generator": {"model": str(models / "chat"), "chat": True, "max_tokens": 300},
        "verifier": {"model": str(models / "prm")},
        "strategy": {"name": "best_of_n", "n": 4},
        "budget": {"generations": 4},
    }
    path.write_text(json.dumps(config))
    return preview(load(path, overrides)).doubts


@pytest.mark.parametrize("overrides", [[], ["generator.model={plain}", "generator.chat=false"]])
def test_a_run_as_it_should_be_raises_none(models, overrides):
    assert doubts(models, *(each.format(plain=models / "plain") for each in overrides)) == ()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["generator.chat=false"], "generator.chat is false, and the model has a chat template"),
        (["generator.model={models}/base"], "ends an answer with '<|im_start|>'"),
        (["generator.model={models}/begins"], "begins with '<|endoftext|>' twice"),
        (["generator.max_tokens=970"], "generator.max_tokens: the longest prompt and solution take"),
        (["verifier.engine.max_model_len=256"], "verifier: its context is 256 tokens"),
        (["problems.answers=exact"], "problems.answers=exact takes the whole text"),
        (["problems.template='{{problem}}'"], "problems.template does not ask for \\boxed{}"),
        (["generator.temperature=0"], "generator.temperature is 0: the 4 samples"),
        (["budget.generations=2"], "the budget pays for 2 solutions a problem"),
        (["selection.generative=true", "selection.max_tokens=9"], "the budget pays for 3 solutions"),
        (
            ["selection.generative=true", "budget.generations=8", "selection.share=0.01"],
            "selection.share keeps 37.1 MFLOPs of a problem's budget, and a question about 4 solutions",
        ),
        (["generator.resources.num_gpus=1", "generator.dtype=float32"], "generator.dtype is float32"),
        ([r'generator.stop=["\n\n"]'], "generator.stop: '\\n\\n' is in what ends a step"),
        ([r'generator.stop=["\n"]'], "generator.stop: '\\n' is in what ends a step"),
        ([r'generator.stop=["\n\nQ:"]'], "generator.stop: '\\n\\nQ:' holds what ends a step"),
        (["generator.stop=[' ']"], "generator.stop: ' ' is white space alone"),
        (
            ["generator.step_delimiter={{regex: '## Step [0-9]+'}}", "generator.stop=['## Step 9']"],
            "generator.stop: '## Step 9' is in what ends a step",
        ),
        (["generator.step_delimiter='. '"], "generator.step_delimiter: a token holds '. '"),
    ],
)
def test_a_likely_mistake_is_told_with_its_key(models, overrides, words):
    found = doubts(models, *(each.format(models=models) for each in overrides))
    assert [words in doubt for doubt in found].count(True) == 1, found
    assert len(found) == 1, found


def test_of_a_group_no_more_solutions_are_doubted_than_there_can_be(models):
    asked = ["selection.generative=true", "budget.generations=8", "selection.share=0.01"]
    for more in (["selection.group=1000"], ["selection.candidates=4", "selection.group=9"]):
        (found,) = doubts(models, *asked, *more)
        assert "a question about 4 solutions" in found


def test_a_text_of_stop_ends_what_a_base_model_does_not(models):
    base = f"generator.model={models / 'base'}"
    assert doubts(models, base, "generator.stop=['<|im_start|>']") == ()


def test_thoughts_without_their_end_are_told(models, monkeypatch):
    monkeypatch.setattr("orchestrator.config.doubts.THINKING", "<extra_0>")
    (found,) = doubts(models)
    assert "end_of_thinking is null" in found
    assert doubts(models, "generator.end_of_thinking='<extra_0>'") == ()


def test_problems_that_are_asked_twice_or_left_out_are_counted(models):
    assert doubts(models, rows=[*ROWS, ROWS[0]]) == (
        "1 of 3 problems is the same as another: their prompts are equal",
    )
    long = {"problem": "How many? " * 100, "answer": "1"}
    (found,) = doubts(models, "problems.too_long=skip", rows=[*ROWS, long])
    assert found == "1 of 3 problems are left out: too long for a model"


def test_wrong_choices_that_are_the_same_are_counted(models):
    row = {"problem": "How many is 48 + 24?", "choices": ["7", "72", "7 "], "answer": "B"}
    rows = [row, {"problem": "And 5 + 5?", "choices": ["7", "10"], "answer": "B"}]
    (found,) = doubts(models, "problems.answers=choice", rows=rows)
    assert found == "1 of 2 problems have a wrong choice twice, such as problems-00000"


def test_a_delimiter_is_not_doubted_where_the_vocabulary_has_not_the_words_to_try_it():
    found = preview(load(CONFIGS / "coins.yaml", ["problems.limit=2"]))
    assert not any("step_delimiter" in doubt for doubt in found.doubts)
