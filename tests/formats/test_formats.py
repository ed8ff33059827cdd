"""What each format shows a verifier and reads of it is what its publishers' own code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.formats.definition import Format, FormatFacts, Input
from orchestrator.formats.registry import STEPS, build, guessed
from orchestrator.formats.texts import shared_length
from tests.formats.families import FAMILIES, Family
from tests.support.public_models import QUESTION, save_language_model, save_tokenizer
from tests.support.public_models import STEPS as SOLUTION


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return request.param(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def format(family: Family) -> Format:
    return family.format()


@torch.no_grad()
def read(family: Family, format: Format, inputs: list[Input]) -> list[float]:
    """The scores by plain Transformers of what a format shows."""
    found = []
    for shown in inputs:
        outputs = family.outputs(torch.tensor([shown.tokens]))
        found += [format.reading(outputs[end - 1].tolist()) for end in shown.reads]
    return found


def test_the_scores_are_those_of_the_publishers_own_code(family: Family, format: Format) -> None:
    expected = family.reference(family.tokenizer, QUESTION, SOLUTION)
    found = read(family, format, format.inputs(QUESTION, SOLUTION, 0))
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(found) == (1 if format.whole else len(SOLUTION))
    assert max(found) - min(found) > 1e-3 or format.whole, (
        "a model that says the same everywhere tests nothing"
    )


def test_steps_that_come_one_by_one_have_the_scores_of_the_whole(family: Family, format: Format) -> None:
    if format.whole:
        pytest.skip("it has one score")
    whole = read(family, format, format.inputs(QUESTION, SOLUTION, 0))
    grown = [
        score
        for count in range(1, len(SOLUTION) + 1)
        for score in read(family, format, format.inputs(QUESTION, SOLUTION[:count], count - 1))
    ]
    assert grown == pytest.approx(whole, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.text(max_size=30).map(str.strip), min_size=1, max_size=5),
    question=st.text(min_size=1, max_size=30),
)
def test_any_text_has_a_place_for_each_step(format: Format, question: str, steps: list[str]) -> None:
    for first in range(len(steps)):
        inputs = format.inputs(question, steps, first)
        reads = [end for shown in inputs for end in shown.reads]
        assert len(reads) == (1 if format.whole else len(steps) - first)
        for shown in inputs:
            assert shown.reads[-1] == len(shown.tokens)
            assert list(shown.reads) == sorted(set(shown.reads))


def test_a_longer_path_begins_as_the_shorter_one(format: Format) -> None:
    """So that a verifier reads a path once, as it grows."""
    if format.whole:
        pytest.skip("it reads a solution at its end")
    (*_, short), (*_, long) = (format.inputs(QUESTION, SOLUTION[:n], n - 1) for n in (2, 3))
    kept = shared_length(short.tokens, long.tokens)
    opening = shared_length(format.opening(QUESTION), long.tokens)
    assert kept > opening > 0
    assert len(short.tokens) - kept <= format.overhead


GUESSES: list[tuple[dict[str, Any], str]] = [
    ({"architectures": ["Qwen2ForProcessRewardModel"]}, "qwen-prm"),
    ({"architectures": ["Qwen2ForRewardModel"]}, "orm"),
    ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 1}, "orm"),
    ({"architectures": ["Qwen2ForTokenClassification"], "id2label": {"0": "a", "1": "b"}}, "token"),
    ({"architectures": ["Qwen2ForTokenClassification"], "id2label": {"0": "a"}}, STEPS),
    (
        {"architectures": ["Qwen2ForTokenClassification"], "ttc_verifier_format": "skywork", "num_labels": 1},
        "skywork",
    ),
]


@pytest.mark.parametrize(("config", "format"), GUESSES, ids=lambda value: str(value)[:40])
def test_a_configuration_that_makes_the_format_certain(config: dict[str, Any], format: str) -> None:
    assert guessed("model", config) == format


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["MistralForCausalLM"]}, ["verifier.format", "math-shepherd, rlhflow or judge"]),
        ({"architectures": ["Qwen2ForPrmModel"]}, ["verifier.model", "ttc verifier convert"]),
        ({"architectures": ["BertModel"]}, ["verifier.format", "BertModel"]),
        ({}, ["verifier.format", "none"]),
    ],
)
def test_a_configuration_that_leaves_it_open_is_refused_with_what_can_be_done(
    config: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BadInput) as refused:
        guessed("model", config)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("language-model")
    save_language_model(path)
    return path


def facts(path: Path, **changes: Any) -> FormatFacts:
    from transformers import AutoTokenizer

    return FormatFacts(str(path), AutoTokenizer.from_pretrained(path), {}, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("judges", {}, ["verifier.format", "judges", "qwen-prm"]),
        ("judge", {"choices": {"Possibly": 0.0, "Never": 1.0}}, ["verifier.choices", "Possibly"]),
        ("judge", {"template": "Is {solution} right?"}, ["verifier.template", "{problem}"]),
        ("judge", {"template": "{solution} of {problem}"}, ["verifier.template", "comes before"]),
        ("judge", {"template": "{problem} {solution} {solution}"}, ["verifier.template", "{solution} once"]),
        ("judge", {"choices": {"+": 1.0}}, ["verifier.choices: {'+': 1.0}", "not all of one value"]),
        ("judge", {"choices": {"+": 0.5, "-": 0.5}}, ["verifier.choices: {'+'", "not all of one value"]),
        ("orm", {"whole": False}, ["verifier.kind", "prm", "orm"]),
        ("rlhflow", {"whole": True}, ["verifier.kind", "orm", "prm"]),
    ],
)
def test_what_does_not_fit_is_named(
    language_model: Path, name: str, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BadInput) as refused:
        build(name, facts(language_model, **changes))
    assert all(word in str(refused.value) for word in words), refused.value


PLAIN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
THOUGHTS = PLAIN.replace(
    "{{ m['content'] }}", "{% if loop.last %}<think></think>{% endif %}{{ m['content'] }}"
)
ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.mark.parametrize("template", [PLAIN, THOUGHTS + ASKED], ids=["no-prompt", "thoughts"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [("rlhflow", {}), ("qwen-prm", {}), ("judge", {"choices": {"N": 0.0, "Y": 1.0}})],
    ids=["rlhflow", "qwen-prm", "judge"],
)
def test_a_template_that_lets_an_answer_begin_elsewhere_is_refused(
    tmp_path: Path, template: str, name: str, changes: dict[str, Any]
) -> None:
    """Else a score is read where the model was never trained to be read, and nobody sees it."""
    save_tokenizer(tmp_path, template=template)
    with pytest.raises(BadInput, match=r"verifier\.model.*lets one begin"):
        build(name, facts(tmp_path, **changes))


def test_a_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, template=None)
    with pytest.raises(BadInput, match=r"verifier\.model.*chat template"):
        build("orm", facts(tmp_path))


OWN = """
from actors.reading import Reading
from orchestrator.formats.definition import Input

class Own:
    whole, overhead, reading = False, 1, Reading("probability")
    def __init__(self, facts):
        self.tokenizer = facts.tokenizer
    def opening(self, question):
        return tuple(self.tokenizer.encode(question))
    def inputs(self, question, steps, first):
        tokens, ends = self.opening(question), []
        for step in steps:
            tokens += tuple(self.tokenizer.encode(step + "!"))
            ends.append(len(tokens))
        return [Input(tokens, tuple(ends[first:]))]

def nothing(): ...
"""


def test_a_users_own_format_is_a_class_in_a_file(language_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    format = build(f"{file}:Own", facts(language_model))
    (shown,) = format.inputs(QUESTION, SOLUTION, 1)
    assert len(shown.reads) == 2
    with pytest.raises(BadInput, match="class"):
        build(f"{file}:nothing", facts(language_model))
    file.write_text(OWN.replace("ends[first:]", "ends[:1]"))
    with pytest.raises(BadInput, match="reads 1 scores of two steps"):
        build(f"{file}:Own", facts(language_model))


@pytest.mark.parametrize(
    ("body", "words"),
    [("import sys; sys.exit(0)", "SystemExit: 0"), ("raise KeyError('x')", "KeyError: 'x'")],
)
def test_a_format_of_a_users_own_that_cannot_be_made_is_told_with_its_line(tmp_path, body, words):
    (tmp_path / "own.py").write_text(f"class Own:\n    def __init__(self, facts):\n        {body}\n")
    with pytest.raises(
        BadInput, match=rf"verifier\.format.*cannot be made: {words} \(\S*own\.py:3 in __init__\)"
    ):
        build(f"{tmp_path}/own.py:Own", FormatFacts("m", None, {}))
