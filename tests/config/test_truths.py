"""Each problem's own answer is graded: what its checker does not take can never be answered right."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.truths import checker_of, graded_against_itself
from orchestrator.problems.problem import Problem


def wrong(name: str, *answers: str, checker: object = None, also: tuple[str, ...] = ()) -> list[str]:
    problems = [Problem(f"p{i}", "", answer, also=also) for i, answer in enumerate(answers)]
    return [problem.id for problem in graded_against_itself(name, checker or checker_of(name), problems)]


class Words:
    """A user's checker: the last word, in a box or not, and an error for what is no word."""

    def __init__(self, boxed: bool) -> None:
        self.boxed = boxed

    def extract(self, text: str) -> str | None:
        if self.boxed != text.startswith(r"\boxed{"):
            return None
        return text.removeprefix(r"\boxed{").removesuffix("}") if self.boxed else text

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
def test_a_users_checker_may_read_a_box_or_a_whole_text(boxed):
    assert wrong("file.py:grade", "yes", "no 1", checker=Words(boxed)) == ["p1"]


def test_another_answer_that_is_right_will_do():
    assert wrong("file.py:grade", "no 1", checker=Words(True), also=("yes",)) == []


def test_an_entry_of_a_family_of_puzzles_is_answered_by_its_answer():
    class Entries(Words):
        def accepts(self, truth: str, answer: str) -> bool:
            return json.loads(truth)["answer"] == answer

    answers = (json.dumps({"answer": "4"}), "no entry", json.dumps({"answer": None}))
    assert wrong("reasoning_gym", *answers, checker=Entries(True)) == ["p1", "p2"]


def test_a_truth_that_the_checker_refuses_is_wrong():
    class Tests(Words):
        def check_truth(self, truth: str) -> None:
            if not truth.startswith("assert"):
                raise ValueError(truth)

    assert wrong("code", "assert f(1) == 2", "f(1)", checker=Tests(False)) == ["p1"]
