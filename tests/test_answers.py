"""Answers are read and compared as their problem set says."""

from __future__ import annotations

import threading

import pytest

from orchestrator.answers import ANSWERS


def test_exact_is_the_whole_text_without_space_at_its_ends():
    exact = ANSWERS["exact"]
    assert exact.extract(" 12\n34\n") == "12\n34"
    assert exact.extract(" \n") is None
    assert exact.correct("12\n34", "12\n34\n")
    assert not exact.correct("12\n35", "12\n34")
    assert not exact.correct(None, "")


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        (r"So the answer is \boxed{\frac{1}{2}}.", r"\frac{1}{2}", True),
        (r"So the answer is $\boxed{0.5}$.", r"$\frac12$", True),
        ("The final answer is 42.", "42", True),
        (r"\boxed{43}", "42", False),
        (r"\boxed{x^2+2x+1}", "$(x+1)^2$", True),
    ],
)
def test_math_compares_values_not_spellings(text, truth, right):
    answers = ANSWERS["math"]
    assert answers.correct(answers.extract(text), truth) is right


def test_equal_values_extract_to_equal_answers_so_that_they_vote_together():
    extract = ANSWERS["math"].extract
    assert extract(r"\boxed{\frac{2}{4}}") == extract(r"\boxed{\frac{1}{2}}")
    assert extract("nothing here to see") is None


def test_math_works_outside_the_main_thread():
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(ANSWERS["math"].extract(r"\boxed{7}")))
    thread.start()
    thread.join()
    assert found == ["7"]
