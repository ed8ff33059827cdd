"""Checks what a configuration holds, key by key and together: the first fault is told in one line.

Types are checked before, by the schema (``config``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from orchestrator.allocation.policy import COMPUTE_OPTIMAL
from orchestrator.budget.units import UNITS
from orchestrator.config.engine_arguments import engine_arguments
from orchestrator.errors import BadInput, at_least, one_of
from orchestrator.grading.registry import resolve as resolve_checker
from orchestrator.search.revision import FORMATS, JUDGING
from orchestrator.search.selection import AGGREGATIONS
from orchestrator.strategies.definition import BoundStrategy

if TYPE_CHECKING:
    from orchestrator.config.schema import Config

SOURCES = ("lab", "jsonl")
LAB_SPLITS = ("train", "validation", "bins", "test")
LOG_LEVELS = ("debug", "info", "warning", "error")
"""Values of ``log_level``."""
DTYPES = ("float32", "bfloat16", "float16", "auto")
VERIFIER_KINDS = ("prm", "orm")
ALLOCATIONS = ("uniform", COMPUTE_OPTIMAL, "adaptive")
RAYS_OWN = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that have keys of their own, or that Ray keeps for itself."""
OWNED = {
    "model": "the FLOPs that are charged are {pool}.model's: set that",
    "tokenizer": "allowed: {pool}.model's own tokenizer, in its directory",
    "dtype": "set {pool}.dtype",
    "runner": "the pool decides how its engine runs",
    "pooler_config": "the pool decides what its engine returns",
    "speculative_config": "a draft model's FLOPs would not be charged",
}
"""Engine options that are not a user's, and why."""


def check(config: Config) -> None:
    """Raises BadInput that names the key, the value and what is allowed, for every section but
    ``strategy``."""
    if not re.fullmatch(r"[\w.-]+", config.name) or config.name.startswith("."):
        raise BadInput("name", config.name, "allowed: letters, digits, and . _ - (it names a directory)")
    at_least("max_searches", config.max_searches, 1)
    _choice("log_level", config.log_level, LOG_LEVELS)
    _problems(config)
    _pools(config)
    _generator(config)
    _allocation(config)
    _budget(config)
    _cluster(config)


def _problems(config: Config) -> None:
    _choice("problems.source", config.problems.source, SOURCES)
    resolve_checker(config.problems.answers)
    if config.problems.source == "lab":
        _choice("problems.split", config.problems.split, LAB_SPLITS)
    elif config.problems.path is None:
        raise BadInput(
            "problems.path", None, "needed with problems.source=jsonl: a file with one JSON a line"
        )
    if "{problem}" not in config.problems.template:
        raise BadInput("problems.template", config.problems.template, "it must contain {problem}")
    if config.problems.limit is not None:
        at_least("problems.limit", config.problems.limit, 1)


def _pools(config: Config) -> None:
    pools = (("generator", config.generator), ("verifier", config.verifier), ("reviser", config.reviser))
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
    _choice("verifier.kind", config.verifier.kind, VERIFIER_KINDS)
    _choice("verifier.aggregation", config.verifier.aggregation, tuple(AGGREGATIONS))


def _generator(config: Config) -> None:
    generator = config.generator
    at_least("generator.temperature", generator.temperature, 0)
    if not 0 < generator.top_p <= 1:
        raise BadInput("generator.top_p", generator.top_p, "allowed: above 0, up to 1")
    if not generator.step_delimiter:
        raise BadInput(
            "generator.step_delimiter", generator.step_delimiter, "allowed: one or more characters"
        )
    if generator.end_of_thinking == "":
        raise BadInput("generator.end_of_thinking", "", "allowed: one or more characters, or null")
    at_least("generator.max_step_tokens", generator.max_step_tokens, 1)
    at_least("generator.max_tokens", generator.max_tokens, 1)


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
    if config.budget.solution_tokens is not None:
        at_least("budget.solution_tokens", config.budget.solution_tokens, 1)


def _cluster(config: Config) -> None:
    for key in ("start_timeout_seconds", "probe_after_seconds", "probe_timeout_seconds"):
        at_least(f"cluster.{key}", getattr(config.cluster, key), 1)
    at_least("cluster.price", config.cluster.price, 0)
    at_least("tracking.traces", config.tracking.traces, 0)


def check_strategy(config: Config, bound: BoundStrategy) -> None:
    """Raises BadInput where the rest of the configuration lacks what the strategy needs."""
    generator, verifier, strategy = config.generator, config.verifier, bound.strategy
    if strategy.needs_verifier and verifier.model is None:
        raise BadInput("verifier.model", None, f"strategy {strategy.name} needs a verifier")
    if strategy.needs_thinking and generator.end_of_thinking is None:
        needed = f"strategy {strategy.name} needs the text that ends the model's thinking, as </think>"
        raise BadInput("generator.end_of_thinking", None, needed)
    if strategy.needs_verifier and verifier.kind != "prm":
        raise BadInput("verifier.kind", verifier.kind, f"allowed: prm ({strategy.name} goes by steps)")
    if strategy.has_reviser and config.reviser.format in JUDGING:
        scores = None if verifier.model is None else verifier.kind
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
            close = get_close_matches(option, known)
            meant = f", as {' or '.join(close)}" if close else ""
            raise BadInput(key, value, f"allowed: vLLM's engine arguments{meant}")
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
        raise BadInput(key, value, one_of(allowed))
