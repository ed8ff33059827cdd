"""Asks a model whether answers are right: after the searches, and paid beside their budget.

A question is asked once in the life of a run: its verdict is journaled, and a run that goes on has it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from actors.messages import (
    Request,
    RequestFailed,
    Result,
    SampleRequest,
    SampleResult,
    ScoreRequest,
    ScoreResult,
    check_scores,
)
from orchestrator.budget.ledger import Lease, Reservation
from orchestrator.config.judge import PreparedJudge
from orchestrator.durability.journal import Journal
from orchestrator.grading.thinking import without_thinking
from orchestrator.problems.problem import Problem, beside

log = logging.getLogger(__name__)

RIGHT = 0.5
"""The least verdict that is right."""
UNLIMITED = 1 << 96
"""FLOPs of a problem's share where judging has no limit."""
Ask = Callable[[Request], Awaitable[Any]]
"""Gives the result of a request to a judge."""
Known = Mapping[str, tuple[Result, int]]
"""The results that are journaled, and their charges, by the requests' ids."""
UNPAID, TOO_LONG, FAILED = "judge_unpaid", "judge_too_long", "judge_failed"
NO_VERDICT = "judge_no_verdict"
"""Why an answer is not judged."""


class ModelJudge:
    """Judges the answers of a run's ``problems``, each problem's within an equal share of ``judge.flops``."""

    def __init__(
        self,
        judge: PreparedJudge,
        ask: Ask,
        journal: Journal | None,
        problems: int,
    ) -> None:
        self._judge, self._ask, self._journal = judge, ask, journal
        self._share = UNLIMITED if judge.flops is None else judge.flops // problems
        self.budget = Lease(self._share * problems, "judge")

    async def __call__(self, problem: Problem, answers: Sequence[tuple[str, str]]) -> list[bool | str]:
        """Returns of each answer, given with a solution that has it, whether it is right, or why it is not
        judged.

        Funds are granted in the order of the answers, before any is asked.
        """
        lease = self.budget.lease(self._share, problem.id)
        known = self._journal.results(_place(problem)) if self._journal is not None else {}
        asked = [self._judge.tokens(problem, answer, solution) for answer, solution in answers]
        funds = [self._granted(lease, tokens) for tokens in asked]
        try:
            async with asyncio.TaskGroup() as group:
                judging = [
                    group.create_task(self._verdict(problem, known, tokens, held))
                    if isinstance(held, Reservation)
                    else held
                    for tokens, held in zip(asked, funds, strict=True)
                ]
            return [each if isinstance(each, str) else each.result() for each in judging]
        finally:
            for held in funds:
                if isinstance(held, Reservation):
                    held.close()
            lease.close()

    def _granted(self, lease: Lease, tokens: tuple[int, ...]) -> Reservation | str:
        """The funds for a question, or why it is not asked."""
        judge = self._judge
        if judge.limit is not None and len(tokens) + judge.writes > judge.limit:
            return TOO_LONG
        return lease.grant(judge.cost(len(tokens), judge.writes)) or UNPAID

    async def _verdict(
        self, problem: Problem, known: Known, tokens: tuple[int, ...], funds: Reservation
    ) -> bool | str:
        judge, digest = self._judge, hashlib.sha256(repr(tokens).encode()).hexdigest()
        id, affinity = f"{problem.id}/judge/{digest[:16]}", problem.id
        request: SampleRequest | ScoreRequest
        if judge.writes:
            seed = int(digest[:15], 16)
            request = SampleRequest(id, tokens, seed, judge.writes, "end", 0.0, affinity=affinity)
        else:
            request = ScoreRequest(id, tokens, (len(tokens),), affinity)

        try:
            result, flops = known.get(id) or await self._asked(problem, request)
        except RequestFailed as error:
            log.warning("an answer is not judged: %s", error)
            return FAILED
        funds.settle(flops)
        if isinstance(result, ScoreResult):
            return result.scores[0] >= RIGHT
        text = judge.question.tokenizer.decode(list(result.tokens), skip_special_tokens=True)
        value = judge.question.said(without_thinking(text))
        if value is None:
            log.warning("an answer is not judged: request %s: the judge wrote %r", id, text[:200])
            return NO_VERDICT
        return value >= RIGHT

    async def _asked(self, problem: Problem, request: SampleRequest | ScoreRequest) -> tuple[Result, int]:
        """The result of a request and its charge, once both are journaled."""
        result: Result = await self._ask(request)
        if isinstance(request, SampleRequest):
            assert isinstance(result, SampleResult)
            flops = self._judge.cost(len(request.prompt), len(result.tokens))
        else:
            assert isinstance(result, ScoreResult)
            check_scores(result, request)
            flops = self._judge.cost(len(request.tokens), 0)
        if self._journal is not None:
            self._journal.record(_place(problem), request.id, result, flops)
        return result, flops


def _place(problem: Problem) -> str:
    """The name under which the journal has the verdicts of a problem, apart from its search."""
    return beside("judge", problem.id)
