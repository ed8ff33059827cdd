"""Prompts for a reviser: the problem and its earlier attempts, in one of several formats.

A format is a function. The lab's reviser was trained on one; the others are for instruction-tuned models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem, filled

CONTEXT = 4
"""The most earlier attempts that a revision sees, the last ones (Snell et al. 2024, section 6.1)."""


JUDGED = 32
"""The most steps of an attempt whose score is shown, the lowest ones: so what a format adds is bounded."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier attempt."""

    steps: tuple[str, ...]
    scores: tuple[float, ...]
    """The verifier's score of each step; empty if not scored."""

    @property
    def text(self) -> str:
        """The whole attempt."""
        return "".join(self.steps)


class Format(Protocol):
    """Makes the reviser's prompt from the problem's prompt and the earlier attempts (oldest first)."""

    def __call__(self, problem: str, attempts: Sequence[Attempt]) -> str: ...


def lab(problem: str, attempts: Sequence[Attempt]) -> str:
    """Returns the prompt that the lab's reviser was trained on."""
    from orchestrator.problems.lab import revision_prompt

    return revision_prompt(problem, [attempt.text for attempt in attempts])


def plain(problem: str, attempts: Sequence[Attempt]) -> str:
    """Shows the problem and the attempts, and asks for a better one."""
    if not attempts:
        return problem
    return (
        f"{problem}\n\n{_numbered(attempts)}\n\nThe attempts above may be wrong. Solve the problem again, "
        "step by step, keeping what is right in them and correcting what is not."
    )


def self_critique(problem: str, attempts: Sequence[Attempt]) -> str:
    """Asks the model to find the first mistake before it solves the problem again."""
    if not attempts:
        return problem
    return (
        f"{problem}\n\n{_numbered(attempts)}\n\nFirst check the last attempt step by step and name its first "
        "mistake, or say that there is none. Then solve the problem again, step by step, and give the answer."
    )


def verifier_feedback(problem: str, attempts: Sequence[Attempt]) -> str:
    """Shows the verifier's scores of the steps, and points out the lowest one."""
    if not attempts or not attempts[-1].scores:
        return plain(problem, attempts)
    last = attempts[-1]
    doubtful = sorted(range(len(last.scores)), key=lambda i: last.scores[i])[:JUDGED]
    judged = "".join(
        f"[step {i + 1}, judged {last.scores[i]:.2f}] {step.strip()}\n" if i in doubtful else step
        for i, step in enumerate(last.steps)
    ).rstrip()
    return (
        f"{problem}\n\n{_numbered(attempts[:-1])}\n\nLast attempt, each step with a verifier's judgement "
        f"from 0 (wrong) to 1 (right):\n{judged}\n\nStep {doubtful[0] + 1} is the most doubtful. Solve the "
        "problem again, step by step, keeping the steps that are right."
    )


FORMATS: Mapping[str, Format] = {
    "lab": lab,
    "plain": plain,
    "self_critique": self_critique,
    "verifier_feedback": verifier_feedback,
}
JUDGING = ("verifier_feedback",)
"""The formats that show a verifier's scores of steps."""


@dataclass(frozen=True)
class RevisionPrompt:
    """Makes the reviser's prompts in token ids. ``template`` is that of the first prompt."""

    codec: Codec
    format: Format
    template: str = "{problem}"

    def __call__(self, problem: Problem, attempts: Sequence[Attempt]) -> tuple[int, ...]:
        text = self.format(filled(self.template, problem), attempts[-CONTEXT:])
        return self.codec.encode(text)

    def words(self, problem: Problem, steps: int) -> int:
        """Returns the most tokens that the format adds to the problem's prompt and to attempts of up to
        ``steps`` steps: the tokens around attempts that say next to nothing."""
        filler = "x"
        nothing = Attempt((filler, *[""] * (steps - 1)), tuple(1 - i / steps for i in range(steps)))
        around = len(self(problem, [nothing] * CONTEXT)) - len(self(problem, []))
        return max(0, around - CONTEXT * len(self.codec.continuation(filler)))


def _numbered(attempts: Sequence[Attempt]) -> str:
    return "\n\n".join(f"Attempt {i}:\n{attempt.text.strip()}" for i, attempt in enumerate(attempts, start=1))
