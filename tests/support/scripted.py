"""A scripted engine and a character tokenizer: searches without a model, in milliseconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actors.messages import Finish, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import Budget
from orchestrator.durability.journal import Journal
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.search.context import Sampling, SearchContext
from orchestrator.search.operations import Operations
from orchestrator.search.revision import Attempt, RevisionPrompt
from orchestrator.search.tree import Node

EOS = "$"
SHAPE = {
    "model_type": "qwen2",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 128,
}
GENERATOR = CostModel.from_config(SHAPE | {"architectures": ["Qwen2ForCausalLM"]})
VERIFIER = CostModel.from_config(SHAPE | {"architectures": ["Qwen2ForProcessRewardModel"]})


class Characters:
    """A tokenizer with one token a character; ``$`` ends a sequence."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(
        self, ids: list[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool = False
    ) -> str:
        text = "".join(map(chr, ids))
        return text.replace(EOS, "") if skip_special_tokens else text


MARKER = "</t>"
CODEC = Codec(Characters(), "\n", MARKER)
POLICY = str(Path(__file__).parent / "policy.yaml")
SMALL: dict[str, dict[str, Any]] = {
    "budget_forcing": {"n": 8, "min_thinking_tokens": 8, "max_thinking_tokens": 12, "answer_prefix": ":"},
    "compute_optimal": {"policy": POLICY},
}
"""Parameters of the strategies whose defaults are too long for ``setting``'s 32 tokens a solution, or name
a file."""
Write = Callable[[SampleRequest, str, random.Random], str]
Judge = Callable[[str], float]


def letters(steps: int, length: int = 3) -> Write:
    """Writes random letters, ``length`` a step; the ``steps``-th step ends the solution. A thought is
    as long as a step."""

    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        if request.until == "thought":
            return "".join(rng.choices("abcd", k=length)) + MARKER
        done = text.rpartition("?")[2].count("\n")
        left = range(done, steps) if request.until == "end" else range(done, done + 1)
        return "".join(
            "".join(rng.choices("abcd", k=length)) + (EOS if step == steps - 1 else "\n") for step in left
        )

    return write


def share_of_a(text: str) -> float:
    """A verifier that likes the letter a."""
    solution = text.rpartition("?")[2]
    return solution.count("a") / max(1, len(solution))


def two_starts(request: SampleRequest, text: str, rng: random.Random) -> str:
    """Writes good or bad at the first step, by chance; then a step that ends it."""
    solution = text.rpartition("?")[2]
    return f"xx{EOS}" if solution else rng.choice(["good\n", "evil\n"])


def likes_good(text: str) -> float:
    return 0.999 if "good" in text else 0.001


@dataclass
class ScriptedEngine:
    """Answers from ``write`` and ``judge``, each request after a random delay of the event loop's turns:
    the seed decides the text, ``jitter`` only the order in which things finish."""

    write: Write = field(default_factory=lambda: letters(3))
    judge: Judge = share_of_a
    jitter: random.Random | None = None
    logprob: Callable[[str], float] = lambda letter: -0.5
    """The log-probability of a letter."""
    samples: list[SampleRequest] = field(default_factory=list)
    scores: list[ScoreRequest] = field(default_factory=list)
    revisions: list[SampleRequest] = field(default_factory=list)

    async def sample(self, request: SampleRequest) -> SampleResult:
        self.samples.append(request)
        return await self._written(request)

    async def _written(self, request: SampleRequest) -> SampleResult:
        await self._delay()
        prompt = "".join(map(chr, request.prompt))
        text = self.write(request, prompt, random.Random(request.seed))[: request.max_tokens]
        stops: dict[Finish, str] = {"end": EOS, "step": "\n", "thought": MARKER}
        finish = next((name for name, stop in stops.items() if text.endswith(stop)), "length")
        tokens = tuple(map(ord, text))
        computed = len(request.prompt) + len(tokens) - 1
        logprobs = tuple(map(self.logprob, text)) if request.logprobs else ()
        return SampleResult(request.id, tokens, finish, computed, "scripted", logprobs)

    async def revise(self, request: SampleRequest) -> SampleResult:
        self.revisions.append(request)
        return await self._written(request)

    async def score(self, request: ScoreRequest) -> ScoreResult:
        self.scores.append(request)
        await self._delay()
        text = "".join(map(chr, request.tokens))
        scores = tuple(self.judge(text[:end]) for end in request.step_ends)
        return ScoreResult(request.id, scores, len(request.tokens), "scripted")

    async def _delay(self) -> None:
        for _ in range(self.jitter.randrange(8) if self.jitter is not None else 1):
            await asyncio.sleep(0)


def setting(engine: ScriptedEngine, *, journal: Journal | None = None, seed: int = 0) -> SearchContext:
    sampling = Sampling(max_step_tokens=8, max_tokens=32)
    return SearchContext(
        engine,
        CODEC,
        GENERATOR,
        VERIFIER,
        reviser=GENERATOR,
        revision_prompt=RevisionPrompt(CODEC, hashes),
        sampling=sampling,
        seed=seed,
        journal=journal,
    )


def flops_budget(flops: int, problems: int = 1) -> Budget:
    """A budget asked for in FLOPs."""
    return Budget("flops", flops, flops, (flops // problems,) * problems, 1, 0.0, 0.0)


def hashes(problem: str, attempts: Sequence[Attempt]) -> str:
    """Each attempt and a #, then the prompt."""
    return "".join(f"{attempt.text}#" for attempt in attempts) + problem


def operations(
    engine: ScriptedEngine,
    *,
    budget: int = 10**12,
    journal: Journal | None = None,
    prompt: str = "1+1?",
    **changes: Any,
) -> Operations:
    """The operations of one problem. ``changes`` are fields of the search context."""
    context = replace(setting(engine, journal=journal), **changes)
    start = len(CODEC.encode(prompt))

    async def read(nodes: Sequence[Node]) -> list[str | None]:
        return [CODEC.solution(n.tokens[start:]) if n.finish == "end" else None for n in nodes]

    return Operations(Problem("p", prompt, ""), CODEC.encode(prompt), Lease(budget), context, read=read)
