"""Grades the solutions of a run: reads each text, keeps what was judged, and counts what could not be.

A checker that may take long works in the processes of a ``Pool``; the event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.errors import BadInput
from orchestrator.grading.checker import Checker
from orchestrator.grading.judge import Judge
from orchestrator.grading.pool import DIED, REFUSED, TIMED_OUT, Outcome, Pool, shared
from orchestrator.grading.registry import resolve
from orchestrator.grading.thinking import without_thinking

log = logging.getLogger(__name__)

SHOWN = 300
"""Characters of an input that the log shows."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a checker reads in a text."""

    answer: str | None
    """The answer as it is written; None if there is none."""
    key: str | None
    """Answers with equal keys are one."""
    lost: bool = False
    """True where it could not be found out in time what the answer equals."""


NOTHING = Reading(None, None)


class Asks(Protocol):
    """Asks a model."""

    async def __call__(self, problem: Any, answers: Sequence[tuple[str, str]]) -> list[bool | str]:
        """Returns of each answer, given with a solution that has it, whether it is right, or why that is not
        known."""


class Grader:
    """Reads and judges for one run. It belongs to one event loop at a time."""

    def __init__(
        self,
        checker: Checker,
        *,
        end_of_thinking: str | None = None,
        pool: Callable[[], Pool] = shared,
        judge: Asks | None = None,
    ) -> None:
        """``judge`` is needed by the checker of that name. Raises BadInput where it is not there."""
        if isinstance(checker, Judge) and judge is None:
            needed = "it is a model, and this command starts none; allowed: another checker, such as math"
            raise BadInput("problems.answers", "judge", needed)
        self.checker = checker
        self._judge = judge
        self.counts: Counter[str] = Counter()
        """Answers that were not judged as they should be, by what was wrong: ``timed_out``, ``died``,
        ``refused`` (known to do so), ``failed`` (the checker raised an error), ``too_long``; and those that
        a model did not judge, by why not."""
        self._end_of_thinking = end_of_thinking
        self._pool = pool
        self._slow: bool = getattr(checker, "slow", True)
        self._longest: int | None = getattr(checker, "longest", None)
        self._judged: dict[tuple[tuple[str, ...], str], bool] = {}
        self._long: set[str] = set()
        self._said = 0

    async def read(self, texts: Sequence[str]) -> list[Reading]:
        """Returns what is read in each text, once the thinking is cut off. Raises AnswersFailed where no
        process can read."""
        texts = [without_thinking(text, self._end_of_thinking) for text in texts]
        outcomes = await self._called(_read, texts)
        lost = [i for i, outcome in enumerate(outcomes) if outcome.failure is not None]
        readings = [NOTHING if outcome.failure else Reading(*outcome.value) for outcome in outcomes]
        for i, outcome in zip(lost, await self._called(_extracted, [texts[i] for i in lost]), strict=True):
            # The answer is there, and only what it equals is not known: it equals itself.
            self._count(outcomes[i], texts[i])
            if outcome.failure is None:
                readings[i] = Reading(outcome.value, outcome.value, lost=True)
        for reading in readings:
            if self._longest is not None and reading.answer and len(reading.answer) > self._longest:
                self._too_long(reading.answer)
        return readings

    async def right(self, truths: tuple[str, ...], answers: Sequence[str | None]) -> list[bool]:
        """Tells of each answer whether it is right where any of ``truths`` is; no answer never is. Raises
        AnswersFailed where no process can judge."""
        new = [a for a in dict.fromkeys(answers) if a is not None and (truths, a) not in self._judged]
        outcomes = await self._called(_right, [(truths, answer) for answer in new])
        for answer, outcome in zip(new, outcomes, strict=True):
            if outcome.failure is not None:
                self._count(outcome, answer, truths[0])
            self._judged[truths, answer] = bool(outcome.value)
        return [answer is not None and self._judged[truths, answer] for answer in answers]

    async def solved(self, problem: Any, readings: Sequence[Reading], texts: Sequence[str]) -> list[bool]:
        """Tells of what was read in each of the texts whether it is right: by the answers of ``problem`` as
        ``right`` does, then by the judge, if there is one, who is asked once about answers with equal keys.

        Raises AnswersFailed where no process can judge.
        """
        right = await self.right((problem.answer, *problem.also), [reading.answer for reading in readings])
        if self._judge is None:
            return right
        asked: dict[str, tuple[str, str]] = {}
        for reading, text, good in zip(readings, texts, right, strict=True):
            if reading.answer is not None and reading.key is not None and not good:
                asked.setdefault(reading.key, (reading.answer, text))
        verdicts = dict(zip(asked, await self._judge(problem, list(asked.values())), strict=True))
        self.counts.update(verdict for verdict in verdicts.values() if isinstance(verdict, str))
        return [
            good or verdicts.get(reading.key or "") is True
            for reading, good in zip(readings, right, strict=True)
        ]

    async def _called(self, function: Callable[..., Any], inputs: Sequence[Any]) -> list[Outcome]:
        items = [(self.checker, one) for one in inputs]
        if not items:
            return []
        if self._slow:
            return await asyncio.wrap_future(self._pool().submit(function, items))
        return [Outcome(function(*item)) for item in items]

    def _count(self, outcome: Outcome, *inputs: str) -> None:
        assert outcome.failure is not None
        kinds = {TIMED_OUT: "timed_out", DIED: "died", REFUSED: "refused"}
        self.counts[kinds.get(outcome.failure, "failed")] += 1
        if outcome.failure not in kinds:
            log.warning("an answer is not judged: %s; input %s", outcome.failure, _shown(inputs))

    def _too_long(self, answer: str) -> None:
        self.counts["too_long"] += 1
        if answer not in self._long:
            self._long.add(answer)
            log.warning("an answer of %d characters is compared as text: %s", len(answer), _shown((answer,)))


def _shown(inputs: Sequence[str]) -> str:
    return " | ".join(repr(one if len(one) <= SHOWN else f"{one[:SHOWN]}…") for one in inputs)


def _read(checker: Checker, text: str) -> tuple[str | None, str | None]:
    answer = checker.extract(text)
    return answer, None if answer is None else checker.key(answer)


def _extracted(checker: Checker, text: str) -> str | None:
    return checker.extract(text)


def _right(checker: Checker, judged: tuple[tuple[str, ...], str]) -> bool:
    truths, answer = judged
    return any(checker.accepts(truth, answer) for truth in truths)


def grader(section: object, *, end_of_thinking: str | None = None) -> Grader:
    """Returns the grader that the key ``problems.answers`` asks for. Raises BadInput."""
    return Grader(resolve(section), end_of_thinking=end_of_thinking)
