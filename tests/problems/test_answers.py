"""Answers are read and compared as their problem set says."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from orchestrator.problems.answers import ANSWERS, AnswersFailed, Apart, Math


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


def test_a_process_that_cannot_start_is_an_error_and_never_no_answer(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    answers = Math()
    with pytest.raises(AnswersFailed, match=r"does not start .ImportError: a broken installation"):
        answers.extract(r"\boxed{1}")


def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(3)
    return "answered"


def test_a_process_that_dies_is_replaced_and_the_answer_read_again(tmp_path, caplog):
    apart = Apart(20.0)
    assert apart(die_once, str(tmp_path / "mark"), otherwise="lost") == "answered"
    assert apart(os._exit, 4, otherwise="it ends every process") == "it ends every process"
    assert apart(len, "four", otherwise=None) == 4
    assert [record.args[0] for record in caplog.records] == [3, 4, 4], "exit statuses are said"
    apart._end()
