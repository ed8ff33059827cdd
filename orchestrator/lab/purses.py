"""Makes the lab's problems of coins: four coins at random, and an amount that takes so many of them.

The code is compiled with numba. A problem depends on (seed, split, index) alone, as the puzzles do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

from orchestrator.lab.puzzles import PROBLEM_SEED, SPLIT_PARTS, SPLITS, in_blocks
from orchestrator.lab.splitmix import below, next_bits, start_stream
from orchestrator.problems.coins import (
    KINDS,
    MOST_AMOUNT,
    MOST_COINS,
    MOST_VALUE,
    PUBLISHED,
    SIZES,
    STEP_WORDINGS,
    prompt_text,
    solution_text,
)

_WORDINGS = len(STEP_WORDINGS)
_NEVER = MOST_AMOUNT + 1


@dataclass(frozen=True, slots=True)
class Purse:
    """A problem, and a way to pay with the fewest coins."""

    values: tuple[int, ...]
    """The coins, from the smallest."""
    amount: int
    paid: list[int]
    """The coins in the order in which they are paid; ways and orders are chosen at random."""
    wordings: list[int]
    """A wording for each coin paid, at random."""

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return prompt_text(self.values, self.amount)

    @property
    def solution(self) -> str:
        """The text of the solution."""
        return solution_text(self.amount, self.paid, self.wordings)


@nb.njit(cache=True)
def _fill_fewest(values, fewest):  # type: ignore[no-untyped-def]
    """Fills ``fewest`` (int64[61]) with the fewest coins of each amount; ``_NEVER`` where none pay it."""
    fewest[0] = 0
    for amount in range(1, MOST_AMOUNT + 1):
        fewest[amount] = _NEVER
        for value in values:
            if value <= amount and fewest[amount - value] < fewest[amount]:
                fewest[amount] = fewest[amount - value] + 1


@nb.njit(cache=True)
def part_of(values):  # type: ignore[no-untyped-def]
    """Returns the part of a set of coins (from the smallest), in [0, SPLIT_PARTS).

    It is a hash of the coins alone: no amount is asked in two splits with the same coins.
    """
    state = np.zeros(1, np.uint64)
    h = np.uint64(0xCBF29CE484222325)
    for value in values:
        h = (h ^ np.uint64(value)) * np.uint64(0x100000001B3)
    state[0] = h
    return np.int64(next_bits(state) % np.uint64(SPLIT_PARTS))


@nb.njit(cache=True)
def _generate(seed, first, counts, low, high, values, amounts, paid, wordings):  # type: ignore[no-untyped-def]
    state = np.zeros(1, np.uint64)
    fewest = np.zeros(MOST_AMOUNT + 1, np.int64)
    for i in range(counts.shape[0]):
        start_stream(state, seed, first + i)
        found = 0
        while found == 0:
            chosen = 0
            for value in range(1, MOST_VALUE + 1):  # each set of coins is as likely
                if below(state, MOST_VALUE + 1 - value) < KINDS - chosen:
                    values[i, chosen] = value
                    chosen += 1
            if not low <= part_of(values[i]) < high:
                continue
            _fill_fewest(values[i], fewest)
            for amount in range(1, MOST_AMOUNT + 1):
                if fewest[amount] == counts[i]:
                    found += 1
                    if below(state, found) == 0:
                        amounts[i] = amount
        left = amounts[i]
        for k in range(counts[i]):
            ways = 0
            for value in values[i]:
                if value <= left and fewest[left - value] == fewest[left] - 1:
                    ways += 1
                    if below(state, ways) == 0:
                        paid[i, k] = value
            left -= paid[i, k]
            wordings[i, k] = below(state, _WORDINGS)


def purses(split: str, seed: int, first: int, count: int) -> list[Purse]:
    """Returns problems ``first, first + 1, …`` of a split's stream ``seed``.

    A problem depends on (split, seed, its index) alone, so a stream can be read in pieces.
    """
    counts = in_blocks(seed, first, count, 1, MOST_COINS)
    parts = SPLITS[split]
    values, amounts = np.zeros((count, KINDS), np.int64), np.zeros(count, np.int64)
    paid, wordings = np.zeros((count, MOST_COINS), np.int64), np.zeros((count, MOST_COINS), np.int64)
    _generate(seed, first, counts, parts.start, parts.stop, values, amounts, paid, wordings)
    return [
        Purse(tuple(coins), amount, ways[:n], words[:n])
        for coins, amount, ways, words, n in zip(
            *(array.tolist() for array in (values, amounts, paid, wordings, counts)), strict=True
        )
    ]


def write_published(path: Path = PUBLISHED) -> None:
    """Makes the published problems of all splits, the same ones each time, and writes them to ``path``."""
    arrays: dict[str, Any] = {}
    for split, size in SIZES.items():
        rows = [(*p.values, p.amount, len(p.paid)) for p in purses(split, PROBLEM_SEED, 0, size)]
        arrays[split] = np.array(rows, np.int8)
    np.savez_compressed(path, **arrays)
