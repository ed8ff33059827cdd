"""What the searches of a run share: the engines, the models' costs, how to sample; and what they used."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field, fields
from typing import Protocol

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.budget.flops import CostModel
from orchestrator.durability.journal import Journal
from orchestrator.problems.codec import Codec
from orchestrator.search.revision import RevisionPrompt


class Engine(Protocol):
    """Where the work is done: pools of replicas, or a scripted stand-in in tests."""

    def sample(self, request: SampleRequest) -> Awaitable[SampleResult]: ...

    def score(self, request: ScoreRequest) -> Awaitable[ScoreResult]: ...

    def revise(self, request: SampleRequest) -> Awaitable[SampleResult]: ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the generator samples. Lengths in tokens; ``max_tokens`` bounds a whole solution."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_step_tokens: int = 64
    max_tokens: int = 512


@dataclass(frozen=True)
class SearchContext:
    """What all searches of a run share. ``verifier`` is None where nothing is scored, ``reviser`` and
    ``revision_prompt`` where nothing is revised. ``reviser`` is ``generator``, that very object, where the
    generators revise: one model, which reads a problem's prompt once.

    ``verifier_kind`` ``prm`` reads a path once and scores each step; ``orm`` reads an attempt after all that
    it was written after (its context of earlier attempts), and has one score for the whole of it.
    """

    engine: Engine
    codec: Codec
    generator: CostModel
    verifier: CostModel | None
    reviser: CostModel | None = None
    revision_prompt: RevisionPrompt | None = None
    sampling: Sampling = field(default_factory=Sampling)
    verifier_kind: str = "prm"
    aggregation: str = "last"
    seed: int = 0
    journal: Journal | None = None


@dataclass(slots=True)
class Usage:
    """What was charged (logical), and what the engines really ran (computed); FLOPs and tokens.
    ``fresh_tokens`` were sampled by this process: neither prompts nor replayed from the journal."""

    generator_flops: int = 0
    verifier_flops: int = 0
    generator_tokens: int = 0
    fresh_tokens: int = 0
    verifier_tokens: int = 0
    computed_flops: int = 0
    computed_generator_tokens: int = 0
    computed_verifier_tokens: int = 0
    operations: int = 0
    replayed: int = 0

    @property
    def flops(self) -> int:
        """FLOPs charged, verifier included."""
        return self.generator_flops + self.verifier_flops

    def __iadd__(self, other: Usage) -> Usage:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self
