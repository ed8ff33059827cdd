"""Answers to puzzles of reasoning_gym are scored by their family."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from orchestrator.grading import reasoning_gym
from orchestrator.grading.reasoning_gym import ReasoningGym
from orchestrator.problems.gym import read, truth
from orchestrator.problems.problem import Wanted
from tests.support.gym import Sums

CHECKER = ReasoningGym()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>3 <answer>7</answer></think> so <answer>\n 12\n</answer>", "12"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>1 2\n3 4</answer>", "1 2\n3 4"),
        ("It is \\boxed{a^{2}} or \\boxed{b}.", "b"),
        ("First I add.\nThe answer is: 42", "42"),
        ("First I add.\n42\n", "42"),
        ("<answer> </answer>", None),
        ("<think>12", None),
        ("", None),
    ],
)
def test_what_a_text_answers(text, answer):
    assert CHECKER.extract(text) == answer


def test_a_class_is_the_text_whatever_space_is_around_it():
    assert CHECKER.key(" 1  2 \n 3 4\n") == CHECKER.key("1 2\n3 4") != CHECKER.key("1 2 3 4")


def test_the_familys_own_scorer_says_what_is_right(monkeypatch):
    factory, made = ModuleType("reasoning_gym.factory"), []

    def create_dataset(name, **options):
        made.append((name, options))
        return Sums(**options)

    factory.create_dataset = create_dataset
    monkeypatch.setitem(sys.modules, "reasoning_gym", ModuleType("reasoning_gym"))
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)
    reasoning_gym._family.cache_clear()
    entry = truth("sums", {"seed": 0, "terms": 3}, 4, Sums(terms=3)[4])
    assert CHECKER.accepts(entry, "12")
    assert not CHECKER.accepts(entry, "12 or 13"), "half of the score"
    assert not CHECKER.accepts(entry, "13")
    assert not CHECKER.accepts(entry, "twelve"), "the scorer raises"
    assert made == [("sums", {"seed": 0, "terms": 3})]
    options = {"seed": 0, "exact": True}
    entry = truth("sums", options, 4, Sums(**options)[4])
    assert CHECKER.accepts(entry, "8"), "made again, since JSON lost a date"
    assert not CHECKER.accepts(entry, "9")
    reasoning_gym._family.cache_clear()


@pytest.mark.parametrize("other", ["12", '{"answer": "12"}', "twelve"])
def test_a_truth_that_is_no_entry_is_an_error(other):
    with pytest.raises(ValueError, match=r"needed: an entry|Expecting value"):
        CHECKER.accepts(other, "12")


def test_the_package_itself_accepts_its_own_answers_and_no_others():
    pytest.importorskip("reasoning_gym")
    for family in ("basic_arithmetic", "mini_sudoku", "simple_equations", "time_intervals", "rearc"):
        for problem in read(Wanted(family, limit=3)):
            right = json.loads(problem.answer)["answer"]
            assert CHECKER.accepts(problem.answer, CHECKER.extract(f"<answer>{right}</answer>"))
            assert not CHECKER.accepts(problem.answer, "banana")
