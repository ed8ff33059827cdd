"""Grades each problem's own answer: one that its checker does not take can never be answered right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from orchestrator.errors import BadInput
from orchestrator.grading.checker import Checker
from orchestrator.grading.choice import Choice
from orchestrator.grading.code import Code
from orchestrator.grading.exact import Exact
from orchestrator.grading.judge import Judge
from orchestrator.grading.math import Math
from orchestrator.grading.number import Number
from orchestrator.grading.pool import Outcome, shared
from orchestrator.grading.reasoning_gym import ReasoningGym
from orchestrator.problems.problem import Problem


def _whole(truth: str) -> list[str]:
    return [truth]


def _boxed(truth: str) -> list[str]:
    return [rf"\boxed{{{truth}}}"]


def _of_entry(truth: str) -> list[str]:
    return [f"<answer>{json.loads(truth)['answer']}</answer>"]


WRITTEN: Mapping[type, Callable[[str], list[str]]] = {
    Exact: _whole,
    Math: _boxed,
    Judge: _boxed,
    Number: _boxed,
    Choice: _boxed,
    ReasoningGym: _of_entry,
}
"""By checker: the solutions that say no more than the answer, of which one has to be right. A user's checker
may want it in a box or not."""
TESTED = (Code,)
"""Checkers whose truth tells how an answer is tried, and not what it is; ``check_truth`` looks at that."""


def check_truths(checker: Checker, problems: Sequence[Problem]) -> None:
    """Raises BadInput for the first answer of a problem that a checker cannot judge by, where it knows."""
    check = getattr(checker, "check_truth", None)
    if check is None:
        return
    for problem in problems:
        for truth in (problem.answer, *problem.also):
            try:
                check(truth)
            except ValueError as error:
                raise BadInput(f"the answer of problem {problem.id}", truth[:60], str(error)) from error


def graded_against_itself(checker: Checker, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems whose own answers are all wrong by their checker, in the order given.

    Raises AnswersFailed where no process can judge.
    """
    if isinstance(checker, TESTED):
        return []
    items = [(checker, (problem.answer, *problem.also)) for problem in problems]
    if getattr(checker, "slow", True):
        outcomes = shared().submit(_holds, items).result()
    else:
        outcomes = [Outcome(_holds(*item)) for item in items]
    return [problem for problem, outcome in zip(problems, outcomes, strict=True) if not outcome.value]


def _holds(checker: Checker, truths: tuple[str, ...]) -> bool:
    return any(_right(checker, truth) for truth in truths)


def _right(checker: Checker, truth: str) -> bool:
    if not truth.strip():
        return False
    write = WRITTEN.get(type(checker), lambda truth: [truth, *_boxed(truth)])
    try:
        answers = [checker.extract(text) for text in write(truth)]
        return any(answer is not None and checker.accepts(truth, answer) for answer in answers)
    except Exception:  # a checker may raise anything, and a run counts such an answer as wrong
        return False
