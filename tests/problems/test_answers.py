"""Answers are read and compared as their problem set says."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.problems.answers import ANSWERS, Apart, Math


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


def test_an_answer_that_takes_for_ever_is_given_up_and_the_next_one_is_read():
    slow = Apart(1.0)
    assert slow(time.sleep, 60, otherwise="given up") == "given up"
    assert slow(len, "four", otherwise=None) == 4
    assert slow(int, "not a number", otherwise="failed") == "failed"
    assert slow(len, "four", otherwise=None) == 4
    slow._end()


def test_a_tower_of_powers_is_wrong_and_not_the_end(monkeypatch):
    answers = Math()
    monkeypatch.setattr(answers, "_apart", Apart(3.0))
    tower = answers.extract(r"\boxed{9^{9^{9^9}}}")
    assert not answers.correct(tower or r"9^{9^{9^9}}", "42")
    assert answers.correct(answers.extract(r"\boxed{42}"), "42")
    answers._apart._end()
