"""An engine of the lab without a model: it fills in the rows of a puzzle at random, by a request's seed."""

from __future__ import annotations

import asyncio
import random

import ray

from actors.messages import Finish, ReplicaInfo, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.lab.tokenizer import EOS_ID, IDS, NEWLINE_ID
from tests.support.echo import Echo

PROMPT = 42
"""Tokens."""


def sampled(request: SampleRequest, replica: str = "scripted") -> SampleResult:
    rng = random.Random(request.seed)
    done = (len(request.prompt) - PROMPT) // 7
    tokens: list[int] = []
    for row in range(done, done + 1 if request.until == "step" else 6):
        tokens += [IDS[symbol] for symbol in rng.choices("123456", k=6)]
        tokens.append(EOS_ID if row == 5 else NEWLINE_ID)
    finish: Finish = "end" if tokens[-1] == EOS_ID else "step"
    return SampleResult(request.id, tuple(tokens), finish, len(tokens), replica)


def scored(request: ScoreRequest, replica: str = "scripted") -> ScoreResult:
    scores = tuple(sum(request.tokens[:end]) % 97 / 97 for end in request.step_ends)
    return ScoreResult(request.id, scores, 0, replica)


class LabReplica(Echo):
    """Stands in for a GeneratorActor or a VerifierActor, and takes what they take."""

    def __init__(self, name: str, model: str, **options: object) -> None:
        super().__init__(name, model)

    async def info(self) -> ReplicaInfo:
        node = ray.get_runtime_context().get_node_id()
        return ReplicaInfo(self.name, node, (await super().info()).pid, 384, 16, 10_000, 0.0)

    async def answer(self, request: SampleRequest | ScoreRequest) -> None:
        answered = sampled if isinstance(request, SampleRequest) else scored
        await self.ready.put(answered(request, self.name))


class SlowReplica(LabReplica):
    """One whose answers take a moment."""

    async def answer(self, request: SampleRequest | ScoreRequest) -> None:
        await asyncio.sleep(0.2)
        await super().answer(request)
