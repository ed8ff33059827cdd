"""The lab's second task: an amount paid exactly with coins of a purse, worked out in words.

The prompt names the coins, each of which can be paid once, and an amount. A line of the solution pays with
one coin, in three wordings of different length; the last line says which coins were paid. One set of coins
pays the amount, in any order and in many texts. A wrong choice shows only later, when no coin pays what is
left; and an answer can be right by luck, where a line before it is wrong. The difficulty is the number of
coins that pay the amount, 1..6.

The published problems are read from a file that ``lab.purses.write_published`` makes, in another module
because it imports numba (``problems.lab`` says why).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.errors import BadInput, one_of
from orchestrator.problems.problem import Problem

FEWEST_COINS, MOST_COINS = 4, 8
"""Coins of a purse; there is always one more than are paid."""
MOST_VALUE = 40
"""The largest value of a coin; the smallest is 1."""
MOST_AMOUNT = 99
MOST_PAID = 6
"""Coins that pay the amount, from 1."""
SOLUTION_TOKENS = 13 * (MOST_PAID + 1) + 2 * (MOST_PAID + 1) + 5
"""Tokens of a solution at most, with its end-of-sequence token: each line in the longest wording. There is
room for one coin more."""

PROMPT = "coins {coins} pay {amount}?\n"
STEP_WORDINGS = (
    "coin {count}: {value}, {after} left.\n",
    "coin {count}: {before} - {value} = {after}.\n",
    "pay {value} as coin {count}, that leaves {after} to pay.\n",
)
ANSWER = "the answer is {paid}."

SIZES = {"test": 2000, "bins": 2000, "validation": 2000, "train": 10000}
SPLITS = tuple(SIZES)

PUBLISHED = Path(__file__).parent.parent / "lab" / "checkpoints" / "coins.npz"

Ints = npt.NDArray[np.int8]


def problems(split: str, limit: int | None = None) -> list[Problem]:
    """Returns the first ``limit`` problems of ``split``, or all: 10000 of ``train``, 2000 of another.

    Each block of 6 problems has each number of coins paid once, in a fixed random order. Raises ``BadInput``
    if the split is unknown or the limit is negative.
    """
    if split not in SIZES:
        raise BadInput("problems.split", split, one_of(SPLITS))
    if limit is not None and limit < 0:
        raise BadInput("problems.limit", limit, "allowed: 0 or more, or null for all")
    found = []
    for i, row in enumerate(_published(split)[:limit].tolist()):
        amount, coins = row[0], [value for value in row[1:] if value]
        paid = [abs(value) for value in coins if value < 0]
        coins = [abs(value) for value in coins]
        found.append(
            Problem(
                id=f"coins-{split}-{i:04d}",
                prompt=prompt_text(coins, amount),
                answer=listed(paid),
                difficulty=float(len(paid)),
            )
        )
    return found


@cache
def _published(split: str) -> Ints:
    """Returns the problems of a split, [n, 9]: the amount and the coins from the smallest; those that pay it
    are negative, and 0 is no coin."""
    with np.load(PUBLISHED) as file:
        return file[split]


def prompt_text(coins: Sequence[int], amount: int) -> str:
    """Returns the prompt that asks to pay ``amount`` with some of ``coins``."""
    return PROMPT.format(coins=" ".join(map(str, coins)), amount=amount)


def listed(coins: Sequence[int]) -> str:
    """Returns coins as an answer lists them."""
    return ", ".join(map(str, coins))


def solution_text(amount: int, paid: Sequence[int], wordings: Sequence[int]) -> str:
    """Returns a solution without the end-of-sequence token: a line for each of the coins ``paid`` in its
    wording, and the answer."""
    lines, before = [], amount
    for i, (value, wording) in enumerate(zip(paid, wordings, strict=True)):
        after = before - value
        lines.append(STEP_WORDINGS[wording].format(count=i + 1, value=value, before=before, after=after))
        before = after
    return "".join(lines) + ANSWER.format(paid=listed(paid))


def solution_of(problem: Problem) -> str:
    """Returns a right solution of a problem, without the end-of-sequence token, in the first wording."""
    paid = [int(value) for value in problem.answer.split(", ")]
    return solution_text(parse_prompt(problem.prompt)[1], paid, [0] * len(paid))


def _pattern(wording: str, number: str = "[0-9]+") -> re.Pattern[str]:
    """Returns the regular expression of a wording; its fields are groups."""
    text = re.escape(wording.rstrip("\n")).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", rf"(?P<\1>{number})", text))


_PROMPT = re.compile(r"coins((?: [0-9]+)+) pay ([0-9]+)\?\n")
_STEPS = [_pattern(wording) for wording in STEP_WORDINGS]
_ANSWER = _pattern(ANSWER, "[0-9]+(?:, [0-9]+)*")


def parse_prompt(prompt: str) -> tuple[list[int], int]:
    """Returns the coins and the amount of a prompt. Raises ``BadInput`` if the text is no such prompt."""
    found = _PROMPT.fullmatch(prompt)
    if found is None:
        raise BadInput("problem.prompt", prompt, "needed: 'coins', numbers, 'pay', a number, '?'")
    return [int(value) for value in found[1].split()], int(found[2])


@dataclass(frozen=True, slots=True)
class Line:
    """What is right in a line of a solution, and in all lines before it."""

    true: bool
    """The coin was still in the purse, and the numbers are what they are; the answer lists what was paid,
    and it pays the amount."""
    hopeful: bool
    """It is true, and the coins that are still in the purse can pay what is left."""


def read_lines(prompt: str, solution: str) -> list[Line]:
    """Tells what is right in each line of a solution. A number counts by its value, as it does where answers
    are graded: ``03`` is 3. Raises ``BadInput`` for a prompt that is none."""
    purse, left = parse_prompt(prompt)
    paid: list[int] = []
    true, lines = True, []
    for line in solution.split("\n"):
        found = next((match for pattern in _STEPS if (match := pattern.fullmatch(line))), None)
        if found is not None:
            step = {name: int(number) for name, number in found.groupdict().items()}
            value = step["value"]
            facts = {"value": value, "count": len(paid) + 1, "before": left, "after": left - value}
            true = true and value in purse and value <= left and step.items() <= facts.items()
            if value in purse:
                purse.remove(value)
            paid.append(value)
            left -= value
        else:
            answer = _ANSWER.fullmatch(line)
            told = sorted(map(int, answer["paid"].split(", "))) if answer is not None else []
            true = true and left == 0 and told == sorted(paid)
        lines.append(Line(true, true and left in sums(tuple(purse))))
    return lines


@cache
def sums(coins: tuple[int, ...]) -> frozenset[int]:
    """Returns the amounts that some of ``coins`` pay, 0 among them."""
    found = {0}
    for value in coins:
        found |= {amount + value for amount in found}
    return frozenset(found)
