"""Scores paths by a user's Python function, in processes of this machine, while engines sample."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from actors.messages import RequestFailed, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.formats.function import FunctionFormat, scores_of
from orchestrator.grading.pool import shared
from orchestrator.search.context import Transport


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
        """Calls the function within a time limit. Raises RequestFailed where it fails or hangs; the message
        names the function and the request."""
        format = self._format
        question, *steps = request.texts
        call = (format.name, format.whole, len(request.step_ends), question, tuple(steps))
        (outcome,) = await asyncio.wrap_future(shared().submit(scores_of, [call]))
        if outcome.failure is not None:
            raise RequestFailed(f"verifier.model {format.name}, request {request.id}: {outcome.failure}")
        return ScoreResult(request.id, outcome.value, 0, f"verifier.model {format.name}")
