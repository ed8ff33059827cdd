"""Checks what a configuration holds, key by key and together: the first fault is told in one line.

Types are checked before, by the schema (``config``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actors.messages import MAX_TEMPERATURE
from orchestrator.allocation.policy import COMPUTE_OPTIMAL
from orchestrator.budget.units import UNITS, check_amount
from orchestrator.config.endpoint import check_endpoint
from orchestrator.config.engine_arguments import engine_arguments
from orchestrator.config.judge import check_judge
from orchestrator.config.selection import check_selection
from orchestrator.errors import BadInput, at_least, meant, one_of
from orchestrator.formats.registry import FUNCTION, STEPS
from orchestrator.grading.registry import file_of
from orchestrator.grading.registry import resolve as resolve_checker
from orchestrator.problems.conversation import NOT_VARIABLES
from orchestrator.problems.sources import SOURCES
from orchestrator.search.revision import FORMATS, JUDGING
from orchestrator.search.selection import AGGREGATIONS
from orchestrator.strategies.definition import BoundStrategy

if TYPE_CHECKING:
    from orchestrator.config.schema import Config, GeneratorConfig

TOO_LONG = ("refuse", "skip")
LOG_LEVELS = ("debug", "info", "warning", "error")
"""Values of ``log_level``."""
DTYPES = ("float32", "bfloat16", "float16", "auto")
VERIFIER_KINDS = ("prm", "orm")
ALLOCATIONS = ("uniform", COMPUTE_OPTIMAL, "adaptive")
RAYS_OWN = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that have keys of their own, or that Ray keeps for itself."""
SAMPLING: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda x: 0 <= x <= MAX_TEMPERATURE, f"allowed: 0 to {MAX_TEMPERATURE:g}"),
    "top_p": (lambda x: 0 < x <= 1, "allowed: above 0, up to 1"),
    "top_k": (lambda x: isinstance(x, int) and x >= 0, "allowed: whole numbers, 0 or more"),
    "min_p": (lambda x: 0 <= x <= 1, "allowed: 0 to 1"),
    "repetition_penalty": (lambda x: 0 < x < math.inf, "allowed: above 0"),
    "presence_penalty": (lambda x: -2 <= x <= 2, "allowed: -2 to 2"),
    "frequency_penalty": (lambda x: -2 <= x <= 2, "allowed: -2 to 2"),
}
"""What vLLM takes of each sampling value."""
OWNED = {
    "model": "the FLOPs that are charged are {pool}.model's: set that",
    "tokenizer": "allowed: {pool}.model's own tokenizer, in its directory",
    "dtype": "set {pool}.dtype",
    "runner": "the pool decides how its engine runs",
    "pooler_config": "the pool decides what its engine returns",
    "convert": "the pool decides what its engine returns",
    "hf_config_path": "the costs are those of {pool}.model's own config.json; allowed: hf_overrides",
    "speculative_config": "a draft model's FLOPs would not be charged",
    "revision": "set {pool}.revision, which the tokenizer and the costs follow too",
    "tokenizer_revision": "set {pool}.revision",
    "trust_remote_code": "set {pool}.trust_remote_code, which the tokenizer follows too",
    "generation_config": "it would change nothing: set generator.temperature, generator.top_k and others",
    "override_generation_config": "it would change nothing: set generator.temperature and others",
    "enable_lora": "it would change nothing: set {pool}.adapter",
}
"""Engine options that are not a user's, and why."""

MOST_PORT = 65_535
MOST_TRACES = 100
"""The most searches that are logged as traces, each with up to a thousand spans."""


def check(config: Config) -> None:
    """Raises BadInput that names the key, the value and what is allowed, for every section but
    ``strategy``."""
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        needed = (
            "allowed: letters, digits, and . _ -, the first no . or - (it names a directory, in commands)"
        )
        raise BadInput("name", config.name, needed)
    at_least("max_searches", config.max_searches, 1)
    at_least("baseline", config.baseline, 0)
    _choice("log_level", config.log_level, LOG_LEVELS)
    _problems(config)
    _pools(config)
    _generator(config)
    check_judge(config)
    _allocation(config)
    check_selection(config)
    _budget(config)
    _cluster(config)


def _problems(config: Config) -> None:
    problems = config.problems
    _choice("problems.source", problems.source, tuple(SOURCES))
    resolve_checker(problems.answers)
    _choice("problems.too_long", problems.too_long, TOO_LONG)
    source = SOURCES[problems.source]
    if source.splits is not None:
        _choice("problems.split", problems.split, source.splits)
    if source.path is not None and problems.path is None:
        raise BadInput("problems.path", None, f"needed with problems.source={problems.source}: {source.path}")
    own = file_of(problems.answers) is not None
    if source.answers not in (None, problems.answers) and not own:
        needed = f"what problems.source={problems.source} has for answers; allowed: {source.answers}"
        raise BadInput("problems.answers", problems.answers, f"it cannot read {needed}")
    for key in ("subset", "revision", "columns", "options"):
        value = getattr(problems, key)
        if value and key not in source.takes:
            heed = one_of([name for name, other in SOURCES.items() if key in other.takes])
            raise BadInput(f"problems.{key}", value, f"problems.source={problems.source} has none; {heed}")
    if "{problem}" not in problems.template:
        raise BadInput("problems.template", config.problems.template, "it must contain {problem}")
    if config.problems.limit is not None:
        at_least("problems.limit", config.problems.limit, 1)


def _pools(config: Config) -> None:
    pools = (
        *(("generator", config.generator), ("verifier", config.verifier)),
        *(("reviser", config.reviser), ("judge", config.judge)),
    )
    for name, pool in pools:
        at_least(f"{name}.replicas", pool.replicas, 1)
        for resource, held in pool.resources.custom.items():
            at_least(f"{name}.resources.custom.{resource}", held, 0)
            if resource in RAYS_OWN:
                others = f"allowed: other names than {', '.join(RAYS_OWN)}"
                raise BadInput(f"{name}.resources.custom.{resource}", held, others)
            _whole_above_1(f"{name}.resources.custom.{resource}", held)
        _engine(name, pool.engine)
        ranks = _ranks(name, pool.engine)
        if pool.resources.num_gpus > 0 and ranks != max(1, pool.resources.num_gpus):
            allowed = f"allowed: {ranks}, a GPU for each of {name}.engine's tensor × pipeline parallel ranks"
            raise BadInput(f"{name}.resources.num_gpus", pool.resources.num_gpus, allowed)
        least = pool.min_replicas
        if least is not None and not 1 <= least <= pool.replicas:
            raise BadInput(f"{name}.min_replicas", least, f"allowed: 1 to {name}.replicas ({pool.replicas})")
        _choice(f"{name}.dtype", pool.dtype, DTYPES)
        for resource, held in (("num_cpus", pool.resources.num_cpus), ("num_gpus", pool.resources.num_gpus)):
            at_least(f"{name}.resources.{resource}", held, 0)
            _whole_above_1(f"{name}.resources.{resource}", held)
    _choice("reviser.format", config.reviser.format, tuple(FORMATS))
    if config.verifier.kind is not None:
        _choice("verifier.kind", config.verifier.kind, VERIFIER_KINDS)
    for name, choices in (("verifier", config.verifier.choices), ("judge", config.judge.choices)):
        for word, score in choices.items():
            if not 0 <= score <= 1:
                raise BadInput(f"{name}.choices.{word}", score, "allowed: 0 to 1")
    at_least("verifier.token_ratio", config.verifier.token_ratio, 1)
    _choice("verifier.aggregation", config.verifier.aggregation, tuple(AGGREGATIONS))


def _generator(config: Config) -> None:
    generator = config.generator
    if generator.endpoint is not None:
        check_endpoint("generator", generator.endpoint)
    for key in SAMPLING:
        if (value := getattr(generator, key)) is not None:
            check_sampling(key, value)
    given = generator.step_delimiter
    texts = given if isinstance(given, list) else [given]
    if isinstance(given, Mapping):
        _pattern(generator)
    elif given is not None and not (texts and all(isinstance(text, str) and text for text in texts)):
        allowed = "allowed: one or more characters, a list of such texts, {regex: an expression}, or null"
        raise BadInput("generator.step_delimiter", given, allowed)
    if "" in generator.stop:
        raise BadInput("generator.stop", generator.stop, "allowed: texts of one or more characters")
    _conversation(generator)
    if generator.end_of_thinking == "":
        raise BadInput("generator.end_of_thinking", "", "allowed: one or more characters, or null")
    at_least("generator.max_step_tokens", generator.max_step_tokens, 1)
    at_least("generator.max_tokens", generator.max_tokens, 1)
    sure = generator.confidence
    if sure not in (None, "mean") and (not isinstance(sure, int) or isinstance(sure, bool) or sure < 1):
        raise BadInput("generator.confidence", sure, "allowed: mean, a number of tokens, or null")


def check_sampling(key: str, value: object, source: str = "") -> None:
    """Raises BadInput unless an engine takes the sampling value; ``source`` says where it is from."""
    fits, allowed = SAMPLING[key]
    if not isinstance(value, int | float) or isinstance(value, bool) or not fits(value):
        raise BadInput(f"generator.{key}", value, source + allowed)


def _pattern(generator: GeneratorConfig) -> None:
    given = generator.step_delimiter
    if given.keys() != {"regex"} or not isinstance(given["regex"], str):
        raise BadInput("generator.step_delimiter", dict(given), "allowed: {regex: an expression}")
    try:
        expression = re.compile(given["regex"])
    except re.error as error:
        needed = f"the regular expression is not one ({error})"
        raise BadInput("generator.step_delimiter.regex", given["regex"], needed) from error
    if expression.search("") is not None:
        needed = "it matches where there is nothing, so that no step would have a token"
        raise BadInput("generator.step_delimiter.regex", given["regex"], needed)
    if generator.endpoint is not None:
        needed = "an endpoint stops at texts; allowed: a text, or a list of texts"
        raise BadInput("generator.step_delimiter.regex", given["regex"], needed)


def _conversation(generator: GeneratorConfig) -> None:
    for turn in generator.examples:
        if not (
            isinstance(turn, Mapping)
            and turn.keys() == {"user", "assistant"}
            and all(isinstance(text, str) for text in turn.values())
        ):
            raise BadInput("generator.examples", turn, "allowed: {user: a question, assistant: its answer}")
    for name, value in generator.chat_options.items():
        if not isinstance(name, str) or name in NOT_VARIABLES:
            instead = "; set generator.chat_template" if name == "chat_template" else ""
            allowed = f"allowed: variables that the chat template reads; this is the run's own{instead}"
            raise BadInput(f"generator.chat_options.{name}", value, allowed)
    if not generator.chat:
        for key in ("system", "examples", "chat_template", "chat_options"):
            if value := getattr(generator, key):
                needed = "allowed with generator.chat=true; without it, put it into problems.template"
                raise BadInput(f"generator.{key}", value, needed)


def _allocation(config: Config) -> None:
    _choice("allocation.name", config.allocation.name, ALLOCATIONS)
    for key, share in (("confidence", config.allocation.confidence), ("round", config.allocation.round)):
        if not 0 < share <= 1:
            raise BadInput(f"allocation.{key}", share, "allowed: above 0, up to 1")
    at_least("allocation.parallel", config.allocation.parallel, 1)
    at_least("allocation.exploration", config.allocation.exploration, 0)
    if not 0 <= config.allocation.min_gain < 1:
        raise BadInput("allocation.min_gain", config.allocation.min_gain, "allowed: 0 to less than 1")


def _budget(config: Config) -> None:
    if len(config.budget.units) != 1:
        raise BadInput("budget", config.budget.units, f"exactly one is needed; {one_of(UNITS)}")
    (unit,) = config.budget.units
    check_amount(unit, getattr(config.budget, unit))
    if config.budget.solution_tokens is not None:
        at_least("budget.solution_tokens", config.budget.solution_tokens, 1)


def _cluster(config: Config) -> None:
    for key in ("start_timeout_seconds", "probe_after_seconds", "probe_timeout_seconds"):
        at_least(f"cluster.{key}", getattr(config.cluster, key), 1)
    address = config.cluster.address
    host, _, port = (address or "auto").rpartition(":")
    if address not in (None, "auto") and not (host and port.isdecimal() and 1 <= int(port) <= MOST_PORT):
        allowed = "allowed: null (this machine), auto (the cluster that this machine is in) or host:port"
        raise BadInput("cluster.address", address, allowed)
    at_least("cluster.price", config.cluster.price, 0)
    if not 0 <= config.tracking.traces <= MOST_TRACES:
        allowed = f"allowed: 0 to {MOST_TRACES}; the journal has every search"
        raise BadInput("tracking.traces", config.tracking.traces, allowed)


def check_strategy(config: Config, bound: BoundStrategy) -> None:
    """Raises BadInput where the rest of the configuration lacks what the strategy needs."""
    generator, verifier, strategy = config.generator, config.verifier, bound.strategy
    if strategy.needs_verifier and verifier.model is None:
        raise BadInput("verifier.model", None, f"strategy {strategy.name} needs a verifier")
    if strategy.needs_thinking and generator.end_of_thinking is None:
        needed = f"strategy {strategy.name} needs the text that ends the model's thinking, as </think>"
        raise BadInput("generator.end_of_thinking", None, needed)
    kind = verifier.kind or "prm"
    if strategy.needs_verifier and kind != "prm":
        if verifier.format in (None, STEPS, "judge"):
            raise BadInput("verifier.kind", kind, f"allowed: prm ({strategy.name} goes by steps)")
        other = "verifier.kind=prm and a list of scores" if verifier.format == FUNCTION else "one of steps"
        needed = f"it scores whole solutions, and {strategy.name} goes by steps"
        needed = f"{needed}; needed: {other}, or a strategy such as best_of_n"
        raise BadInput("verifier.model", verifier.model, needed)
    if strategy.has_reviser and config.reviser.format in JUDGING:
        scores = None if verifier.model is None else kind
        if scores != "prm":
            without = "verifier.model is null" if scores is None else f"verifier.kind is {scores}"
            others = one_of([name for name in FORMATS if name not in JUDGING])
            needed = f"it shows a verifier's scores of steps, and {without}; {others}"
            raise BadInput("reviser.format", config.reviser.format, needed)
    if config.allocation.name == COMPUTE_OPTIMAL != strategy.name:
        needed = f"allowed: with strategy {COMPUTE_OPTIMAL}, whose policy it follows"
        raise BadInput("allocation.name", COMPUTE_OPTIMAL, needed)
    if config.allocation.name == "adaptive" and strategy.name == COMPUTE_OPTIMAL:
        # It asks once what it may spend, and adaptive never says: it only grants one more.
        needed = f"with strategy {COMPUTE_OPTIMAL}, {one_of(ALLOCATIONS[:2])}"
        raise BadInput("allocation.name", "adaptive", needed)


def _engine(name: str, engine: Mapping[str, Any]) -> None:
    known = engine_arguments()
    for option, value in engine.items():
        key = f"{name}.engine.{option}"
        if option in OWNED:
            raise BadInput(key, value, OWNED[option].format(pool=name))
        if known and option not in known:
            raise BadInput(key, value, f"{meant(option, known)}allowed: vLLM's engine arguments")
    overrides = engine.get("hf_overrides")
    if overrides is not None and not isinstance(overrides, Mapping):
        allowed = "allowed: a mapping of keys of the model's config.json to values"
        raise BadInput(f"{name}.engine.hf_overrides", overrides, allowed)
    longest = engine.get("max_model_len")
    if longest is not None and (not isinstance(longest, int) or isinstance(longest, bool) or longest < 1):
        raise BadInput(f"{name}.engine.max_model_len", longest, "allowed: a whole number, 1 or more, or null")


def _whole_above_1(key: str, held: float) -> None:
    if held > 1 and held != int(held):
        raise BadInput(key, held, "allowed: whole numbers above 1")


def _ranks(name: str, engine: Mapping[str, Any]) -> int:
    """Over how many devices vLLM is told to spread a replica."""
    ranks = 1
    for key in ("tensor_parallel_size", "pipeline_parallel_size"):
        size = engine.get(key, 1)
        if not isinstance(size, int) or size < 1:
            raise BadInput(f"{name}.engine.{key}", size, "allowed: a whole number, 1 or more")
        ranks *= size
    return ranks


def _choice(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise BadInput(key, value, one_of(allowed, value))
