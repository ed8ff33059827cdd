"""Each problem's own answer is graded: what its checker does not take can never be answered right."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.truths import graded_against_itself
from orchestrator.grading.reasoning_gym import ReasoningGym
from orchestrator.grading.registry import resolve
from orchestrator.problems.problem import Problem


def wrong(checker: object, *answers: str, also: tuple[str, ...] = ()) -> list[str]:
    checker = checker if not isinstance(checker, str | dict) else resolve(checker)
    problems = [Problem(f"p{i}", "", answer, also=also) for i, answer in enumerate(answers)]
    return [problem.id for problem in graded_against_itself(checker, problems)]


@dataclass(frozen=True)
class Words:
    """A checker of another kind: the whole text, in a box or not, and an error for what is no word."""

    boxed: bool
    slow = False

    def extract(self, text: str) -> str | None:
        if self.boxed != text.startswith(r"\boxed{"):
            return None
        return text.removeprefix(r"\boxed{").removesuffix("}") if self.boxed else text

    def key(self, answer: str) -> str:
        return answer

    def accepts(self, truth: str, answer: str) -> bool:
        if not answer.isalpha():
            raise ValueError(answer)
        return answer == truth


@pytest.mark.parametrize("answer", ["72", r"\frac{1}{2}", "x^2+1", "(1,2)", r"\sqrt{2}", "-3.5", r"\{1,2\}"])
def test_mathematics_that_can_be_read_is_right(answer):
    assert wrong("math", answer) == []


def test_what_cannot_be_read_is_named_and_the_others_are_not():
    assert wrong("math", "72", r"\frac{1}{", "5", "") == ["p1", "p3"]


@given(st.text(min_size=1).filter(str.strip))
def test_every_text_that_is_not_blank_is_its_own_exact_answer(answer):
    assert wrong("exact", answer) == []


def test_a_blank_answer_is_never_right():
    assert wrong("exact", "a", " ") == ["p1"]


@pytest.mark.parametrize("boxed", [True, False])
def test_another_checker_may_read_a_box_or_a_whole_text(boxed):
    assert wrong(Words(boxed), "yes", "no 1") == ["p1"]


def test_another_answer_that_is_right_will_do():
    assert wrong(Words(True), "no 1", also=("yes",)) == []


def test_letters_and_numbers(tmp_path):
    assert wrong("choice", "A", "J") == []
    assert wrong("number", "72", "1,000", "x + y") == [], "what is no number is compared as mathematics"


def test_a_users_file_is_asked_in_a_process_apart(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\ndef grade(text, truth):\n    return os._exit(1) if truth == 'x' else text == truth"
    )
    assert wrong(f"{file}:grade", "yes", "x", "no") == ["p1"]


def test_tests_of_code_are_no_answer():
    assert wrong("code", '["assert f(1) == 2"]') == []


def test_an_entry_of_a_family_of_puzzles_is_answered_by_its_answer(monkeypatch):
    monkeypatch.setattr(
        ReasoningGym, "accepts", lambda self, truth, answer: json.loads(truth)["answer"] == answer
    )
    monkeypatch.setattr(ReasoningGym, "slow", False, raising=False)
    answers = (json.dumps({"answer": "4"}), "no entry", json.dumps({"answer": None}))
    assert wrong("reasoning_gym", *answers) == ["p1", "p2"]
