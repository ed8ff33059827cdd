"""Characters that a tokenizer has no token for are told before a run, in a check and as it starts."""

from __future__ import annotations

import json

import pytest

from orchestrator.config.letters import lost_of
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.schema import LAB_MODELS
from orchestrator.config.warnings import warnings_of
from orchestrator.errors import BadInput
from orchestrator.problems.codec import load_tokenizer
from tests.support.paths import LAB_CONFIG
from tests.support.public_models import save_language_model


@pytest.mark.parametrize(
    ("text", "lost"), [("12 =\n.3", ""), ("1+é1", "+é"), ("１２", "１２"), ("ab", "ab"), ("", "")]
)
def test_what_the_labs_tokenizer_loses(text, lost):
    assert lost_of(load_tokenizer(str(LAB_MODELS / "generator-s"), key="x"), text) == lost


def test_a_tokenizer_of_bytes_loses_nothing(tmp_path):
    save_language_model(tmp_path / "model", "qwen3")
    tokenizer = load_tokenizer(str(tmp_path / "model"), key="x")
    assert lost_of(tokenizer, "é ß 漢字 e\u0301 <|im_start|> do not, n't 🙂\t½") == ""


def test_the_problems_that_a_model_cannot_read_are_warned_of_with_their_characters(tmp_path):
    problems = [{"problem": text, "answer": "3"} for text in ("12+é=", "12=", "abcdefg=")]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, problems)))
    own = ["problems.source=jsonl", f"problems.path={path}", "problems.limit=3", f"runs={tmp_path}"]
    assert warnings_of(prepare(load(LAB_CONFIG, own))) == [
        "generator.model: its tokenizer has no token for '+', 'é', 'a', 'b', 'c' and 4 more, in 2 of 3 "
        "problems, such as p-00000: it cannot read them"
    ]
    assert warnings_of(prepare(load(LAB_CONFIG, ["problems.limit=4", f"runs={tmp_path}"]))) == []


def test_a_prompt_without_a_token_is_told_by_its_cause(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"problem": "What?", "answer": "3"}))
    own = ["problems.source=jsonl", f"problems.path={path}", "problems.limit=1", f"runs={tmp_path}"]
    said = "^generator.model: .* no token for any character of the prompt of problem p-00000, 'What"
    with pytest.raises(BadInput, match=said):
        prepare(load(LAB_CONFIG, [*own, 'problems.template="{problem}"']))
