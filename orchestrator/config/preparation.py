"""Finds everything that can be wrong with a run's input, before anything is started.

``checks`` needs the configuration alone. What is checked here needs the strategy, the problems, the models'
configurations and their tokenizers, and how they fit each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.allocation.policy import COMPUTE_OPTIMAL
from orchestrator.budget.flops import CostModel
from orchestrator.budget.units import Budget, Price, convert
from orchestrator.config.checks import check_strategy
from orchestrator.config.fingerprint import fingerprint as config_fingerprint
from orchestrator.config.schema import BudgetConfig, Config
from orchestrator.errors import BadInput
from orchestrator.grading.checker import Checker
from orchestrator.grading.registry import file_of
from orchestrator.grading.registry import resolve as resolve_checker
from orchestrator.problems import lab
from orchestrator.problems.codec import Codec, load_tokenizer
from orchestrator.problems.problem import Problem, read_jsonl
from orchestrator.search.revision import CONTEXT, FORMATS, RevisionPrompt
from orchestrator.strategies.definition import BoundStrategy, RunFacts
from orchestrator.strategies.registry import resolve


@dataclass(frozen=True)
class Prepared:
    """A checked run."""

    config: Config
    """Its strategy section has a value for every parameter."""
    strategy: BoundStrategy
    checker: Checker
    problems: Sequence[Problem]
    prompts: Sequence[tuple[int, ...]]
    """The problems' token ids, in the order of ``problems``."""
    codec: Codec
    generator: CostModel
    verifier: CostModel | None
    reviser: CostModel | None
    """None where nothing is revised; ``generator`` itself where the generators revise."""
    budget: Budget


class PromptCache:
    """Problems and their prompts that several runs share: each set is read, tokenized and held once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Sequence[Problem], Sequence[tuple[int, ...]]]] = {}

    def get(self, config: Config, codec: Codec) -> tuple[Sequence[Problem], Sequence[tuple[int, ...]]]:
        """Returns the problems of a run, and the token ids of their prompts. Raises BadInput."""
        key = repr((config.problems, config.generator.model, config.generator.chat))
        if key not in self._held:
            problems = _problems(config)
            template = config.problems.template
            prompts = [
                codec.encode(template.replace("{problem}", problem.prompt), chat=config.generator.chat)
                for problem in problems
            ]
            self._held[key] = problems, prompts
        return self._held[key]


def prepare(config: Config, cache: PromptCache | None = None) -> Prepared:
    """Resolves the strategy, loads problems, tokenizers and cost models, and checks that they fit each other
    and the budget. Starts nothing. Raises BadInput.

    ``cache`` holds what several runs share.
    """
    strategy = resolve(config.strategy)
    check_strategy(config, strategy)
    config = replace(config, strategy=strategy.section)
    generator = CostModel.from_pretrained(config.generator.model, key="generator.model")
    _check_role("generator", config.generator.model, generator, reward=False)
    codec = Codec.from_pretrained(
        config.generator.model, config.generator.step_delimiter, config.generator.end_of_thinking
    )
    verifier = _companion(config, codec, "verifier", config.verifier.model)
    reviser = None
    if strategy.strategy.has_reviser:
        reviser = _companion(config, codec, "reviser", config.reviser.model) or generator
    problems, prompts = (cache or PromptCache()).get(config, codec)
    checker = resolve_checker(config.problems.answers)
    _check_truths(checker, problems)
    _check_writable(config)
    _check_lengths(config, strategy, problems, prompts, revision_prompt(config, codec))
    strategy.check_run(
        RunFacts(
            codec,
            config.generator.model,
            config.verifier.model,
            config.verifier.aggregation,
            config.generator.max_tokens,
        )
    )
    budget = _budget(config, prompts, generator, verifier)
    cheapest = min(generator.prefill(len(p)) + generator.sample(len(p), 1) for p in prompts)
    if budget.flops < cheapest:
        raise BadInput(
            f"budget.{budget.unit}",
            budget.amount,
            f"one token after the shortest prompt costs {cheapest:.3g} FLOPs; allowed: that or more",
        )
    return Prepared(config, strategy, checker, problems, prompts, codec, generator, verifier, reviser, budget)


def with_budget(prepared: Prepared, section: BudgetConfig) -> Prepared:
    """Returns the same run under another budget. Raises BadInput."""
    config = replace(prepared.config, budget=section)
    budget = _budget(config, prepared.prompts, prepared.generator, prepared.verifier)
    return replace(prepared, config=config, budget=budget)


def revision_prompt(config: Config, codec: Codec) -> RevisionPrompt:
    """Returns what writes the reviser's contexts."""
    return RevisionPrompt(
        codec, FORMATS[config.reviser.format], config.problems.template, config.generator.chat
    )


def fingerprint(prepared: Prepared, instead: str = "") -> str:
    """Returns the SHA-256 of all that determines the results: the configuration, the problems, and the file
    that the strategy names (its source, or its policy).

    ``instead`` names what is done in the strategy's place, with its parameters.
    """
    sha = hashlib.sha256(config_fingerprint(prepared.config).encode())
    sha.update(instead.encode())
    for problem, prompt in zip(prepared.problems, prepared.prompts, strict=True):
        sha.update(f"\0{problem.id}\0{problem.answer}\0{prompt}".encode())
        if problem.also:
            sha.update(f"\0{problem.also}".encode())
    if (own := file_of(prepared.config.problems.answers)) is not None:
        sha.update(Path(own).read_bytes())
    strategy = prepared.strategy
    path, separator, _ = strategy.name.rpartition(":")
    if separator:
        sha.update(Path(path).read_bytes())
    elif strategy.name == COMPUTE_OPTIMAL:
        sha.update(Path(strategy.params["policy"]).read_bytes())
    return sha.hexdigest()


def _problems(config: Config) -> list[Problem]:
    if config.problems.source == "lab":
        return lab.problems(config.problems.split, config.problems.limit)
    assert config.problems.path is not None
    return read_jsonl(config.problems.path, config.problems.limit)


def _check_truths(checker: Checker, problems: Sequence[Problem]) -> None:
    """Where a checker knows what it can judge by, each problem has that."""
    check = getattr(checker, "check_truth", None)
    if check is None:
        return
    for problem in problems:
        for truth in (problem.answer, *problem.also):
            try:
                check(truth)
            except ValueError as error:
                raise BadInput(f"the answer of problem {problem.id}", truth[:60], str(error)) from error


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


def _check_writable(config: Config) -> None:
    try:
        Path(config.runs).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            "runs", config.runs, f"allowed: a directory that can be written ({error.strerror})"
        ) from error


def _check_lengths(
    config: Config,
    strategy: BoundStrategy,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
    revision_prompt: RevisionPrompt,
) -> None:
    """Every prompt and a longest solution must fit the engines' context; after earlier attempts, and the
    words that show them, where a model reads those too."""
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    prompt, new = len(prompts[longest]), config.generator.max_tokens
    attempts = CONTEXT if strategy.strategy.needs_reviser else 0
    words = revision_prompt.words(problems[longest], new) if attempts else 0
    readers = {"reviser" if config.reviser.model is not None else "generator"}
    if config.verifier.kind == "orm":
        readers.add("verifier")
    pools = (("generator", config.generator), ("verifier", config.verifier), ("reviser", config.reviser))
    for name, pool in pools:
        shown = attempts if name in readers else 0
        needed = prompt + (1 + shown) * new + (words if shown else 0)
        limit = pool.engine.get("max_model_len")
        if pool.model is not None and limit is not None and needed > limit:
            history = f", and {shown} earlier attempts are shown with {words} tokens around them"
            raise BadInput(
                f"{name}.engine.max_model_len",
                limit,
                f"problem {problems[longest].id} has {prompt} prompt tokens, generator.max_tokens is {new}"
                f"{history if shown else ''}; allowed: {needed} or more",
            )


def _budget(
    config: Config, prompts: Sequence[tuple[int, ...]], generator: CostModel, verifier: CostModel | None
) -> Budget:
    (unit,) = config.budget.units
    new = config.budget.solution_tokens or config.generator.max_tokens
    prices = [Price.of(len(prompt), new, generator, verifier, config.verifier.kind) for prompt in prompts]
    return convert(unit, getattr(config.budget, unit), prices, new)
