"""The lab's task: complete a Latin square of order 6 whose solution is unique.

The prompt is six rows of symbols ``1``..``6`` and blanks ``.``; five end in a newline, the last in ``=``. The
solution is the six completed rows with newlines between, then the end-of-sequence token. A character is a
token, so a row of the prompt or of the solution is exactly 7 tokens with the character that ends it, and a
cell lies 42 tokens after its clue. A step is a row. The difficulty is the number of blanks, 6..24.

The published problems are read from a file that ``lab.puzzles.write_published`` makes. Puzzles are made with
numba in another module, because a vLLM 0.32 CPU engine fails to start in a process that has imported numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.errors import BadInput, one_of
from orchestrator.problems.problem import Problem

Grids = npt.NDArray[np.int8]
"""Cells of grids in row order, [n, 36]: 1..6 a symbol, 0 a blank."""

ORDER = 6
CELLS = ORDER * ORDER
ROW_TOKENS = ORDER + 1
PROMPT_TOKENS = ORDER * ROW_TOKENS
SOLUTION_TOKENS = ORDER * ROW_TOKENS
"""Tokens of a well-formed solution with its end-of-sequence token."""
STEPS = ORDER
MIN_BLANKS, MAX_BLANKS = 6, 24
REVISION_SEPARATOR = "#"
MAX_ATTEMPTS = 4
"""Earlier attempts in a revision prompt, at most."""

SIZES = {"test": 2000, "bins": 2000, "validation": 2000, "train": 10000}
SPLITS = tuple(SIZES)

PUBLISHED = Path(__file__).parent.parent / "lab" / "checkpoints" / "problems.npz"


def problems(split: str, limit: int | None = None) -> list[Problem]:
    """Returns the first ``limit`` problems of ``split``, or all: 10000 of ``train``, 2000 of another.

    Each block of 19 problems has each number of blanks once, in a fixed random order. Raises ``BadInput`` if
    the split is unknown or the limit is negative.
    """
    if split not in SIZES:
        raise BadInput("problems.split", split, one_of(SPLITS))
    if limit is not None and limit < 0:
        raise BadInput("problems.limit", limit, "allowed: 0 or more, or null for all")
    count = SIZES[split] if limit is None else min(limit, SIZES[split])
    puzzles, solutions = _published(split)
    return [
        Problem(
            id=f"lab-{split}-{i:04d}",
            prompt=prompt_text(puzzles[i]),
            answer=solution_text(solutions[i]),
            difficulty=float(np.count_nonzero(puzzles[i] == 0)),
        )
        for i in range(count)
    ]


@cache
def _published(split: str) -> tuple[Grids, Grids]:
    with np.load(PUBLISHED) as file:
        solutions = file[f"{split}_solutions"]
        given = np.unpackbits(file[f"{split}_given"], axis=1, count=CELLS)
    return solutions * given.astype(np.int8), solutions


def prompt_text(puzzle: npt.NDArray[np.int8]) -> str:
    """Returns the prompt of a puzzle (int8[36], 0 a blank): six rows, 42 characters."""
    return "\n".join(_rows(puzzle)) + "="


def solution_text(solution: npt.NDArray[np.int8]) -> str:
    """Returns the solution's text without the end-of-sequence token: six rows, 41 characters."""
    return "\n".join(_rows(solution))


def _rows(grid: npt.NDArray[np.int8]) -> list[str]:
    text = "".join("." if cell == 0 else str(cell) for cell in grid.tolist())
    return [text[i : i + ORDER] for i in range(0, CELLS, ORDER)]


def revision_prompt(prompt: str, attempts: Sequence[str]) -> str:
    """Returns the prompt for a new attempt after ``attempts`` (texts of solutions, oldest first).

    It is the last four attempts, each followed by ``#``, then ``prompt``: at most 4 * 42 + 42 = 210 tokens.
    The problem's prompt comes last, because a model that has to look back past the attempts for it loses most
    of its skill. An attempt (41 characters) and its ``#`` are 42 tokens, so a cell lies 42 tokens after its
    clue and a multiple of 42 after the same cell of each attempt. An attempt of another length (1 % of
    samples at temperature 1) would break that, and is left out.
    """
    texts = [canonical_answer(attempt) for attempt in attempts]
    kept = [text for text in texts if len(text) == SOLUTION_TOKENS - 1][-MAX_ATTEMPTS:]
    return "".join(text + REVISION_SEPARATOR for text in kept) + prompt


def parse_prompt(prompt: str) -> npt.NDArray[np.int8]:
    """Returns the puzzle (int8[36]) of a prompt. Raises ``BadInput`` if the text is no such prompt."""
    rows = prompt[:-1].split("\n")
    if (
        prompt[-1:] != "="
        or len(rows) != ORDER
        or any(len(r) != ORDER or set(r) - set(".123456") for r in rows)
    ):
        raise BadInput("problem.prompt", prompt, "needed: six rows of six, each of 1..6 or '.', then '='")
    return np.array([0 if c == "." else int(c) for row in rows for c in row], np.int8)


def canonical_answer(text: str) -> str:
    """Returns a solution's answer: its text without space at the ends. Equal solutions have equal answers."""
    return text.strip()
