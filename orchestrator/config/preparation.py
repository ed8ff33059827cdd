"""Finds everything that can be wrong with a run's input, before anything is started.

``checks`` needs the configuration alone. What is checked here needs the strategy, the problems, the models'
configurations and their tokenizers, and how they fit each other.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.allocation.policy import COMPUTE_OPTIMAL
from orchestrator.budget.flops import CostModel
from orchestrator.budget.units import Budget, convert
from orchestrator.config.adapter import with_adapter
from orchestrator.config.affordable import check_affordable, prices
from orchestrator.config.checks import check_strategy
from orchestrator.config.endpoint import with_endpoint
from orchestrator.config.fingerprint import digest, digests
from orchestrator.config.fingerprint import fingerprint as config_fingerprint
from orchestrator.config.generator import codec_of, with_sampling
from orchestrator.config.judge import PreparedJudge, prepare_judge
from orchestrator.config.lengths import fitting
from orchestrator.config.model_config import config_of, costs_of
from orchestrator.config.schema import BudgetConfig, Config
from orchestrator.config.selection import PreparedSelection, prepare_selection
from orchestrator.config.truths import check_truths
from orchestrator.config.verifier import PreparedVerifier, prepare_verifier
from orchestrator.config.written import check_secrets
from orchestrator.errors import BadInput, one_of
from orchestrator.formats.function import is_function
from orchestrator.grading.checker import Checker
from orchestrator.grading.registry import file_of
from orchestrator.grading.registry import resolve as resolve_checker
from orchestrator.problems.codec import Codec, load_tokenizer
from orchestrator.problems.problem import BESIDE, Problem, Wanted, beside, filled
from orchestrator.problems.sources import SOURCES
from orchestrator.search.revision import FORMATS, RevisionPrompt
from orchestrator.strategies.definition import BoundStrategy, RunFacts, Strategy
from orchestrator.strategies.registry import resolve
from orchestrator.tracking.uri import check_uri

JOB_COPIES = "/runtime_resources/working_dir_files/"
"""In the path of a copy that Ray makes of the directory of ``ray job submit --working-dir``."""
STAMP = "-20260101-000000-0000"
"""What follows a configuration's name in that of a run's directory."""


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
    verifier: PreparedVerifier | None
    reviser: CostModel | None
    """None where nothing is revised; ``generator`` itself where the generators revise."""
    budget: Budget
    taken: Mapping[str, float] = field(default_factory=dict)
    """Sampling values that the configuration leaves to the model, by key, where they are on."""
    unheeded: tuple[str, ...] = ()
    """Keys, each with its value, that the server of ``generator.endpoint`` decides."""
    judge: PreparedJudge | None = None
    """None where no model judges answers."""
    skipped: tuple[str, ...] = ()
    """Ids of the problems that are left out, since they are too long for a model."""
    selection: PreparedSelection | None = None
    """None where solutions are selected by the rules that cost nothing alone."""
    whole: tuple[int, ...] = ()
    """What each problem's prompt and its longest solution cost, in FLOPs."""


class PromptCache:
    """Problems and their prompts that several runs share: each set is read, tokenized and held once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Sequence[Problem], Sequence[tuple[int, ...]]]] = {}

    def get(self, config: Config, codec: Codec) -> tuple[Sequence[Problem], Sequence[tuple[int, ...]]]:
        """Returns the problems of a run, and the token ids of their prompts. Raises BadInput."""
        put = codec.conversation
        key = repr((config.problems, config.generator.model, config.generator.revision, put))
        if key not in self._held:
            problems = read_problems(config)
            template = config.problems.template
            prompts = [codec.encode(filled(template, problem)) for problem in problems]
            for problem, prompt in zip(problems, prompts, strict=True):
                if not prompt:
                    raise _unread(config, problem)
            self._held[key] = problems, prompts
        return self._held[key]


def _unread(config: Config, problem: Problem) -> BadInput:
    """The error of a prompt without a token."""
    text = filled(config.problems.template, problem).strip()[:40]
    lost = f"its tokenizer has no token for any character of the prompt of problem {problem.id}, {text!r}"
    return BadInput("generator.model", config.generator.model, f"{lost}; allowed: a model that can read it")


def prepare(config: Config, cache: PromptCache | None = None) -> Prepared:
    """Resolves the strategy, loads problems, tokenizers and cost models, and checks that they fit each other
    and the budget. Starts nothing. Raises BadInput.

    ``cache`` holds what several runs share.
    """
    check_secrets(config)
    check_uri(config.tracking.uri)
    strategy = resolve(config.strategy)
    config = replace(config, strategy=strategy.section)
    config, unheeded = with_endpoint(config)
    generator = costs_of("generator", config.generator)
    _check_role("generator", config.generator.model, generator)
    generator = with_adapter(generator, config.generator.adapter, "generator.adapter")
    config, taken = with_sampling(config)
    codec = codec_of(config.generator)
    config, verifier = prepare_verifier(config, codec)
    check_strategy(config, strategy)
    reviser = None
    if strategy.strategy.has_reviser:
        reviser = _reviser(config, codec) or generator
    problems, prompts = (cache or PromptCache()).get(config, codec)
    checker = resolve_checker(config.problems.answers)
    check_truths(checker, problems)
    config, judge = prepare_judge(config)
    _check_dtypes(config)
    _check_writable(config)
    kept, skipped = fitting(config, strategy, problems, prompts, revision_prompt(config, codec))
    if skipped:
        problems, prompts = [problems[index] for index in kept], [prompts[index] for index in kept]
    strategy.check_run(
        RunFacts(
            codec,
            config.generator.model,
            config.verifier.model,
            config.verifier.aggregation,
            config.generator.max_tokens,
        )
    )
    selection = prepare_selection(config, codec, generator, problems, prompts)
    budget, whole = _bought(config, strategy.strategy, problems, prompts, codec, generator, reviser, verifier)
    return Prepared(
        config,
        strategy,
        checker,
        problems,
        prompts,
        codec,
        generator,
        verifier,
        reviser,
        budget,
        taken,
        unheeded,
        judge,
        skipped,
        selection,
        whole,
    )


def with_budget(prepared: Prepared, section: BudgetConfig) -> Prepared:
    """Returns the same run under another budget. Raises BadInput."""
    config = replace(prepared.config, budget=section)
    budget, whole = _bought(
        config,
        prepared.strategy.strategy,
        prepared.problems,
        prepared.prompts,
        prepared.codec,
        prepared.generator,
        prepared.reviser,
        prepared.verifier,
    )
    return replace(prepared, config=config, budget=budget, whole=whole)


def read_problems(config: Config) -> list[Problem]:
    """Returns the problems that the configuration names, without a look at any model. Raises BadInput."""
    section = config.problems
    wanted = Wanted(
        section.path,
        section.split,
        section.subset,
        section.revision,
        section.limit,
        section.columns,
        section.options,
    )
    problems = SOURCES[section.source].read(wanted)
    ids = {problem.id for problem in problems}
    taken = next((name for id in ids for what in BESIDE if (name := beside(what, id)) in ids), None)
    if taken is not None:
        raise BadInput(
            "problems: id",
            taken,
            "the run keeps what belongs to another problem under this name; allowed: any other",
        )
    if "{choices}" in section.template and not any(problem.choices for problem in problems):
        raise BadInput("problems.template", section.template, "it has {choices}, and no problem has any")
    if section.by is not None and all(problem.attribute(section.by) is None for problem in problems):
        there = sorted({name for problem in problems for name, _ in problem.attributes})
        allowed = one_of(there) if there else "the problems have no attributes; allowed: null"
        raise BadInput("problems.by", section.by, allowed)
    return problems


def revision_prompt(config: Config, codec: Codec) -> RevisionPrompt:
    """Returns what writes the reviser's contexts."""
    return RevisionPrompt(codec, FORMATS[config.reviser.format], config.problems.template)


def fingerprint(prepared: Prepared, instead: str = "") -> str:
    """Returns the SHA-256 of all that determines the results: the configuration, the problems, and the files
    of a user's own that it names.

    ``instead`` names what is done in the strategy's place, with its parameters.
    """
    return fingerprints(prepared, instead)[0]


def fingerprints(prepared: Prepared, instead: str = "") -> tuple[str, ...]:
    """Returns the fingerprint of a run, and after it those by which earlier versions began the same run."""
    config = prepared.config
    begins = dict.fromkeys((config_fingerprint(config), config_fingerprint(config, secrets=True)))
    rest = instead.encode() + _problems(prepared)
    rest += b"".join(Path(file).read_bytes() for file in own_files(prepared).values())
    return tuple(hashlib.sha256(begin.encode() + rest).hexdigest() for begin in begins)


def parts(prepared: Prepared, instead: str = "") -> dict[str, str]:
    """Returns a digest of each part of a run that its fingerprint is of, by what a user calls it: what has
    changed can be named."""
    named = digests(prepared.config)
    named["the problems"] = digest(_problems(prepared))
    for key, file in own_files(prepared).items():
        named[f"the file {Path(file).name} ({key})"] = digest(Path(file).read_bytes())
    return named | ({"what is done in the strategy's place": digest(instead.encode())} if instead else {})


def own_files(prepared: Prepared) -> dict[str, str]:
    """Returns the files of a user's own whose contents determine the results, by the key that names each."""
    config, strategy = prepared.config, prepared.strategy
    files = {}
    for key, name in (("verifier.model", config.verifier.model), ("verifier.format", config.verifier.format)):
        if name is not None and is_function(name):
            files[key] = name.rpartition(":")[0]
    if (own := file_of(config.problems.answers)) is not None:
        files["problems.answers"] = str(own)
    path, separator, _ = strategy.name.rpartition(":")
    if separator:
        files["strategy.name"] = path
    elif strategy.name == COMPUTE_OPTIMAL:
        files["strategy.policy"] = strategy.params["policy"]
    return files


def _problems(prepared: Prepared) -> bytes:
    found = []
    for problem, prompt in zip(prepared.problems, prepared.prompts, strict=True):
        found.append(f"\0{problem.id}\0{problem.answer}\0{prompt}")
        if problem.also:
            found.append(f"\0{problem.also}")
    return "".join(found).encode()


def _reviser(config: Config, codec: Codec) -> CostModel | None:
    """The costs of a reviser, which works on the generator's tokens, so must have its vocabulary."""
    model = config.reviser.model
    if model is None:
        return None
    section = config.reviser
    costs = costs_of("reviser", section)
    _check_role("reviser", model, costs)
    tokenizer = load_tokenizer(
        model,
        key="reviser.model",
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )
    if tokenizer.get_vocab() != codec.tokenizer.get_vocab():
        raise BadInput(
            "reviser.model",
            model,
            "a reviser reads the generator's tokens, so its tokenizer must have the same vocabulary as "
            f"generator.model's ({config.generator.model})",
        )
    return with_adapter(costs, section.adapter, "reviser.adapter")


def _check_role(key: str, model: str, costs: CostModel) -> None:
    if costs.reward:
        needed = "its architecture has no such head; allowed: a causal language model"
        raise BadInput(f"{key}.model", model, needed)


def _check_dtypes(config: Config) -> None:
    """A quantised model computes in half precision, and vLLM does not start it in another."""
    pools = (
        *(("generator", config.generator), ("verifier", config.verifier)),
        *(("reviser", config.reviser), ("judge", config.judge)),
    )
    for name, pool in pools:
        if pool.model is None or pool.dtype != "float32" or is_function(pool.model) or _at_a_server(pool):
            continue
        about = config_of(name, pool)
        stored = about.get("quantization_config")
        method = pool.engine.get("quantization") or (stored or {}).get("quant_method")
        if method:
            needed = f"{pool.model} is quantised ({method}); allowed: auto, bfloat16 or float16"
            raise BadInput(f"{name}.dtype", pool.dtype, needed)


def _at_a_server(pool: object) -> bool:
    return getattr(pool, "endpoint", None) is not None


def _check_writable(config: Config) -> None:
    if JOB_COPIES in os.path.abspath(config.runs):
        raise BadInput(
            "runs",
            config.runs,
            "that is in Ray's own copy of this job's --working-dir, which Ray may remove; "
            "allowed: a path outside of it, as runs=/data/runs",
        )
    try:
        Path(config.runs).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.runs):
            pass
        longest = os.pathconf(config.runs, "PC_NAME_MAX") - len(STAMP)
    except (OSError, ValueError) as error:  # ValueError: a character that no path can have
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput("runs", config.runs, f"allowed: a directory that can be written ({why})") from error
    if len(os.fsencode(config.name)) > longest:
        raise BadInput("name", config.name, f"allowed: {longest} bytes or less (it names a directory)")


def _bought(
    config: Config,
    strategy: Strategy,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
    codec: Codec,
    generator: CostModel,
    reviser: CostModel | None,
    verifier: PreparedVerifier | None,
) -> tuple[Budget, tuple[int, ...]]:
    """The budget, and what each problem's prompt and longest solution cost. Raises BadInput where it buys
    nothing."""
    (unit,) = config.budget.units
    longest = config.generator.max_tokens
    new = config.budget.solution_tokens or longest
    writer = (strategy.needs_reviser and reviser) or generator

    def costs(new: int, judge: PreparedVerifier | None) -> tuple[int, ...]:
        asked = prices(config, problems, prompts, codec, writer, judge, new)
        return tuple(price.prompt + price.solution for price in asked)

    def begins() -> tuple[int, ...]:
        step = min(config.generator.max_step_tokens, longest)
        return whole if strategy.begins == "solutions" else costs(step, verifier if strategy.begins else None)

    asked = prices(config, problems, prompts, codec, generator, verifier, new)
    budget = convert(unit, getattr(config.budget, unit), asked, new)
    whole = costs(longest, verifier)
    check_affordable(config, strategy, budget, whole, begins)
    return budget, whole
