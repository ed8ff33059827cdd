"""Makes the lab's problems of coins: a purse at random, and an amount that one set of its coins pays.

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
    FEWEST_COINS,
    MOST_AMOUNT,
    MOST_COINS,
    MOST_PAID,
    MOST_VALUE,
    PUBLISHED,
    SIZES,
    STEP_WORDINGS,
    prompt_text,
    solution_text,
)

_WORDINGS = len(STEP_WORDINGS)


@dataclass(frozen=True, slots=True)
class Purse:
    """A problem, and a way to pay."""

    coins: tuple[int, ...]
    """The coins of the purse, from the smallest."""
    amount: int
    paid: list[int]
    """The coins that pay the amount, in a random order."""
    wordings: list[int]
    """A wording for each coin paid, at random."""

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return prompt_text(self.coins, self.amount)

    @property
    def solution(self) -> str:
        """The text of the solution."""
        return solution_text(self.amount, self.paid, self.wordings)


@nb.njit(cache=True)
def part_of(coins):  # type: ignore[no-untyped-def]
    """Returns the part of a purse (its coins from the smallest), in [0, SPLIT_PARTS).

    It is a hash of the coins alone: no amount is asked in two splits with the same coins.
    """
    state = np.zeros(1, np.uint64)
    h = np.uint64(0xCBF29CE484222325)
    for value in coins:
        h = (h ^ np.uint64(value)) * np.uint64(0x100000001B3)
    state[0] = h
    return np.int64(next_bits(state) % np.uint64(SPLIT_PARTS))


@nb.njit(cache=True)
def _count_ways(coins, size, ways, sums, sizes):  # type: ignore[no-untyped-def]
    """Fills ``ways`` with the number of sets of coins that pay each amount, and ``sums`` and ``sizes`` with
    the sum and the size of each set: a number whose bits are its coins."""
    ways[:] = 0
    for chosen in range(1, 1 << size):
        sums[chosen] = sizes[chosen] = 0
        for k in range(size):
            if chosen >> k & 1:
                sums[chosen] += coins[k]
                sizes[chosen] += 1
        if sums[chosen] <= MOST_AMOUNT:
            ways[sums[chosen]] += 1


@nb.njit(cache=True)
def _generate(seed, first, counts, low, high, coins, paid, wordings):  # type: ignore[no-untyped-def]
    state = np.zeros(1, np.uint64)
    ways = np.zeros(MOST_AMOUNT + 1, np.int64)
    sums = np.zeros(1 << MOST_COINS, np.int64)
    sizes = np.zeros(1 << MOST_COINS, np.int64)
    for i in range(counts.shape[0]):
        start_stream(state, seed, first + i)
        size, set_found = 0, 0
        while set_found == 0:
            least = max(FEWEST_COINS, counts[i] + 1)
            size = least + below(state, MOST_COINS + 1 - least)
            held = 0
            for value in range(1, MOST_VALUE + 1):  # each purse is as likely
                if below(state, MOST_VALUE + 1 - value) < size - held:
                    coins[i, held] = value
                    held += 1
            coins[i, size:] = 0
            if not low <= part_of(coins[i, :size]) < high:
                continue
            _count_ways(coins[i], size, ways, sums, sizes)
            found = 0
            for chosen in range(1, 1 << size):
                if sizes[chosen] == counts[i] and sums[chosen] <= MOST_AMOUNT and ways[sums[chosen]] == 1:
                    found += 1
                    if below(state, found) == 0:
                        set_found = chosen
        place = 0
        for k in range(size):
            if set_found >> k & 1:
                other = below(state, place + 1)  # a random order: Fisher and Yates' shuffle, inside out
                paid[i, place] = paid[i, other]
                paid[i, other] = coins[i, k]
                wordings[i, place] = below(state, _WORDINGS)
                place += 1


def purses(split: str, seed: int, first: int, count: int) -> list[Purse]:
    """Returns problems ``first, first + 1, …`` of a split's stream ``seed``.

    A problem depends on (split, seed, its index) alone, so a stream can be read in pieces.
    """
    counts = in_blocks(seed, first, count, 1, MOST_PAID)
    parts = SPLITS[split]
    coins = np.zeros((count, MOST_COINS), np.int64)
    paid, wordings = np.zeros((2, count, MOST_PAID), np.int64)
    _generate(seed, first, counts, parts.start, parts.stop, coins, paid, wordings)
    made = []
    for held, ways, words in zip(*(array.tolist() for array in (coins, paid, wordings)), strict=True):
        chosen = [value for value in ways if value]
        purse = tuple(value for value in held if value)
        made.append(Purse(purse, sum(chosen), chosen, words[: len(chosen)]))
    return made


def write_published(path: Path = PUBLISHED) -> None:
    """Makes the published problems of all splits, the same ones each time, and writes them to ``path``."""
    arrays: dict[str, Any] = {}
    for split, size in SIZES.items():
        rows = np.zeros((size, 1 + MOST_COINS), np.int8)
        for row, purse in zip(rows, purses(split, PROBLEM_SEED, 0, size), strict=True):
            row[0] = purse.amount
            row[1 : 1 + len(purse.coins)] = [-v if v in purse.paid else v for v in purse.coins]
        arrays[split] = rows
    np.savez_compressed(path, **arrays)
