"""Multiple choice as public sets have it: the letter of the right one, whatever the source calls it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.problems.columns import read_problems
from orchestrator.problems.multiple_choice import shuffled
from orchestrator.problems.problem import Wanted


def one(row, **columns):
    (problem,) = read_problems(iter([("f:1", row)]), Wanted("f", columns=columns), "f")
    return problem


FOUR = ["red", "blue", "green", "grey"]


@pytest.mark.parametrize("answer", [2, 2.0, "2", "C", "c", "(C)", "C.", "green", " green "])
def test_the_right_one_by_its_place_its_letter_or_its_text(answer):
    problem = one({"question": "?", "choices": FOUR, "answer": answer, "subject": "art"})
    assert (problem.answer, problem.choices) == ("C", tuple(FOUR))
    assert problem.attributes == (("subject", "art"),)


def test_mmlu_with_numbers_for_choices_counts_from_0():
    assert one({"question": "?", "choices": ["1", "2", "3", "0"], "answer": 1}).answer == "B"


def test_arc_has_labels_of_its_own():
    row = {"id": "a", "question": "?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}}
    assert one(row | {"answerKey": "2"}).answer == "B"
    assert one(row | {"answerKey": "z"}).answer == "C"
    assert one({"question": "?", "choices": {"text": ["x", "y"], "label": None}, "answer": "B"}).answer == "B"
    assert one({"question": "?", "options": {"A": "x", "B": "y"}, "answer": "B"}).choices == ("x", "y")


def test_aqua_writes_its_letters_into_the_choices():
    row = {"question": "?", "options": ["A)21", "B)21.5", "C)22"], "rationale": "r", "correct": "B"}
    assert (one(row).answer, one(row).choices) == ("B", ("21", "21.5", "22"))


def test_a_number_that_is_a_choice_and_no_place_is_that_choice():
    assert one({"question": "?", "choices": [0, 20, 10, 7], "answer": 10}).answer == "C"
    assert one({"question": "?", "choices": [0, 20, 10, 7], "answer": 0}).answer == "A"


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("A) x B) y", ("x", "y")),
        ("(A) red, white (B) blue\n(C) Vitamin C. (D) none", ("red, white", "blue", "Vitamin C.", "none")),
        ("A. 1, B. 2, C. 3", ("1", "2", "3")),
        ("A)1;B)2", ("1", "2")),
    ],
)
def test_choices_in_one_text_after_their_letters(text, choices):
    problem = one({"question": "?", "options": text, "answer": "B"})
    assert (problem.choices, problem.answer, problem.attributes) == (choices, "B", ())


def test_a_wrong_answer_that_is_the_right_one_is_refused():
    row = {"question": "?", "Correct Answer": "yes", "Incorrect Answer 1": " yes", "Incorrect Answer 2": "no"}
    with pytest.raises(BadInput, match=r"Correct Answer: 'yes'.*a wrong answer of this problem is the same"):
        one(row)
    with pytest.raises(BadInput, match="'NaN' is not usable"):
        one(row | {"Incorrect Answer 1": "NaN"})


def test_choices_as_json_text_and_as_columns():
    assert one({"question": "?", "options": json.dumps(FOUR), "answer": "D"}).answer == "D"
    row = {"question": "?", "A": "x", "B": "y", "C": "z", "D": None, "answer": "B"}
    assert one(row).choices == ("x", "y", "z")
    apart = {"question": "?", "one": "x", "two": "y", "answer": "y"}
    assert one(apart, choices=["one", "two"]).answer == "B"
    assert one(row, choices=None).choices == ()


def test_a_column_of_options_that_are_no_choices_is_an_attribute():
    problem = one({"question": "?", "answer": "3", "options": "-v"})
    assert (problem.choices, problem.attributes) == ((), (("options", "-v"),))
    assert one({"question": "?", "answer": "3", "options": ""}).choices == ()


def test_gpqa_mixes_the_right_answer_with_the_wrong_ones():
    row = {"Question": "?", "Correct Answer": "yes", "Record ID": "rec1"}
    row |= {f"Incorrect Answer {i}": f"no {i}" for i in (1, 2, 3)}
    problems = [one(row | {"Record ID": f"rec{i}"}) for i in range(200)]
    for problem in problems:
        assert sorted(problem.choices) == ["no 1", "no 2", "no 3", "yes"]
        assert problem.choices["ABCD".index(problem.answer)] == "yes"
    counts = [sum(problem.answer == letter for problem in problems) for letter in "ABCD"]
    assert min(counts) > 25
    assert one(row) == one(dict(reversed(row.items())))
    assert len(one(row | {"Incorrect Answer 3": None}).choices) == 3
    wrong = {"question": "?", "answer": "yes", "distractors": ["no", "never"]}
    assert set(one(wrong, wrong="distractors").choices) == {"yes", "no", "never"}


def test_wrong_answers_that_are_none_or_too_many():
    for wrong in ([], ["no"] * 26):
        with pytest.raises(BadInput, match="allowed: 1 to 25 wrong answers"):
            one({"question": "?", "answer": "yes", "distractors": wrong}, wrong="distractors")


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.text(), st.text())
def test_a_shuffle_has_the_right_one_where_its_letter_says_and_goes_by_the_id(wrong, right, id):
    texts, letter = shuffled(right, wrong, id)
    assert sorted(texts) == sorted([right, *wrong])
    assert texts["ABCDEFGHIJ".index(letter)] == right
    assert shuffled(right, wrong, id) == (texts, letter)


@pytest.mark.parametrize(
    ("choices", "answer", "said"),
    [
        (FOUR, 4, "allowed: 0 to 3"),
        (FOUR, "E", "none of the choices; allowed: A, B, C or D, or a choice's text"),
        (FOUR, ["A"], "needed: one choice"),
        (FOUR, None, "needed: one choice"),
        (["B", "A", "C"], "B", "it may mean (A) B and (B) A"),
        (["3", "4", "1"], "1", "it may mean (B) 4 and (C) 1"),
        ([10, 20, 3, 2], 3, "it may mean (C) 3 and (D) 2"),
        ([10, 20, 3, 2], 3.0, "it may mean (C) 3 and (D) 2"),
        ({"text": [3, 4], "label": [4, 5]}, 4, "it may mean (A) 3 and (B) 4"),
        (["B) x", "A) y"], "A", "begin with letters that are not in order"),
        ("A) x C) y", "A", "letters of its choices are not A, B, …"),
        ("A) x B) y A) z", "A", "letters of its choices are not A, B, …"),
        ({"text": None, "label": None}, "A", "allowed: a list of choices"),
        ({"text": "ab", "label": "AB"}, "A", "allowed: a list of choices"),
        ({"text": ["a", "b"], "label": [None, "B"]}, "A", "needed: a text"),
        ({"text": ["a", "b"], "label": ["A", "a"]}, "A", "labels that are all different"),
        ("[" * 100_000, "A", "allowed: a list of choices, as JSON"),
        (["only"], "A", "allowed: 2 to 26 choices"),
        (["a", None], "A", "needed: a text"),
        ({"text": ["a", "b"], "label": ["A"]}, "A", "allowed: a list of choices"),
        ("[not json", "A", "allowed: a list of choices, as JSON"),
    ],
)
def test_what_cannot_be_told_is_refused(choices, answer, said):
    with pytest.raises(BadInput) as error:
        one({"question": "?", "choices": choices, "answer": answer})
    assert said in str(error.value)


@pytest.mark.parametrize("answer", ["A", 0, "same", "(A)"])
def test_a_right_choice_that_is_there_twice_is_refused(answer):
    row = {"question": "?", "choices": ["same", "other", " same"], "answer": answer}
    with pytest.raises(BadInput, match=r"f:1: answer.*\(A\).*\(C\)"):
        one(row)
    assert one(row | {"answer": "B"}).answer == "B", "equal wrong ones are all wrong"
