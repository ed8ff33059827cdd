"""The values that all searches of a run share: transport, cost models, sampling; and counters of usage."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.budget.flops import CostModel
from orchestrator.durability.journal import Journal
from orchestrator.formats.definition import Format
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.search.confidence import Confidence
from orchestrator.search.revision import RevisionPrompt
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import VerifierView, view_of


class Transport(Protocol):
    """Carries requests to engines: pools of replicas, or a scripted stand-in in tests."""

    def sample(self, request: SampleRequest) -> Awaitable[SampleResult]:
        """Samples a continuation with the generator."""

    def score(self, request: ScoreRequest) -> Awaitable[ScoreResult]:
        """Scores the steps of a path with the verifier."""

    def revise(self, request: SampleRequest) -> Awaitable[SampleResult]:
        """Samples a new attempt with the reviser."""


class ReadsAnswers(Protocol):
    """Reads the answers of one problem's paths."""

    async def __call__(self, nodes: Sequence[Node]) -> list[str | None]:
        """Returns what each path votes for: equal texts for equal answers; None where it has no answer, and
        where it is not known what that equals."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The generator's sampling values."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_step_tokens: int = 64
    """The most tokens of one step."""
    max_tokens: int = 512
    """The most tokens of a whole solution, without the prompt."""


@dataclass(frozen=True)
class SearchContext:
    """The values that all searches of a run share."""

    engine: Transport
    codec: Codec
    generator: CostModel
    verifier: CostModel | None
    """None where nothing is scored."""
    reviser: CostModel | None = None
    """None where nothing is revised. It is ``generator``, that very object, where the generators revise: one
    model, which reads a problem's prompt once."""
    revision_prompt: RevisionPrompt | None = None
    """None where nothing is revised."""
    sampling: Sampling = field(default_factory=Sampling)
    verifier_kind: str = "prm"
    """``prm`` scores each step of a path, ``orm`` gives one score for the whole of it."""
    verifier_format: Format | None = None
    """How the verifier is shown a path as text; None where it reads the generator's token ids."""
    verifier_ratio: float = 2.0
    """Tokens of the verifier that are granted for each token of the generator, before its text is known."""
    verifier_limit: int | None = None
    """The longest text that the verifier takes, in its tokens; None where that is not known."""
    aggregation: str = "last"
    """A key of ``selection.AGGREGATIONS``."""
    confidence: Confidence | None = None
    """How the generator's own confidence in a path is read; None where its tokens' log-probabilities are not
    asked for."""
    seed: int = 0
    journal: Journal | None = None
    times: Mapping[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    """When each operation of some problems was sent and answered, in seconds since 1970: by problem and key,
    noted as they run."""

    def view_of(self, problem: Problem, prompt: tuple[int, ...]) -> VerifierView:
        """Returns how the verifier is shown the paths of a problem whose prompt has these token ids.

        Raises ValueError where the run has no verifier.
        """
        if self.verifier is None:
            raise ValueError("this run has no verifier")
        return view_of(
            problem,
            prompt,
            self.codec,
            self.verifier,
            self.verifier_format,
            whole=self.verifier_kind == "orm",
            ratio=self.verifier_ratio,
            limit=self.verifier_limit,
        )


@dataclass(slots=True)
class Usage:
    """Counters of FLOPs and tokens: charged (logical), and run by the engines (computed)."""

    generator_flops: int = 0
    verifier_flops: int = 0
    generator_tokens: int = 0
    fresh_tokens: int = 0
    """Tokens that this process sampled: neither prompts nor replayed from the journal."""
    verifier_tokens: int = 0
    computed_flops: int = 0
    computed_generator_tokens: int = 0
    computed_verifier_tokens: int = 0
    steps: int = 0
    """Steps that were asked for and did not end the solution."""
    cut_steps: int = 0
    """Those of them that ``max_step_tokens`` ended, and no delimiter."""
    unscored: int = 0
    """Paths without a score: their text takes more of the verifier's tokens than were granted, or than it can
    read, or the verifier had none for them (NaN, for one)."""
    compared: int = 0
    """Samples that were compared with their siblings (``distinct``)."""
    copies: int = 0
    """Those of them that are equal to an earlier one, and became that one."""
    operations: int = 0
    replayed: int = 0
    selection_flops: int = 0
    """Those of the generator's FLOPs that generative selection took."""
    selection_tokens: int = 0
    """Its tokens that generative selection read and wrote."""
    choices: int = 0
    """Choices that the generator was asked for."""
    unread_choices: int = 0
    """Those of them whose reply names no solution."""
    unmade_choices: int = 0
    """Choices that were not asked for, or failed: for want of funds, of context, or of an engine's answer."""

    @property
    def flops(self) -> int:
        """FLOPs charged, verifier included."""
        return self.generator_flops + self.verifier_flops

    def __iadd__(self, other: Usage) -> Usage:
        for counter in fields(self):
            setattr(self, counter.name, getattr(self, counter.name) + getattr(other, counter.name))
        return self
