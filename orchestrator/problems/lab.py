"""The lab's task: complete a Latin square of order 6 whose solution is unique.

Text. The prompt is six rows of symbols ``1``..``6`` and blanks ``.``; five end in a newline, the last in
``=``. The solution is the six completed rows with newlines between, then the end-of-sequence token. Each
character is one token, so each row, of the prompt and of the solution, is exactly 7 tokens with what ends
it, and a cell lies 42 tokens after its clue. A step is a row. Difficulty is the number of blanks, 6..24.

The published problems are read from a file that ``lab.puzzles.write_published`` makes. Nothing here imports
numba, which the making of puzzles needs: a vLLM 0.32 CPU engine fails to start in a process that has imported
numba before.
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
"""Tokens of a well-formed solution, the end-of-sequence token included."""
STEPS = ORDER
STEP_DELIMITER = "\n"
MIN_BLANKS, MAX_BLANKS = 6, 24
REVISION_SEPARATOR = "#"
MAX_ATTEMPTS = 4
"""Earlier attempts that a revision prompt keeps."""

SIZES = {"test": 2000, "bins": 2000, "validation": 2000, "train": 10000}
SPLITS = tuple(SIZES)

PUBLISHED = Path(__file__).parent.parent / "lab" / "checkpoints" / "problems.npz"


def problems(split: str, limit: int | None = None) -> list[Problem]:
    """The first ``limit`` problems of ``split`` (all if None: 2000, of ``train`` 10000).

    A prefix is itself balanced: each block of 19 problems holds each number of blanks once, in a random
    order fixed for good. ``BadInput`` if the split is unknown or the limit is negative.
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
    """The prompt of a puzzle (int8[36], 0 a blank): six rows, 42 characters."""
    return "\n".join(_rows(puzzle)) + "="


def solution_text(solution: npt.NDArray[np.int8]) -> str:
    """The solution's text without the end-of-sequence token: six rows, 41 characters."""
    return "\n".join(_rows(solution))


def _rows(grid: npt.NDArray[np.int8]) -> list[str]:
    text = "".join("." if cell == 0 else str(cell) for cell in grid.tolist())
    return [text[i : i + ORDER] for i in range(0, CELLS, ORDER)]


def revision_prompt(prompt: str, attempts: Sequence[str]) -> str:
    """The prompt for a new attempt after ``attempts`` (solutions' texts, oldest first).

    The last four attempts, each followed by ``#``, then the problem's prompt; with none exactly ``prompt``.
    The prompt stands right before the new attempt, as where there is no revision, because a model that has
    to look back past the attempts for it loses most of its skill. An attempt (41 characters) and its ``#``
    are 42 tokens, so a cell keeps its distance of 42 from its clue, and of a multiple of 42 from the same
    cell of each attempt: at most 4 * 42 + 42 = 210 tokens, 252 with the solution. An attempt of another
    length (1 % of samples at temperature 1) would shift what comes before it, and is left out.
    """
    texts = [canonical_answer(attempt) for attempt in attempts]
    kept = [text for text in texts if len(text) == SOLUTION_TOKENS - 1][-MAX_ATTEMPTS:]
    return "".join(text + REVISION_SEPARATOR for text in kept) + prompt


def parse_prompt(prompt: str) -> npt.NDArray[np.int8]:
    """The puzzle (int8[36]) of a prompt; ``BadInput`` if the text is not one of this task's prompts."""
    rows = prompt[:-1].split("\n")
    if (
        prompt[-1:] != "="
        or len(rows) != ORDER
        or any(len(r) != ORDER or set(r) - set(".123456") for r in rows)
    ):
        raise BadInput("problem.prompt", prompt, "needed: six rows of six, each of 1..6 or '.', then '='")
    return np.array([0 if c == "." else int(c) for row in rows for c in row], np.int8)


def canonical_answer(text: str) -> str:
    """A solution's answer: its rows, without space at the ends. Two solutions agree iff these are equal."""
    return text.strip()


def is_correct(text: str, answer: str) -> bool:
    """Whether a solution's text is the problem's (unique) answer."""
    return canonical_answer(text) == canonical_answer(answer)


def correct_steps(text: str, answer: str) -> list[bool]:
    """For each step (row) of a solution's text: is this row right? Extra rows are wrong; absent ones are
    not listed."""
    truth = canonical_answer(answer).split("\n")
    rows = canonical_answer(text).split("\n")
    return [i < len(truth) and row == truth[i] for i, row in enumerate(rows)]


def first_wrong_step(text: str, answer: str) -> int | None:
    """Index of the first wrong or absent step, or None if the solution is correct."""
    steps = correct_steps(text, answer)
    for i, good in enumerate(steps):
        if not good:
            return i
    return len(steps) if len(steps) < STEPS else None
