"""Asks a model whether answers are right: after the searches, and paid beside their budget.

A question is asked once in the life of a run: its verdict is journaled, and a run that goes on has it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from actors.messages import RequestFailed, ScoreRequest, ScoreResult, check_scores
from orchestrator.budget.ledger import Lease, Reservation
from orchestrator.config.judge import PreparedJudge
from orchestrator.durability.journal import Journal
from orchestrator.problems.problem import Problem
from orchestrator.search.execution import Execution

log = logging.getLogger(__name__)

RIGHT = 0.5
"""The least verdict that is right."""
UNLIMITED = 1 << 96
"""FLOPs of a problem's share where judging has no limit."""
UNPAID, TOO_LONG, FAILED = "judge_unpaid", "judge_too_long", "judge_failed"
"""Why an answer is not judged."""


class ModelJudge:
    """Judges the answers of a run's ``problems``, each problem's within an equal share of ``judge.flops``."""

    def __init__(
        self,
        judge: PreparedJudge,
        ask: Callable[[ScoreRequest], Awaitable[ScoreResult]],
        journal: Journal | None,
        problems: int,
    ) -> None:
        self._judge, self._ask, self._journal = judge, ask, journal
        self._share = UNLIMITED if judge.flops is None else judge.flops // problems
        self.budget = Lease(self._share * problems, "judge")
        self.tokens = 0
        """Tokens that are charged."""

    async def __call__(self, problem: Problem, answers: Sequence[tuple[str, str]]) -> list[bool | str]:
        """Returns of each answer, given with a solution that has it, whether it is right, or why it is not
        judged.

        Funds are granted in the order of the answers, before any is asked.
        """
        lease = self.budget.lease(self._share, problem.id)
        execution = Execution(f"judge/{problem.id}", lease, self._journal)
        asked = [self._judge.tokens(problem, answer, solution) for answer, solution in answers]
        funds = [self._granted(lease, tokens) for tokens in asked]
        try:
            async with asyncio.TaskGroup() as group:
                judging = [
                    group.create_task(self._verdict(problem, execution, tokens, held))
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
        if self._judge.limit is not None and len(tokens) > self._judge.limit:
            return TOO_LONG
        return lease.grant(self._judge.costs.score(0, len(tokens))) or UNPAID

    async def _verdict(
        self, problem: Problem, execution: Execution, tokens: tuple[int, ...], funds: Reservation
    ) -> bool | str:
        digest = hashlib.sha256(repr(tokens).encode()).hexdigest()[:16]
        request = ScoreRequest(f"{problem.id}/judge/{digest}", tokens, (len(tokens),), problem.id)

        def cost(result: ScoreResult) -> int:
            check_scores(result, request)
            return self._judge.costs.score(0, len(tokens))

        try:
            result, flops = await execution.once(request, self._ask, cost)
        except RequestFailed as error:
            log.warning("an answer is not judged: %s", error)
            return FAILED
        funds.settle(flops)
        self.tokens += len(tokens)
        return result.scores[0] >= RIGHT
