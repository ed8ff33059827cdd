"""Scores paths by a user's Python function, in processes of this machine, while engines sample."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.formats.function import FunctionFormat, scores_of
from orchestrator.grading.pool import shared
from orchestrator.search.context import Transport

log = logging.getLogger(__name__)


class FunctionVerifier:
    """Carries scores to a function and all else to engines."""

    def __init__(self, engines: Transport, format: FunctionFormat) -> None:
        self._engines = engines
        self._format = format

    def sample(self, request: SampleRequest) -> Awaitable[SampleResult]:
        return self._engines.sample(request)

    def revise(self, request: SampleRequest) -> Awaitable[SampleResult]:
        return self._engines.revise(request)

    async def score(self, request: ScoreRequest) -> ScoreResult:
        """Calls the function within a time limit.

        Where it fails or hangs each score is NaN, which is none: that is said in the log and by the result's
        ``replica``, and costs this path its score and no other.
        """
        format, count = self._format, len(request.step_ends)
        question, *steps = request.texts
        call = (format.name, format.whole, count, question, tuple(steps))
        (outcome,) = await asyncio.wrap_future(shared().submit(scores_of, [call]))
        judge = f"verifier.model {format.name}"
        if outcome.failure is None:
            return ScoreResult(request.id, outcome.value, 0, judge)
        log.warning("%s, request %s: %s", judge, request.id, outcome.failure)
        return ScoreResult(request.id, (math.nan,) * count, 0, f"{judge}: {outcome.failure}")
