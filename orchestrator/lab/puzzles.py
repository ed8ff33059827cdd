"""Makes the lab's puzzles: Latin squares of order 6 with blanks, each with exactly one solution.

The code is compiled with numba. A puzzle depends on (seed, split, index) alone (``splitmix``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from orchestrator.lab.splitmix import below, next_bits, start_stream
from orchestrator.problems.lab import (
    CELLS,
    MAX_BLANKS,
    MIN_BLANKS,
    ORDER,
    PUBLISHED,
    SIZES,
    Grids,
)

_ALL = (1 << ORDER) - 1
SPLIT_PARTS = 16
"""A puzzle's part is its hash modulo this number, the same for any renaming of its symbols. The part decides
the split, so splits cannot overlap."""
SPLITS = {"test": range(0, 1), "bins": range(1, 2), "validation": range(2, 3), "train": range(3, 16)}
"""The parts of each split."""
PROBLEM_SEED = 20260
"""The seed of the published problems. Training uses other streams of the same split."""


@nb.njit(cache=True)
def _ones(mask):  # type: ignore[no-untyped-def]
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


# No function here calls itself: numba's on-disk cache crashes the process that loads a recursive one.


@nb.njit(cache=True)
def _fill(grid, state):  # type: ignore[no-untyped-def]
    """Fills ``grid`` (int8[36]) with a random Latin square: random choices in cell order, backtracking."""
    rows = np.zeros(ORDER, np.int64)
    cols = np.zeros(ORDER, np.int64)
    free = np.zeros(CELLS, np.int64)
    placed = np.zeros(CELLS, np.int64)
    free[0] = _ALL
    cell = 0
    while cell < CELLS:
        r, c = cell // ORDER, cell % ORDER
        if placed[cell]:
            rows[r] ^= placed[cell]
            cols[c] ^= placed[cell]
            placed[cell] = 0
        if free[cell] == 0:
            cell -= 1
            continue
        left = free[cell]
        for _ in range(below(state, _ones(left))):
            left &= left - 1
        bit = left & -left
        free[cell] ^= bit
        placed[cell] = bit
        rows[r] |= bit
        cols[c] |= bit
        grid[cell] = _ones(bit - 1) + 1
        cell += 1
        if cell < CELLS:
            free[cell] = _ALL & ~(rows[cell // ORDER] | cols[cell % ORDER])


@nb.njit(cache=True)
def _tightest(grid, rows, cols):  # type: ignore[no-untyped-def]
    """Returns the blank with the fewest free symbols, and those symbols as bits; (-1, 0) without a blank."""
    best, best_free, best_ones = -1, 0, ORDER + 1
    for cell in range(CELLS):
        if grid[cell] == 0:
            free = _ALL & ~(rows[cell // ORDER] | cols[cell % ORDER])
            ones = _ones(free)
            if ones < best_ones:
                best, best_free, best_ones = cell, free, ones
                if ones <= 1:
                    break
    return best, best_free


@nb.njit(cache=True)
def count_solutions(grid, limit):  # type: ignore[no-untyped-def]
    """Counts the Latin squares that complete ``grid`` (int8[36]), up to ``limit``; 0 if it conflicts."""
    grid = grid.copy()
    rows = np.zeros(ORDER, np.int64)
    cols = np.zeros(ORDER, np.int64)
    for cell in range(CELLS):
        if grid[cell]:
            bit = 1 << (np.int64(grid[cell]) - 1)
            if (rows[cell // ORDER] | cols[cell % ORDER]) & bit:
                return 0
            rows[cell // ORDER] |= bit
            cols[cell % ORDER] |= bit
    cells = np.zeros(CELLS, np.int64)
    free = np.zeros(CELLS, np.int64)
    placed = np.zeros(CELLS, np.int64)
    cells[0], free[0] = _tightest(grid, rows, cols)
    if cells[0] < 0:
        return 1
    depth, found = 0, 0
    while depth >= 0:
        cell = cells[depth]
        r, c = cell // ORDER, cell % ORDER
        if placed[depth]:
            rows[r] ^= placed[depth]
            cols[c] ^= placed[depth]
            placed[depth] = 0
            grid[cell] = 0
        if free[depth] == 0:
            depth -= 1
            continue
        bit = free[depth] & -free[depth]
        free[depth] ^= bit
        placed[depth] = bit
        rows[r] |= bit
        cols[c] |= bit
        grid[cell] = 1
        following, following_free = _tightest(grid, rows, cols)
        if following < 0:
            found += 1
            if found == limit:
                break
        else:
            depth += 1
            cells[depth], free[depth] = following, following_free
    return found


@nb.njit(cache=True)
def part_of(grid):  # type: ignore[no-untyped-def]
    """Returns the puzzle's part, in [0, SPLIT_PARTS): a hash of its canonical form.

    In the canonical form, symbols are renamed in the order of their first appearance. A puzzle and its
    renamings share a part, so no test problem is a renaming of a training problem.
    """
    names = np.zeros(ORDER + 1, np.int64)
    used = 0
    state = np.zeros(1, np.uint64)
    h = np.uint64(0xCBF29CE484222325)
    for cell in range(CELLS):
        symbol = grid[cell]
        if symbol and names[symbol] == 0:
            used += 1
            names[symbol] = used
        h = (h ^ np.uint64(names[symbol])) * np.uint64(0x100000001B3)
    state[0] = h
    return np.int64(next_bits(state) % np.uint64(SPLIT_PARTS))


@nb.njit(cache=True)
def _puzzle(puzzle, solution, blanks, state):  # type: ignore[no-untyped-def]
    """Fills ``puzzle`` and ``solution`` (int8[36]): ``blanks`` cells removed, the solution still unique."""
    order = np.arange(CELLS)
    while True:
        _fill(solution, state)
        puzzle[:] = solution
        for i in range(CELLS - 1, 0, -1):
            j = below(state, i + 1)
            order[i], order[j] = order[j], order[i]
        removed = 0
        for i in range(CELLS):
            cell = order[i]
            puzzle[cell] = 0
            if count_solutions(puzzle, 2) == 1:
                removed += 1
                if removed == blanks:
                    return
            else:
                puzzle[cell] = solution[cell]


@nb.njit(cache=True)
def _generate(seed, first, blanks, low, high):  # type: ignore[no-untyped-def]
    n = blanks.shape[0]
    puzzles = np.zeros((n, CELLS), np.int8)
    solutions = np.zeros((n, CELLS), np.int8)
    state = np.zeros(1, np.uint64)
    for i in range(n):
        start_stream(state, seed, first + i)
        while True:
            _puzzle(puzzles[i], solutions[i], blanks[i], state)
            part = part_of(puzzles[i])
            if low <= part < high:
                break
    return puzzles, solutions


def generate(seed: int, first: int, blanks: npt.NDArray[np.int64], parts: range) -> tuple[Grids, Grids]:
    """Returns puzzles ``first, first + 1, …`` of stream ``seed`` and their solutions, each int8[n, 36].

    The i-th has ``blanks[i]`` blanks (1..24). Only puzzles whose part (``part_of``) lies in ``parts`` are
    made.
    """
    return _generate(seed, first, np.asarray(blanks, np.int64), parts.start, parts.stop)


def write_published(path: Path = PUBLISHED) -> None:
    """Makes the published problems of all splits, the same ones each time, and writes them to ``path``."""
    arrays: dict[str, Any] = {}
    for split, size in SIZES.items():
        puzzles, solutions = puzzle_arrays(split, PROBLEM_SEED, 0, size)
        arrays[f"{split}_solutions"] = solutions
        arrays[f"{split}_given"] = np.packbits(puzzles != 0, axis=1)
    np.savez_compressed(path, **arrays)


def puzzle_arrays(split: str, seed: int, first: int, count: int) -> tuple[Grids, Grids]:
    """Returns ``count`` puzzles of a split's stream ``seed`` and their solutions, each int8[count, 36].

    A puzzle depends on (split, seed, its index) alone, so a stream can be read in pieces; ``first`` is the
    index of the first.
    """
    return generate(seed, first, in_blocks(seed, first, count, MIN_BLANKS, MAX_BLANKS), SPLITS[split])


def in_blocks(seed: int, first: int, count: int, least: int, most: int) -> npt.NDArray[np.int64]:
    """Returns difficulties ``first, first + 1, …`` of stream ``seed``: every block of ``most - least + 1``
    problems is a permutation of ``least``..``most``."""
    values = np.arange(least, most + 1)
    start = first // len(values)
    stop = (first + count + len(values) - 1) // len(values)
    blocks = [np.random.default_rng([seed, block]).permutation(values) for block in range(start, stop)]
    if not blocks:
        return np.zeros(0, np.int64)
    offset = first - start * len(values)
    return np.concatenate(blocks)[offset : offset + count]
