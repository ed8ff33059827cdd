"""Finds the problems whose prompt and longest solution do not fit what the models can read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config.model_config import Section, config_of
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput
from orchestrator.formats.registry import STEPS
from orchestrator.problems.problem import Problem
from orchestrator.search.revision import CONTEXT, RevisionPrompt
from orchestrator.strategies.definition import BoundStrategy

SIZES = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions"),
    *("max_sequence_length", "max_seq_length", "seq_len"),
)
"""Keys of a model's config.json that give its context; an engine goes by the least of them."""
SCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "default")
"""Kinds of rotary scaling whose factor is in the size already, or that have none."""


@dataclass(frozen=True)
class Limit:
    """The longest text that the replicas of a pool can read."""

    tokens: int
    needed: int
    """Tokens beside the prompt: a longest solution, and earlier attempts where they are shown."""
    key: str
    given: object
    """The key that sets the limit, and its value."""
    history: str
    """What else than the prompt and a solution has to fit, in words."""

    def allowed(self, prompt: int) -> str:
        """Returns in words what a prompt of so many tokens needs."""
        needed = prompt + self.needed
        if self.given == self.tokens:
            return f"allowed: {needed} or more"
        return f"its config.json gives it a context of {self.tokens}, and {needed} are needed"


def fitting(
    config: Config,
    strategy: BoundStrategy,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
    revision_prompt: RevisionPrompt,
) -> tuple[list[int], tuple[str, ...]]:
    """Returns the indices of the problems that fit every model, and the ids of those that do not.

    Raises BadInput where one does not and ``problems.too_long`` is ``refuse``, and where none fits.
    """
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    limits = _limits(config, strategy, problems[longest], revision_prompt)

    def too_long(index: int) -> Limit | None:
        return next((limit for limit in limits if len(prompts[index]) + limit.needed > limit.tokens), None)

    found = {index: limit for index in range(len(prompts)) if (limit := too_long(index)) is not None}
    if longest in found and config.problems.too_long == "refuse":
        raise _refused(found[longest], config, problems[longest], len(prompts[longest]), skippable=True)
    if len(found) == len(prompts):
        shortest = min(found, key=lambda i: len(prompts[i]))
        raise _refused(found[shortest], config, problems[shortest], len(prompts[shortest]), skippable=False)
    kept = [index for index in range(len(prompts)) if index not in found]
    return kept, tuple(problems[index].id for index in found)


def _refused(limit: Limit, config: Config, problem: Problem, prompt: int, *, skippable: bool) -> BadInput:
    skip = "; or problems.too_long=skip leaves out what does not fit" if skippable else ""
    return BadInput(
        limit.key,
        limit.given,
        f"problem {problem.id} has {prompt} prompt tokens, generator.max_tokens is "
        f"{config.generator.max_tokens}{limit.history}; {limit.allowed(prompt)}{skip}",
    )


def _limits(
    config: Config, strategy: BoundStrategy, longest: Problem, revision_prompt: RevisionPrompt
) -> list[Limit]:
    """The limit of each pool that has one. Earlier attempts, and the words that show them, count where a
    model reads those too."""
    new = config.generator.max_tokens
    attempts = CONTEXT if strategy.strategy.needs_reviser else 0
    words = revision_prompt.words(longest, new) if attempts else 0
    readers = {"reviser" if config.reviser.model is not None else "generator"}
    if config.verifier.kind == "orm":
        readers.add("verifier")
    pools: list[tuple[str, Section]] = [("generator", config.generator)]
    if config.verifier.format == STEPS:  # how long a text is in another's tokens is not known yet
        pools.append(("verifier", config.verifier))
    if strategy.strategy.has_reviser:
        pools.append(("reviser", config.reviser))
    limits = []
    for name, pool in pools:
        if pool.model is None:
            continue
        shown = attempts if name in readers else 0
        needed = (1 + shown) * new + (words if shown else 0)
        history = f", and {shown} earlier attempts are shown with {words} tokens around them" if shown else ""
        given = pool.engine.get("max_model_len")
        if given is not None:
            key = f"{name}.engine.max_model_len"
            limits.append(Limit(given, needed, key, given, history))
        elif (tokens := context(config_of(name, pool))) is not None:
            limits.append(Limit(tokens, needed, f"{name}.model", pool.model, history))
    return limits


def context(model: Mapping[str, Any]) -> int | None:
    """Returns the tokens that a model of this ``config.json`` reads at most where an engine is told nothing.

    None where that is not known: no key says it, or a scaling that is not understood.
    """
    text = model.get("text_config")
    held: Mapping[str, Any] = {**model, **text} if isinstance(text, Mapping) else model
    sizes = [held[key] for key in SIZES if isinstance(held.get(key), int) and held[key] > 0]
    if not sizes:
        return None
    size = min(sizes)
    if isinstance(other := held.get("model_max_length"), int):
        size = other  # Cohere's, which takes the place of the others
    scaling = held.get("rope_parameters") or held.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        return None
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "longrope":
        original = held.get("original_max_position_embeddings")
        return original if isinstance(original, int) else size
    if kind in SCALED or str(held.get("model_type")).startswith("gemma3"):
        return size
    factor = scaling.get("factor", 1.0)
    return int(size * factor) if isinstance(factor, int | float) and factor > 0 else None
