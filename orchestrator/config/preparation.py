"""Everything that can be wrong with a run's input, found before anything is started.

What ``config`` checks needs the configuration alone; what is checked here needs the problems, the models'
configurations and their tokenizers, and how they fit each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.allocation.policy import COMPUTE_OPTIMAL, read_policy, same_model
from orchestrator.budget.flops import CostModel
from orchestrator.budget.units import Budget, Price, convert
from orchestrator.config.fingerprint import fingerprint as config_fingerprint
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput
from orchestrator.problems.codec import Codec, load_tokenizer
from orchestrator.problems.problem import Problem, read_jsonl
from orchestrator.search.revision import CONTEXT, FORMATS, RevisionPrompt
from orchestrator.strategies.budget_forcing import closing
from orchestrator.strategies.registry import configured


@dataclass(frozen=True)
class Prepared:
    """A checked run: ``prompts`` are the problems' token ids, costs in FLOPs."""

    config: Config
    problems: Sequence[Problem]
    prompts: Sequence[tuple[int, ...]]
    codec: Codec
    generator: CostModel
    verifier: CostModel | None
    reviser: CostModel | None
    budget: Budget


def prepare(config: Config) -> Prepared:
    """Load problems, tokenizers and cost models; check that they fit each other and the budget.
    Raises BadInput. Starts nothing."""
    problems = _problems(config)
    generator = CostModel.from_pretrained(config.generator.model, key="generator.model")
    _check_role("generator", config.generator.model, generator, reward=False)
    codec = Codec.from_pretrained(
        config.generator.model, config.generator.step_delimiter, config.generator.end_of_thinking
    )
    verifier = _companion(config, codec, "verifier", config.verifier.model)
    reviser = None
    if configured(config.strategy).has_reviser:
        reviser = _companion(config, codec, "reviser", config.reviser.model) or generator
    template = config.problems.template
    prompts = [
        codec.encode(template.replace("{problem}", problem.prompt), chat=config.generator.chat)
        for problem in problems
    ]
    _check_writable(config)
    _check_lengths(config, problems, prompts, revision_prompt(config, codec))
    _check_thinking(config, codec)
    _check_policy(config)
    budget = _budget(config, prompts, generator, verifier)
    cheapest = min(generator.prefill(len(p)) + generator.sample(len(p), 1) for p in prompts)
    if budget.flops < cheapest:
        raise BadInput(
            f"budget.{budget.unit}",
            budget.amount,
            f"one token after the shortest prompt costs {cheapest:.3g} FLOPs; allowed: that or more",
        )
    return Prepared(config, problems, prompts, codec, generator, verifier, reviser, budget)


def _budget(
    config: Config, prompts: Sequence[tuple[int, ...]], generator: CostModel, verifier: CostModel | None
) -> Budget:
    (unit,) = config.budget.units
    new = config.budget.solution_tokens or config.generator.max_tokens
    prices = [Price.of(len(prompt), new, generator, verifier, config.verifier.kind) for prompt in prompts]
    return convert(unit, getattr(config.budget, unit), prices, new)


def _companion(config: Config, codec: Codec, key: str, model: str | None) -> CostModel | None:
    """The costs of a model that works on the generator's tokens, so must have its vocabulary."""
    if model is None:
        return None
    costs = CostModel.from_pretrained(model, key=f"{key}.model")
    _check_role(key, model, costs, reward=key == "verifier")
    if load_tokenizer(model, key=f"{key}.model").get_vocab() != codec.tokenizer.get_vocab():
        raise BadInput(
            f"{key}.model",
            model,
            f"a {key} reads the generator's tokens, so its tokenizer must have the same vocabulary as "
            f"generator.model's ({config.generator.model})",
        )
    return costs


def _check_role(key: str, model: str, costs: CostModel, *, reward: bool) -> None:
    if costs.reward != reward:
        wanted = "a reward model" if reward else "a causal language model"
        raise BadInput(f"{key}.model", model, f"its architecture has no such head; allowed: {wanted}")


def _problems(config: Config) -> list[Problem]:
    if config.problems.source == "lab":
        from orchestrator.problems.lab import problems

        return problems(config.problems.split, config.problems.limit)
    assert config.problems.path is not None
    return read_jsonl(config.problems.path, config.problems.limit)


def _check_writable(config: Config) -> None:
    try:
        Path(config.runs).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            "runs", config.runs, f"allowed: a directory that can be written ({error.strerror})"
        ) from error


def revision_prompt(config: Config, codec: Codec) -> RevisionPrompt:
    """What writes the reviser's contexts."""
    return RevisionPrompt(
        codec, FORMATS[config.reviser.format], config.problems.template, config.generator.chat
    )


def _check_lengths(
    config: Config,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
    revision_prompt: RevisionPrompt,
) -> None:
    """Every prompt and a longest solution must fit the engines' context; after earlier attempts, and the
    words that show them, where a model reads those too."""
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    prompt, new = len(prompts[longest]), config.generator.max_tokens
    attempts = CONTEXT if configured(config.strategy).needs_reviser else 0
    words = revision_prompt.words(problems[longest], new) if attempts else 0
    readers = {"reviser" if config.reviser.model is not None else "generator"}
    if config.verifier.kind == "orm":
        readers.add("verifier")
    for name, pool in (
        ("generator", config.generator),
        ("verifier", config.verifier),
        ("reviser", config.reviser),
    ):
        shown = attempts if name in readers else 0
        needed = prompt + (1 + shown) * new + (words if shown else 0)
        limit = pool.engine.get("max_model_len")
        if pool.model is not None and limit is not None and needed > limit:
            raise BadInput(
                f"{name}.engine.max_model_len",
                limit,
                f"problem {problems[longest].id} has {prompt} prompt tokens, generator.max_tokens is {new}"
                + (
                    f", and {shown} earlier attempts are shown with {words} tokens around them"
                    if shown
                    else ""
                )
                + f"; allowed: {needed} or more",
            )


def _check_thinking(config: Config, codec: Codec) -> None:
    """The longest thinking, the text that cuts it and one token of an answer must fit in a solution."""
    if config.strategy["name"] != "budget_forcing":
        return
    marker, thinking = codec.end_of_thinking, config.strategy["max_thinking_tokens"]
    assert marker is not None
    cut = len(codec.continuation(closing(marker, config.strategy["answer_prefix"])))
    most = config.generator.max_tokens - cut - 1
    if thinking > most:
        raise BadInput(
            "strategy.max_thinking_tokens",
            thinking,
            f"generator.max_tokens is {config.generator.max_tokens}, and {cut} tokens cut the thinking; "
            f"allowed: {most} or less",
        )


def _check_policy(config: Config) -> None:
    """A policy tells how hard problems are for a generator, by a verifier's scores, so it is for those and
    the aggregation that it was fitted with."""
    if config.strategy["name"] != COMPUTE_OPTIMAL:
        return
    policy = read_policy(config.strategy["policy"])
    fitted = f"strategy.policy ({config.strategy['policy']}) was fitted with another; allowed: "
    if not same_model(policy.generator, config.generator.model):
        raise BadInput("generator.model", config.generator.model, fitted + policy.generator)
    if not same_model(policy.verifier, config.verifier.model):
        raise BadInput("verifier.model", config.verifier.model, fitted + policy.verifier)
    if policy.aggregation != config.verifier.aggregation:
        raise BadInput("verifier.aggregation", config.verifier.aggregation, fitted + policy.aggregation)


def fingerprint(prepared: Prepared, instead: str = "") -> str:
    """Of all that determines the results: configuration, problems, and the file that a strategy names (its
    source, or its policy). ``instead``: what is done in the strategy's place, with its parameters."""
    sha = hashlib.sha256(config_fingerprint(prepared.config).encode())
    sha.update(instead.encode())
    for problem, prompt in zip(prepared.problems, prepared.prompts, strict=True):
        sha.update(f"\0{problem.id}\0{problem.answer}\0{prompt}".encode())
    path, separator, _ = str(prepared.config.strategy["name"]).rpartition(":")
    for file in (path if separator else None, prepared.config.strategy.get("policy")):
        if file is not None:
            sha.update(Path(file).read_bytes())
    return sha.hexdigest()
