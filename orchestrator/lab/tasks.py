"""The lab's tasks as training and evaluation see them: their problems, new examples, and what is right in a
solution.

A task is told by a model's vocabulary: a model of one task cannot read the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orchestrator.grading.math import Math
from orchestrator.lab.purses import purses
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.tokenizer import (
    COIN_VOCABULARY,
    EOS,
    EOS_ID,
    IDS,
    PAD_ID,
    PROMPT_END_ID,
    VOCABULARY,
    build_tokenizer,
    grid_tokens,
)
from orchestrator.problems import coins, lab
from orchestrator.problems.problem import Problem

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """Prompts with solutions to learn from."""

    tokens: Tensor
    """Token ids, int64[n, length], padded at the end."""
    solution: Tensor
    """The tokens that belong to a solution, bool[n, length]."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is right in the solutions of one problem, and which of them have the same answer."""

    answers: Ints
    """A number for each answer, [n]: equal answers have equal numbers; -1 where there is none."""
    right: Bools
    """Whether the answer is right, [n]."""
    lucky: Bools
    """Whether it is right though a step is wrong, [n]."""
    ends: Ints
    """The last token of each step, [n, steps]. The last one of a solution is repeated."""
    steps: Bools
    """The steps that a solution has, [n, steps]."""
    good: Bools
    """Whether all is right up to the end of a step and can still become right, [n, steps]."""

    @classmethod
    def stacked(cls, problems: Sequence[Judged]) -> Judged:
        """Returns several problems' as one, with problems as the first dimension of each array."""
        return cls(*(np.stack([getattr(p, field.name) for p in problems]) for field in fields(cls)))


class Task(ABC):
    """A task of the lab."""

    source: str
    """The name of its problem source."""
    vocabulary: tuple[str, ...]
    tokens: int
    """Tokens of a solution at most."""
    names: range = range(0)
    """The tokens that may change places with each other: a renamed problem is as good as a new one, and
    belongs to the same split."""
    bands: tuple[tuple[int, int], ...]
    """Groups of problems by their difficulty, both ends included."""

    @abstractmethod
    def problems(self, split: str, limit: int | None = None) -> list[Problem]:
        """Returns published problems. Raises ``BadInput`` for an unknown split."""

    @abstractmethod
    def examples(self, seed: int, step: int, batch: int) -> list[Examples]:
        """Returns ``batch`` new examples of the train split, in parts of about equal length.

        They depend on (seed, step, batch) alone, and no step has an example of another.
        """

    def renamed(self, tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns ``tokens`` (int64[n, length]) with each row's names renamed by a random permutation."""
        table = np.tile(np.arange(len(self.vocabulary)), (tokens.shape[0], 1))
        names = slice(self.names.start, self.names.stop)
        table[:, names] = rng.permuted(table[:, names], axis=1)
        return torch.from_numpy(table).gather(1, tokens)

    @abstractmethod
    def judge(self, problem: Problem, solutions: Tensor) -> Judged:
        """Judges solutions of a problem: int64[n, tokens], with padding after the end."""


class Squares(Task):
    """Latin squares to complete (``problems.lab``)."""

    source = "lab"
    vocabulary = VOCABULARY
    tokens = lab.SOLUTION_TOKENS
    names = range(IDS["1"], IDS["1"] + lab.ORDER)
    bands = ((6, 8), (9, 11), (12, 14), (15, 17), (18, 20), (21, 24))

    def problems(self, split: str, limit: int | None = None) -> list[Problem]:
        return lab.problems(split, limit)

    def examples(self, seed: int, step: int, batch: int) -> list[Examples]:
        puzzles, solutions = puzzle_arrays("train", seed, step * batch, batch)
        tokens = np.concatenate([grid_tokens(puzzles, PROMPT_END_ID), grid_tokens(solutions, EOS_ID)], axis=1)
        written = torch.arange(tokens.shape[1]) >= lab.PROMPT_TOKENS
        return [Examples(torch.from_numpy(tokens), written.expand(batch, -1))]

    def judge(self, problem: Problem, solutions: Tensor) -> Judged:
        truth = torch.tensor([*_tokenizer(self.source)(problem.answer)["input_ids"], EOS_ID])
        good = (solutions == truth).long().cumprod(-1).bool()[:, lab.ROW_TOKENS - 1 :: lab.ROW_TOKENS].numpy()
        _, answers = np.unique(solutions.numpy(), axis=0, return_inverse=True)
        ends = torch.arange(lab.ROW_TOKENS - 1, self.tokens, lab.ROW_TOKENS)
        last = (solutions != PAD_ID).sum(-1, keepdim=True) - 1
        return Judged(
            answers.ravel(),
            good[:, -1],
            np.zeros(len(good), bool),
            torch.minimum(ends, last).numpy(),
            np.ones_like(good),
            good,
        )


class Coins(Task):
    """An amount paid exactly with coins of a purse, in words (``problems.coins``)."""

    source = "coins"
    vocabulary = COIN_VOCABULARY
    tokens = coins.SOLUTION_TOKENS
    bands = tuple((count, count) for count in range(1, coins.MOST_PAID + 1))
    parts = 2
    """Parts of a training step: examples of like length, so that little is padded."""

    def problems(self, split: str, limit: int | None = None) -> list[Problem]:
        return coins.problems(split, limit)

    def examples(self, seed: int, step: int, batch: int) -> list[Examples]:
        made = purses("train", seed, step * batch, batch)
        tokenizer = _tokenizer(self.source)
        prompts = tokenizer([purse.prompt for purse in made])["input_ids"]
        solutions = tokenizer([purse.solution + EOS for purse in made])["input_ids"]
        pairs = sorted(zip(prompts, solutions, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
        size = -(-len(pairs) // self.parts)
        return [_padded(pairs[start : start + size]) for start in range(0, len(pairs), size)]

    def judge(self, problem: Problem, solutions: Tensor) -> Judged:
        texts = _tokenizer(self.source).batch_decode(solutions, skip_special_tokens=True)
        checker, newline = Math(), self.vocabulary.index("\n")
        n, most = len(texts), coins.MOST_PAID + 3
        answers, ends = np.full(n, -1), np.zeros((n, most), np.int64)
        right, lucky = np.zeros((2, n), bool)
        steps, good = np.zeros((2, n, most), bool)
        numbers: dict[str, int] = {}
        for i, (text, tokens) in enumerate(zip(texts, solutions.tolist(), strict=True)):
            last = max(0, len(tokens) - tokens.count(PAD_ID) - 1)
            lines = coins.read_lines(problem.prompt, text)
            if tokens[last] == EOS_ID and (answer := checker.extract(text)) is not None:
                answers[i] = numbers.setdefault(checker.key(answer), len(numbers))
                right[i] = checker.accepts(problem.answer, answer)
                lucky[i] = right[i] and not lines[-1].true
            newlines = [at for at in range(last) if tokens[at] == newline]
            found = [*newlines[: most - 1], last]
            ends[i] = [*found, *[last] * (most - len(found))]
            steps[i, : len(found)] = True
            good[i, : len(found)] = [line.hopeful for line in lines][: len(found)]
        return Judged(answers, right, lucky, ends, steps, good)


TASKS: dict[str, Task] = {"lab": Squares(), "coins": Coins()}
"""The tasks by the name of their problem source."""


@cache
def _tokenizer(source: str) -> Any:
    return build_tokenizer(TASKS[source].vocabulary)


def _padded(pairs: Sequence[tuple[list[int], list[int]]]) -> Examples:
    """Returns prompts and their solutions as one batch."""
    rows = [torch.tensor([*prompt, *solution]) for prompt, solution in pairs]
    written = [torch.arange(len(row)) >= len(prompt) for row, (prompt, _) in zip(rows, pairs, strict=True)]
    return Examples(pad_sequence(rows, batch_first=True), pad_sequence(written, batch_first=True))
