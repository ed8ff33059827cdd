"""Calls a user's own checker and verifier once, with an example solution of the first problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.config.preparation import Prepared
from orchestrator.formats.function import scores_of
from orchestrator.grading.pool import shared
from orchestrator.grading.user import UserChecker
from orchestrator.problems.problem import filled


@dataclass(frozen=True)
class Trial:
    """One call of a user's code."""

    key: str
    """The key of the configuration that names it."""
    name: str
    """``path/to/file.py:function``."""
    problem: str
    """Id of the problem that it was called with."""
    returned: str | None
    """What it returned, in words; None where it failed."""
    error: str | None
    """Why it failed, with its file and line."""

    @property
    def failure(self) -> str | None:
        """One line that says what went wrong; None where nothing did."""
        return (
            None if self.error is None else f"{self.key}: {self.name} on problem {self.problem}: {self.error}"
        )


def tried(prepared: Prepared, steps: tuple[str, str]) -> tuple[Trial, ...]:
    """Returns a trial of each function of the user's, with ``steps`` for a solution. Raises AnswersFailed."""
    problem, checker = prepared.problems[0], prepared.checker
    trials = []
    if isinstance(checker, UserChecker):
        text = prepared.codec.separator.join(steps)
        answered = _called(_graded, checker, problem.answer, text)
        trials.append(Trial("problems.answers", checker.name, problem.id, *answered))
    if prepared.verifier is not None and (function := prepared.verifier.function) is not None:
        question, count = filled("{problem}", problem), 1 if function.whole else len(steps)
        scored = _called(_scored, function.name, function.whole, count, question, steps)
        trials.append(Trial("verifier.model", function.name, problem.id, *scored))
    return tuple(trials)


def _called(function: Callable[..., str], *arguments: Any) -> tuple[str | None, str | None]:
    """What a call returns, and why it fails, of which one is None. It has the time of a call in a run."""
    (outcome,) = shared().submit(function, [arguments]).result()
    return outcome.value, outcome.failure


def _graded(checker: UserChecker, truth: str, text: str) -> str:
    answer = checker.extract(text)
    if answer is None:
        return "reads no answer in an example solution"
    checker.key(answer)
    verdict = "right" if checker.accepts(truth, answer) else "wrong"
    return f"reads {answer!r:.60} in an example solution, which is {verdict}"


def _scored(name: str, whole: bool, count: int, question: str, steps: tuple[str, ...]) -> str:
    scores = scores_of(name, whole, count, question, steps)
    if not all(0 <= score <= 1 for score in scores):  # NaN too
        raise ValueError(f"it returned {', '.join(map(str, scores))}; needed: numbers from 0 to 1")
    return f"scores an example solution {', '.join(f'{score:.3g}' for score in scores)}"
