"""A run's grader: each answer judged once, what cannot be judged counted, thinking cut off."""

from __future__ import annotations

import logging

import pytest

from orchestrator.errors import BadInput
from orchestrator.grading.exact import Exact
from orchestrator.grading.grader import Grader, Reading, grader
from orchestrator.grading.math import Math
from orchestrator.grading.pool import Pool
from orchestrator.grading.registry import CHECKERS, resolve
from orchestrator.grading.thinking import without_thinking


@pytest.fixture(scope="module")
def pool():
    made = Pool(2, seconds=2.0)
    yield made
    made.close()


class Counting(Exact):
    """Counts what it is asked."""

    def __init__(self) -> None:
        object.__setattr__(self, "asked", [])

    def accepts(self, truth: str, answer: str) -> bool:
        self.asked.append((truth, answer))
        return answer == truth


async def test_each_pair_of_truth_and_answer_is_judged_once():
    checker = Counting()
    judge = Grader(checker)
    assert await judge.right(("a",), ["a", "b", "a", None]) == [True, False, True, False]
    assert await judge.right(("a",), ["b", "a"]) == [False, True]
    assert await judge.right(("b",), ["b"]) == [True]
    assert checker.asked == [("a", "a"), ("a", "b"), ("b", "b")]


async def test_any_of_several_right_answers_is_right():
    assert await grader("exact").right(("a", "b"), ["b", "c"]) == [True, False]


async def test_exact_needs_no_process():
    def none() -> Pool:
        raise AssertionError("a pool was asked for")

    judge = Grader(Exact(), pool=none)
    assert await judge.read([" 12\n34\n", " \n"]) == [Reading("12\n34", "12\n34"), Reading(None, None)]
    assert await judge.right(("12\n34\n",), ["12\n34", "12\n35"]) == [True, False]


async def test_mathematics_is_read_and_judged_in_the_pool(pool):
    judge = Grader(Math(), pool=lambda: pool)
    read = await judge.read([r"\boxed{\frac12}", "the answer is 50%.", "<think>5</think>"])
    assert [reading.answer for reading in read] == [r"\frac12", "50%", None]
    assert read[0].key == read[1].key
    assert await judge.right(("0.5",), [reading.answer for reading in read]) == [True, True, False]
    assert not judge.counts


async def test_what_is_too_long_is_compared_as_text_counted_and_logged(pool, caplog):
    long = "1+" * 2000 + "1"
    judge = Grader(Math(), pool=lambda: pool)
    with caplog.at_level(logging.WARNING):
        (reading,) = await judge.read([rf"\boxed{{{long}}}"])
    assert reading.answer == long
    assert judge.counts == {"too_long": 1}
    assert "1+1+1" in caplog.text
    assert await judge.right((long,), [long]) == [True]


USER = """
import time

def grade(text, truth, *, wait=0):
    if "hang" in text:
        time.sleep(60)
    if "fail" in text:
        raise ValueError("no grade")
    if "odd" in text:
        return "yes"
    return 0.9 if truth in text else 0.1

class Lengths:
    def extract(self, text): return text.split()[-1]
    def key(self, answer): return str(len(answer))
    def accepts(self, truth, answer): return len(truth) == len(answer)

class Half:
    def extract(self, text): return text
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "grade.py"
    file.write_text(USER)
    return file


async def test_a_users_function_gets_the_whole_text_without_thinking_and_the_truth(own, pool, caplog):
    judge = Grader(resolve(f"{own}:grade"), pool=lambda: pool)
    texts = ["<think>42</think> no", "so 42", "fail", "hang", "odd"]
    read = await judge.read(texts)
    assert [reading.answer for reading in read] == ["no", "so 42", "fail", "hang", "odd"]
    with caplog.at_level(logging.WARNING):
        right = await judge.right(("42",), [reading.answer for reading in read])
    assert right == [False, True, False, False, False]
    assert judge.counts == {"failed": 2, "timed_out": 1}
    assert "no grade" in caplog.text
    assert f"{own}:8 in grade" in caplog.text
    assert "TypeError" in caplog.text


async def test_a_users_class_says_what_the_answer_is_and_which_are_equal(own, pool):
    judge = Grader(resolve(f"{own}:Lengths"), pool=lambda: pool)
    read = await judge.read(["it is four", "or five"])
    assert read == [Reading("four", "4"), Reading("five", "4")]
    assert await judge.right(("9999",), ["four", "three"]) == [True, False]


async def test_a_hang_in_a_key_leaves_the_answer_and_is_counted(tmp_path, pool):
    file = tmp_path / "hang.py"
    file.write_text(
        "import time\n"
        "class Hang:\n"
        "    def extract(self, text): return text.strip()\n"
        "    def key(self, answer):\n"
        "        if answer == 'x': time.sleep(60)\n"
        "        return answer.lower()\n"
        "    def accepts(self, truth, answer): return truth == answer\n"
    )
    judge = Grader(resolve(f"{file}:Hang"), pool=lambda: pool)
    assert await judge.read(["A", "x", "B"]) == [
        Reading("A", "a"),
        Reading("x", "x", lost=True),
        Reading("B", "b"),
    ]
    assert judge.counts == {"timed_out": 1}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            "gsm8k",
            "'gsm8k' is not usable; allowed: exact, math, choice, number, code, judge, reasoning_gym or path",
        ),
        (None, "allowed: exact"),
        ({"relative": 1}, "allowed: exact"),
        ({"name": "math", "relative": 1}, "math takes no parameters"),
        ({"name": "number", "relativ": 1}, "number takes relative, absolute"),
        ({"name": "number", "relative": -1}, "0 or more"),
        ({"name": "number", "relative": "a"}, "allowed: a number"),
        ("nowhere.py:grade", "of a file that exists"),
    ],
)
def test_what_is_no_checker_is_refused_in_one_line(section, said):
    with pytest.raises(BadInput) as error:
        resolve(section)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_users_file_without_a_checker_is_refused(own):
    for name, said in (("missing", "no function or class missing"), ("Half", "it has no key")):
        with pytest.raises(BadInput, match=said):
            resolve(f"{own}:{name}")
    with pytest.raises(BadInput, match="of the options given"):
        resolve({"name": f"{own}:grade", "wrong": 1})
    assert resolve({"name": f"{own}:grade", "wait": 1}).options == {"wait": 1}


def test_every_checker_is_there_by_its_name():
    classes = [type(resolve(name)).__name__.lower() for name in CHECKERS]
    assert classes == [name.replace("_", "") for name in CHECKERS]


def test_thinking_is_what_stands_before_its_end():
    assert without_thinking("a</think>b</think>c") == "c"
    assert without_thinking("<think>a") == ""
    assert without_thinking("b<think>a") == "b"
    assert without_thinking("a ### b", "###") == " b"
    assert without_thinking("a") == "a"


async def test_the_imports_of_a_users_file_are_not_the_first_answers_time(tmp_path, pool):
    file = tmp_path / "slow.py"
    file.write_text("import time\ntime.sleep(2.5)\ndef grade(text, truth): return text == truth\n")
    judge = Grader(resolve(f"{file}:grade"), pool=lambda: pool)
    assert await judge.right(("a",), ["a", "b"]) == [True, False]
    assert not judge.counts


async def test_a_users_file_that_no_longer_runs_is_counted_and_told(tmp_path, pool, caplog):
    file = tmp_path / "broken.py"
    file.write_text("def grade(text, truth): return True\n")
    judge = Grader(resolve(f"{file}:grade"), pool=lambda: pool)
    file.write_text("def grade(text, truth) return True\n")
    assert await judge.right(("a",), ["a"]) == [False]
    assert judge.counts == {"failed": 1}
    assert "broken.py:1" in caplog.text
