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

PINNED = "a2574e338a185880409d3620c774922d0f7cae172588022ddaff9a2eea5f1db3"
PROMPT = "coins 3 4 6 10 pay 12?\n"
GOOD, COSTLY, WRONG = (True, True), (True, False), (False, False)


def told(solution: str) -> list[tuple[bool, bool]]:
    return [(line.possible, line.fewest) for line in coins.read_lines(PROMPT, solution)]


def test_problems_never_change() -> None:
    """The published numbers are about these problems: a new hash means new problems."""
    text = "".join(
        p.id + p.prompt + p.answer for s in ("test", "bins", "validation") for p in coins.problems(s)
    )
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED
    assert coins.problems("test", 7) == coins.problems("test")[:7]
    assert coins.problems("test", 8)[7].id == "coins-test-0007"
    assert len(coins.problems("train")) == 10000


def test_counts_are_uniform_in_every_block_of_7_and_no_coins_are_in_two_splits() -> None:
    seen: dict[tuple[int, ...], str] = {}
    for split in coins.SPLITS:
        found = coins.problems(split)
        for block in range(3):
            counts = [p.difficulty for p in found[block * 7 : block * 7 + 7]]
            assert sorted(counts) == list(range(1, 8))
        for problem in found:
            values, _ = coins.parse_prompt(problem.prompt)
            assert seen.setdefault(tuple(values), split) == split


def test_the_answer_is_the_fewest_coins() -> None:
    for problem in coins.problems("test", 35):
        values, amount = coins.parse_prompt(problem.prompt)
        count = next(
            n
            for n in itertools.count(1)
            if any(sum(way) == amount for way in itertools.combinations_with_replacement(values, n))
        )
        assert problem.answer == str(count) == f"{problem.difficulty:.0f}"


def test_lines_of_a_solution_are_told_apart() -> None:
    two = "coin 1: 6, 6 left.\ncoin 2: 6 - 6 = 0.\nthe answer is 2."
    three = "pay 4 as coin 1, that leaves 8 to pay.\ncoin 2: 4, 4 left.\ncoin 3: 4, 0 left.\nthe answer is 3."
    assert told(two) == [GOOD] * 3
    assert told(three) == [COSTLY] * 4
    assert told(two.replace("coin 2", "coin 3")) == [GOOD, WRONG, WRONG], "right by luck"
    assert told(two.replace("6 - 6", "5 - 6")) == [GOOD, WRONG, WRONG]
    assert told("coin 1: 10, 2 left.\ncoin 2: 2, 0 left.\nthe answer is 2.") == [COSTLY, WRONG, WRONG]
    assert told("coin 1: 10, 2 left.\nthe answer is 1.") == [COSTLY, WRONG], "2 is left"
    assert told("coin 1: 6, 6 left.\ncoin 2: 10, 0 left.") == [GOOD, WRONG], "more than is left"
    assert told("coin 1: 6,") == [WRONG]
    assert told(two.replace("is 2", "is 3")) == [GOOD, GOOD, WRONG]


def test_the_checker_of_mathematics_reads_the_answer() -> None:
    assert Math().extract("coin 1: 6, 6 left.\ncoin 2: 6 - 6 = 0.\nthe answer is 2.") == "2"


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
    with pytest.raises(BadInput, match="4 numbers"):
        coins.parse_prompt("123")
