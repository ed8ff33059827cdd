"""The lab's second task: an amount paid with the fewest coins, worked out in words.

The prompt names four coins and an amount. A line of the solution pays with one coin, in three wordings of
different length; the last line says how many there were. The coins may be paid in any order, there can be
several ways with as few, and an answer can be right by luck: errors cancel. The difficulty is the number of
coins, 1..7.

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

KINDS = 4
"""Different coins of a problem."""
MOST_VALUE = 25
"""The largest value of a coin; the smallest is 1."""
MOST_AMOUNT = 60
MOST_COINS = 7
"""Coins of the largest solution. With one more, a way to pay is still in the room of ``SOLUTION_TOKENS``."""
SOLUTION_TOKENS = 13 * (MOST_COINS + 1) + 6
"""Tokens of a solution at most, with its end-of-sequence token: each line in the longest wording."""

PROMPT = "coins {coins} pay {amount}?\n"
STEP_WORDINGS = (
    "coin {count}: {value}, {after} left.\n",
    "coin {count}: {before} - {value} = {after}.\n",
    "pay {value} as coin {count}, that leaves {after} to pay.\n",
)
ANSWER = "the answer is {count}."

SIZES = {"test": 2000, "bins": 2000, "validation": 2000, "train": 10000}
SPLITS = tuple(SIZES)

PUBLISHED = Path(__file__).parent.parent / "lab" / "checkpoints" / "coins.npz"

Ints = npt.NDArray[np.int8]


def problems(split: str, limit: int | None = None) -> list[Problem]:
    """Returns the first ``limit`` problems of ``split``, or all: 10000 of ``train``, 2000 of another.

    Each block of 7 problems has each number of coins once, in a fixed random order. Raises ``BadInput`` if
    the split is unknown or the limit is negative.
    """
    if split not in SIZES:
        raise BadInput("problems.split", split, one_of(SPLITS))
    if limit is not None and limit < 0:
        raise BadInput("problems.limit", limit, "allowed: 0 or more, or null for all")
    return [
        Problem(
            id=f"coins-{split}-{i:04d}",
            prompt=prompt_text(values, amount),
            answer=str(count),
            difficulty=float(count),
        )
        for i, (*values, amount, count) in enumerate(_published(split)[:limit].tolist())
    ]


@cache
def _published(split: str) -> Ints:
    """Returns the problems of a split, [n, 6]: the values of the coins, the amount, the fewest coins."""
    with np.load(PUBLISHED) as file:
        return file[split]


def prompt_text(values: Sequence[int], amount: int) -> str:
    """Returns the prompt that asks to pay ``amount`` with coins of ``values``."""
    return PROMPT.format(coins=" ".join(map(str, values)), amount=amount)


def solution_text(amount: int, paid: Sequence[int], wordings: Sequence[int]) -> str:
    """Returns a solution without the end-of-sequence token: a line for each of the coins ``paid`` in its
    wording, and the answer."""
    lines, before = [], amount
    for i, (value, wording) in enumerate(zip(paid, wordings, strict=True)):
        after = before - value
        lines.append(STEP_WORDINGS[wording].format(count=i + 1, value=value, before=before, after=after))
        before = after
    return "".join(lines) + ANSWER.format(count=len(paid))


def _pattern(wording: str) -> re.Pattern[str]:
    """Returns the regular expression of a wording; its fields are groups."""
    text = re.escape(wording.rstrip("\n")).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]+)", text))


_PROMPT = re.compile(rf"coins((?: [0-9]+){{{KINDS}}}) pay ([0-9]+)\?\n")
_STEPS = [_pattern(wording) for wording in STEP_WORDINGS]
_ANSWER = _pattern(ANSWER)


def parse_prompt(prompt: str) -> tuple[list[int], int]:
    """Returns the coins and the amount of a prompt. Raises ``BadInput`` if the text is no such prompt."""
    found = _PROMPT.fullmatch(prompt)
    if found is None:
        raise BadInput("problem.prompt", prompt, f"needed: 'coins', {KINDS} numbers, 'pay', a number, '?'")
    return [int(value) for value in found[1].split()], int(found[2])


@dataclass(frozen=True, slots=True)
class Line:
    """What is right in a line of a solution, and in all lines before it."""

    possible: bool
    """There is such a coin, and the numbers are what they are; the answer counts coins that pay it all."""
    fewest: bool
    """It is possible, and the coins so far can still be, or are, among the fewest."""


def read_lines(prompt: str, solution: str) -> list[Line]:
    """Tells what is right in each line of a solution. Raises ``BadInput`` for a prompt that is none."""
    values, left = parse_prompt(prompt)
    fewest = fewest_coins(tuple(values), left)
    least, count, possible, lines = fewest[left], 0, True, []
    for line in solution.split("\n"):
        found = next((match for pattern in _STEPS if (match := pattern.fullmatch(line))), None)
        if found is not None:
            step = {name: int(number) for name, number in found.groupdict().items()}
            count, after = count + 1, left - step["value"]
            true = {"value": step["value"], "count": count, "before": left, "after": after}
            possible = possible and step["value"] in values and after >= 0 and step.items() <= true.items()
            left = after
        else:
            answer = _ANSWER.fullmatch(line)
            possible = possible and left == 0 and answer is not None and int(answer["count"]) == count
        lines.append(Line(possible, possible and count + fewest[left] == least))
    return lines


@cache
def fewest_coins(values: tuple[int, ...], most: int) -> list[float]:
    """Returns the fewest coins of ``values`` that pay each amount from 0 to ``most``; infinite if none do."""
    fewest = [0.0]
    for amount in range(1, most + 1):
        fewest.append(1 + min((fewest[amount - v] for v in values if v <= amount), default=float("inf")))
    return fewest
