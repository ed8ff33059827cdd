"""The published problems of coins never change; text reads back, and each line of a solution is judged."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import pytest

from orchestrator.errors import BadInput
from orchestrator.grading.math import Math
from orchestrator.problems import coins

PINNED = "ab547dae5ca71df26c14581b9ae732220ddf2a13b570969ec63a635250576f08"
PROMPT = "coins 3 4 6 10 pay 13?\n"
GOOD, HOPELESS, WRONG = (True, True), (True, False), (False, False)


def told(solution: str) -> list[tuple[bool, bool]]:
    return [(line.true, line.hopeful) for line in coins.read_lines(PROMPT, solution)]


def test_problems_never_change() -> None:
    """The published numbers are about these problems: a new hash means new problems."""
    text = "".join(
        p.id + p.prompt + p.answer for s in ("test", "bins", "validation") for p in coins.problems(s)
    )
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED
    assert coins.problems("test", 6) == coins.problems("test")[:6]
    assert coins.problems("test", 8)[7].id == "coins-test-0007"
    assert len(coins.problems("train")) == 10000


def test_the_solution_of_a_problem_is_right_in_each_line() -> None:
    for problem in coins.problems("test", 12):
        lines = coins.read_lines(problem.prompt, coins.solution_of(problem))
        assert len(lines) == problem.difficulty + 1
        assert all(line.true and line.hopeful for line in lines)


def test_a_number_counts_by_its_value_in_lines_as_in_answers() -> None:
    solution = "coin 01: 03, 10 left.\ncoin 2: 010, 00 left.\nthe answer is 03, 10."
    assert told(solution) == [GOOD, GOOD, GOOD]
    math = Math()
    assert math.accepts("3, 10", math.extract("the answer is 03, 10."))


def test_numbers_of_coins_are_uniform_in_every_block_of_6_and_no_purse_is_in_two_splits() -> None:
    seen: dict[tuple[int, ...], str] = {}
    for split in coins.SPLITS:
        found = coins.problems(split)
        for block in range(3):
            paid = [p.difficulty for p in found[block * 6 : block * 6 + 6]]
            assert sorted(paid) == list(range(1, 7))
        for problem in found:
            purse, _ = coins.parse_prompt(problem.prompt)
            assert seen.setdefault(tuple(purse), split) == split


def test_one_set_of_coins_pays_the_amount() -> None:
    for problem in coins.problems("test", 60):
        purse, amount = coins.parse_prompt(problem.prompt)
        assert len(set(purse)) == len(purse) <= coins.MOST_COINS
        assert len(problem.answer.split(",")) == problem.difficulty < len(purse)
        sets = [some for n in range(9) for some in itertools.combinations(purse, n) if sum(some) == amount]
        assert [coins.listed(some) for some in sets] == [problem.answer]


def test_lines_of_a_solution_are_told_apart() -> None:
    two = "coin 1: 3, 10 left.\ncoin 2: 10 - 10 = 0.\nthe answer is 3, 10."
    three = "pay 4 as coin 1, that leaves 9 to pay.\ncoin 2: 6, 3 left.\ncoin 3: 3, 0 left.\n"
    assert told(two) == [GOOD] * 3
    assert told(two.replace("3, 10.", "10, 3.")) == [GOOD] * 3, "any order"
    assert told(three + "the answer is 4, 6, 3.") == [GOOD] * 4
    assert told(two.replace("coin 2", "coin 3")) == [GOOD, WRONG, WRONG], "right by luck"
    assert told(two.replace("10 left", "9 left")) == [WRONG] * 3, "right by luck"
    assert told("coin 1: 10, 3 left.\ncoin 2: 3, 0 left.\nthe answer is 10.") == [GOOD, GOOD, WRONG]
    assert told("coin 1: 10, 3 left.\nthe answer is 10.") == [GOOD, WRONG], "3 is left"
    assert told("coin 1: 10, 3 left.\ncoin 2: 6, 0 left.") == [GOOD, WRONG], "more than is left"
    assert told("coin 1: 6, 7 left.\ncoin 2: 4, 3 left.\ncoin 3: 3, 0 left.") == [GOOD] * 3
    assert told("coin 1: 5, 8 left.") == [WRONG], "no such coin"
    assert told("coin 1: 3, 10 left.\ncoin 2: 3, 7 left.") == [GOOD, WRONG], "paid twice"
    assert told("coin 1: 6,") == [WRONG]


def test_a_true_line_can_be_hopeless() -> None:
    lines = coins.read_lines("coins 3 4 6 10 pay 16?\n", "coin 1: 4, 12 left.\ncoin 2: 3, 9 left.")
    assert [(line.true, line.hopeful) for line in lines] == [HOPELESS, HOPELESS]


def test_the_checker_of_mathematics_reads_the_answer() -> None:
    answer = Math().extract("coin 1: 6, 6 left.\ncoin 2: 6 - 6 = 0.\nthe answer is 20, 3, 7.")
    assert answer == "20, 3, 7"
    assert Math().accepts("3, 7, 20", answer)
    assert Math().key("3, 7, 20") == Math().key(answer), "an order is no other answer"
    assert not Math().accepts("3, 7", answer)


def test_reading_problems_does_not_import_numba() -> None:
    """A vLLM 0.32 CPU engine cannot start in a process that has imported numba."""
    code = (
        "import sys; from orchestrator.problems import coins;"
        "assert len(coins.problems('test')) == 2000; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_input_names_what_is_allowed() -> None:
    with pytest.raises(BadInput, match="test, bins, validation or train"):
        coins.problems("dev")
    with pytest.raises(BadInput, match="0 or more"):
        coins.problems("test", -1)
    with pytest.raises(BadInput, match="numbers"):
        coins.parse_prompt("123")
