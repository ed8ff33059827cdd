"""Gathers what can be known of a run before it starts: models, problems, texts, answers, cost, resources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median_low
from typing import Any

from actors.reading import Reading
from orchestrator.budget.units import Price, described
from orchestrator.config.capacity import check_capacity, engines_of
from orchestrator.config.doubts import doubts
from orchestrator.config.generator import OFF, codec_of, with_sampling
from orchestrator.config.machine import MachineFacts, PoolFacts, machine, pools_of
from orchestrator.config.memory import Fleet, FleetFit, fitted, fleet_seen
from orchestrator.config.model_config import costs_of
from orchestrator.config.models import ModelFacts, missing_weights, model_facts, needs_of, sections
from orchestrator.config.preparation import Prepared, prepare, read_problems
from orchestrator.config.rendering import example_steps, prepared_view, specials, verifier_inputs, visible
from orchestrator.config.schema import Config
from orchestrator.config.trials import Trial, tried
from orchestrator.config.truths import graded_against_itself
from orchestrator.config.verifier import prepare_verifier
from orchestrator.errors import BadInput, counted
from orchestrator.formats.registry import FUNCTION, STEPS
from orchestrator.grading.registry import file_of, resolve
from orchestrator.problems.problem import Problem
from orchestrator.problems.sources import SOURCES
from orchestrator.search.tree import Node

SHOWN = 5
"""Problems that are named where many are wrong."""


@dataclass(frozen=True)
class VerifierFacts:
    """How the verifier judges."""

    format: str
    given: bool
    """False where the model's config.json made the format certain."""
    scores: str
    """What has a score: ``each step`` or ``a whole solution``."""
    reads: str
    """Where a score is read and what it is made of, in words."""
    inputs: tuple[str, ...]
    """What it is shown for an example answer of two steps, with a mark at each score."""


@dataclass(frozen=True)
class ProblemFacts:
    """The problems that are searched."""

    source: str
    """Where they come from, in words."""
    count: int
    skipped: tuple[str, ...]
    """Ids of those that are too long for a model."""
    attributes: dict[str, int]
    """How many values each attribute has."""
    choices: tuple[int, int] | None
    """The fewest and the most choices of a problem; None where there are none."""
    prompt_tokens: tuple[int, int, int]
    """The shortest, the median and the longest prompt."""
    longest_tokens: int
    """The longest prompt with its longest solution."""
    answers: str
    """The checker."""
    wrong: tuple[tuple[str, str], ...]
    """Id and answer of each problem whose own answer is graded as wrong."""


@dataclass(frozen=True)
class CostFacts:
    """The budget, and what it buys."""

    budget: dict[str, Any]
    described: tuple[str, str]
    generator_flops: int
    """FLOPs of the generator for one solution at full length, after a median prompt."""
    verifier_flops: int
    """FLOPs of the verifier for the same."""
    prompt_flops: int
    """FLOPs that both pay once for that prompt."""
    worst: int | None
    """FLOPs that a search of that problem reserves at most; None where that is not known of the strategy."""
    beside: tuple[int, int]
    """How many samples of each problem are taken beside the search, to compare with, and the FLOPs of all of
    them at most."""


@dataclass(frozen=True)
class Preview:
    """All of it."""

    name: str
    strategy: dict[str, Any]
    models: tuple[ModelFacts, ...]
    sampling: dict[str, float]
    """The temperature, and the other sampling values that are on."""
    taken: tuple[str, ...]
    """Those of them that the model's generation_config.json gives."""
    problems: ProblemFacts
    prompt: str
    """The first problem's prompt."""
    verifier: VerifierFacts | None
    judge: str | None
    """What the judge of answers reads of an example solution to the first problem."""
    selection: str | None
    """What the generator reads to choose between two example solutions; None where it does not choose."""
    special: tuple[str, ...]
    """Special tokens of the texts shown, the longest first."""
    cost: CostFacts
    pools: tuple[PoolFacts, ...]
    machine: MachineFacts
    fit: FleetFit | None
    """How the replicas fit on the GPUs that were told, or this machine's; None where there are none."""
    trials: tuple[Trial, ...]
    """Calls of the user's own functions."""
    doubts: tuple[str, ...]
    """What is allowed and is often a mistake."""
    failures: tuple[str, ...]
    """What would fail."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain containers for JSON."""
        return asdict(self)


def preview(config: Config, fleet: Fleet | None = None) -> Preview:
    """Checks a configuration as a run does, and gathers what can be known, for the GPUs of a ``fleet`` or
    those of this machine. Raises BadInput."""
    return preview_of(config, prepare(config), fleet)


def preview_of(config: Config, prepared: Prepared, fleet: Fleet | None = None) -> Preview:
    """Gathers what can be known of a configuration that is prepared; see ``preview``."""
    problems = _problem_facts(prepared)
    models = tuple(model_facts(role, section) for role, section in sections(prepared))
    pools = pools_of(prepared.config, revises=prepared.strategy.strategy.has_reviser)
    problem, solution = prepared.problems[0], SOURCES[config.problems.source].solution
    steps = example_steps(prepared.codec, problem, None if solution is None else solution(problem))
    verifier = None if prepared.verifier is None else _verifier(config, prepared, steps)
    prompt = visible(prepared.codec.tokenizer, prepared.prompts[0])
    judge = None if prepared.judge is None else _asked(prepared, steps)
    selection = None
    if prepared.selection is not None:
        asked = prepared.selection.tokens(prepared.problems[0], [steps[0], " ".join(steps)])
        selection = visible(prepared.codec.tokenizer, asked)
    texts = [prompt, *(verifier.inputs if verifier is not None else ()), judge or "", selection or ""]
    tokenizers = [prepared.codec.tokenizer]
    tokenizers += [prepared.judge.question.tokenizer] if prepared.judge is not None else []
    tokenizers += [prepared.verifier.tokenizer] if prepared.verifier is not None else []
    special = {text for tokenizer in tokenizers if tokenizer is not None for text in specials(tokenizer)}
    needs = needs_of(prepared, models)
    if fleet is None and config.cluster.address is None and any(need.gpus for need in needs):
        fleet = fleet_seen()
    fit = None if fleet is None else fitted(needs, fleet)
    trials = tried(prepared, steps)
    machine_, crowding = _machine(prepared, pools)
    section, own = prepared.config.generator, file_of(prepared.config.problems.answers) is not None
    return Preview(
        config.name,
        prepared.strategy.section,
        models,
        {
            key: value
            for key, off in OFF.items()
            if (value := getattr(section, key)) != off or key == "temperature"
        },
        tuple(prepared.taken),
        problems,
        prompt,
        verifier,
        judge,
        selection,
        tuple(sorted((s for s in special if any(s in text for text in texts)), key=lambda s: (-len(s), s))),
        _cost(prepared),
        pools,
        machine_,
        fit,
        trials,
        (*doubts(prepared, steps), *(_wrong_answers(problems, own=True) if own else ())),
        (
            *missing_weights(prepared),
            *crowding,
            *(fit.failures if fit is not None else ()),
            *(() if own else _wrong_answers(problems, own=False)),
            *(trial.failure for trial in trials if trial.failure is not None),
        ),
    )


def _machine(prepared: Prepared, pools: tuple[PoolFacts, ...]) -> tuple[MachineFacts, list[str]]:
    """This machine, and why it cannot hold the run's engines: a run would be refused."""
    facts = machine(prepared.config, pools)
    engines = engines_of(prepared.config, revises=prepared.strategy.strategy.has_reviser)
    try:
        return replace(facts, crowded=check_capacity(engines)), []
    except BadInput as error:
        return facts, [str(error)]


def faults(config: Config, first: BadInput) -> list[BadInput]:
    """Returns the ``first`` fault, and one of each other part of the configuration that does not need what is
    faulty."""

    def models() -> None:
        costs_of("generator", config.generator)
        prepare_verifier(config, codec_of(with_sampling(config)[0].generator))

    found = [first]
    # In the order of ``prepare``: what comes before the first is right, and a hub that is away is not asked
    # again.
    parts = {"strategy": models, "generator": None, "verifier": None, "reviser": None}
    section = first.key.partition(".")[0]
    for part in (parts[section], lambda: read_problems(config)) if section in parts else ():
        try:
            if part is not None:
                part()
        except BadInput as error:
            found.append(error)
    return found


def _verifier(given: Config, prepared: Prepared, steps: tuple[str, str]) -> VerifierFacts:
    assert prepared.verifier is not None
    section = prepared.config.verifier
    assert section.format is not None
    return VerifierFacts(
        section.format,
        given.verifier.format is not None,
        "a whole solution" if section.kind == "orm" else "each step",
        _reads(section.format, prepared.verifier.reading),
        verifier_inputs(prepared, steps),
    )


def _asked(prepared: Prepared, steps: tuple[str, str]) -> str:
    assert prepared.judge is not None
    problem, solution = prepared.problems[0], prepared.codec.separator.join(steps)
    asked = prepared.judge.tokens(problem, problem.answer, solution)
    return visible(prepared.judge.question.tokenizer, asked, (len(asked),))


def _reads(format: str, reading: Reading) -> str:
    if format == FUNCTION:
        return "what the function returns"
    if reading.kind == "reward":
        return "one reward without bounds"
    what = "the odds of the next token" if reading.tokens else "the head's outputs"
    if reading.kind == "expected":
        shares = ", ".join(f"{t} = {v:g}" for t, v in zip(reading.tokens, reading.values, strict=False))
        return f"the mean of {shares} by {what}"
    if reading.tokens:
        return f"the odds of {reading.tokens[-1]} over {reading.tokens[0]} as the next token"
    return "one logit, on the generator's own token ids" if format == STEPS else "the positive label's odds"


def _problem_facts(prepared: Prepared) -> ProblemFacts:
    section, problems = prepared.config.problems, prepared.problems
    lengths = sorted(map(len, prepared.prompts))
    values = {(name, value) for problem in problems for name, value in problem.attributes}
    choices = [len(problem.choices) for problem in problems if problem.choices]
    return ProblemFacts(
        _source(prepared.config),
        len(problems),
        prepared.skipped,
        dict(sorted(Counter(name for name, _ in values).items())),
        (min(choices), max(choices)) if choices else None,
        (lengths[0], median_low(lengths), lengths[-1]),
        lengths[-1] + prepared.config.generator.max_tokens,
        _name(section.answers),
        _wrong(section.answers, problems),
    )


def _source(config: Config) -> str:
    section = config.problems
    named = [str(part) for part in (section.path, section.subset) if part is not None]
    split = [f"split {section.split}"] if section.source in ("lab", "datasets") else []
    revision = [f"revision {section.revision}"] if section.revision else []
    return ", ".join([" ".join([section.source, *named]), *split, *revision])


def _name(answers: object) -> str:
    """The checker's name, and its parameters where it has any."""
    if not isinstance(answers, Mapping):
        return str(answers)
    given = [f"{key} {value}" for key, value in answers.items() if key != "name"]
    return str(answers["name"]) + (f" ({', '.join(given)})" if given else "")


def _wrong(answers: object, problems: Sequence[Problem]) -> tuple[tuple[str, str], ...]:
    found = graded_against_itself(resolve(answers), problems)
    return tuple((problem.id, problem.answer) for problem in found)


def _wrong_answers(problems: ProblemFacts, own: bool) -> list[str]:
    """What is said where the checker does not take the problems' own answers; a user's ``own`` checker may
    want more of a text than an answer."""
    if not problems.wrong:
        return []
    named = "; ".join(f"{id} {answer!r}" for id, answer in problems.wrong[:SHOWN])
    more = f"; and {len(problems.wrong) - SHOWN} more" if len(problems.wrong) > SHOWN else ""
    if own:
        return [
            f"problems.answers={problems.answers} takes a bare or boxed answer of its own from "
            f"{problems.count - len(problems.wrong)} of {problems.count} problems, not from {named}{more}"
        ]
    return [
        f"{len(problems.wrong)} of {counted(problems.count, 'problem')} can never be answered right: "
        f"problems.answers={problems.answers} does not take their own answers: {named}{more}"
    ]


def _cost(prepared: Prepared) -> CostFacts:
    config, budget = prepared.config, prepared.budget
    middle, new = median_low(map(len, prepared.prompts)), budget.solution_tokens
    costs = prepared.verifier.costs if prepared.verifier is not None else None
    price = Price.of(middle, new, prepared.generator, costs, config.verifier.kind or "prm")
    writing = prepared.generator.sample(middle, new)
    return CostFacts(
        budget.to_dict(),
        described(budget.to_dict()),
        writing,
        price.solution - writing,
        price.prompt,
        _worst(prepared, middle) if prepared.strategy.name == "best_of_n" else None,
        (prepared.config.baseline, _beside(prepared)),
    )


def _beside(prepared: Prepared) -> int:
    """The FLOPs at most of what is sampled beside the searches."""
    samples, new = prepared.config.baseline, prepared.config.generator.max_tokens
    if not samples:
        return 0
    lengths = Counter(len(prompt) for prompt in prepared.prompts)
    price = {length: Price.of(length, new, prepared.generator, None) for length in lengths}
    return sum(count * price[length].of_samples(samples) for length, count in lengths.items())


def _worst(prepared: Prepared, prompt_tokens: int) -> int:
    """The FLOPs that best-of-N reserves at most for a problem with a prompt of so many tokens."""
    new, generator, verifier = prepared.config.generator.max_tokens, prepared.generator, prepared.verifier
    index = next(i for i, prompt in enumerate(prepared.prompts) if len(prompt) == prompt_tokens)
    prompt = prepared.prompts[index]
    once, solution = generator.prefill(len(prompt)), generator.sample(len(prompt), new)
    if verifier is not None:
        view = prepared_view(prepared, index)
        once += verifier.costs.prefill(view.opening)
        solution += view.worst(Node("", prompt), new)
    return int(once + prepared.strategy.params["n"] * solution)
