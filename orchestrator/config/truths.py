"""Grades each problem's own answer: one that its checker does not take can never be answered right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.problems.answers import ANSWERS, Answers
from orchestrator.problems.problem import Problem


class Checker(Protocol):
    """Reads the answer of a solution, and judges it."""

    def extract(self, text: str) -> str | None:
        """Returns the answer in a text; None if there is none."""

    def accepts(self, truth: str, answer: str) -> bool:
        """Tells whether an answer is right where ``truth`` is."""


def _boxed(truth: str) -> list[str]:
    return [rf"\boxed{{{truth}}}"]


def _of_entry(truth: str) -> list[str]:
    try:
        return _boxed(str(json.loads(truth)["answer"]))
    except (ValueError, KeyError, TypeError):
        return []


WRITTEN: Mapping[str, Callable[[str], list[str]]] = {
    "exact": lambda truth: [truth],
    "math": _boxed,
    "number": _boxed,
    "choice": _boxed,
    "reasoning_gym": _of_entry,
}
"""By checker: the solutions that say no more than the answer, of which one has to be right."""
UNWRITTEN = ("code",)
"""Checkers whose truth tells how an answer is tried, and not what it is."""


def graded_against_itself(name: str, checker: Checker, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems whose own answers are all wrong by the checker of this name."""
    return [problem for problem in problems if not _holds(name, checker, problem)]


def _holds(name: str, checker: Checker, problem: Problem) -> bool:
    return any(_right(name, checker, truth) for truth in (problem.answer, *problem.also))


def _right(name: str, checker: Checker, truth: str) -> bool:
    try:
        if (check := getattr(checker, "check_truth", None)) is not None:
            check(truth)
        if name in UNWRITTEN:
            return True
        written = WRITTEN[name](truth) if name in WRITTEN else [truth, *_boxed(truth)]
        answers = [checker.extract(text) for text in written]
        return any(answer is not None and checker.accepts(truth, answer) for answer in answers)
    except Exception:  # a user's checker may raise anything, and a run counts such an answer as wrong
        return False


@dataclass(frozen=True)
class _Compared:
    """Today's answers as a checker."""

    answers: Answers

    def extract(self, text: str) -> str | None:
        return self.answers.extract(text)

    def accepts(self, truth: str, answer: str) -> bool:
        return self.answers.correct(answer, truth)


def checker_of(name: str) -> Checker:
    """Returns the checker that the key ``problems.answers`` names."""
    return _Compared(ANSWERS[name])
