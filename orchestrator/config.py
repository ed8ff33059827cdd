"""The run's configuration: dataclasses as OmegaConf's structured schema, a file, then overrides.

Everything that can be wrong with a configuration is found here, before any engine starts, and is
said in one line (``BadInput``) that names the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError
from yaml import YAMLError

from orchestrator.budget import UNITS
from orchestrator.config_checks import check
from orchestrator.errors import BadInput, one_of

SWEEP = "sweep"
"""The section of a file that ``ttc sweep`` reads (orchestrator/grid.py)."""


@dataclass
class ProblemsConfig:
    """``source: jsonl`` reads ``path``: one JSON object a line with ``problem`` and ``answer``."""

    source: str = "lab"
    split: str = "test"
    path: str | None = None
    limit: int | None = None
    template: str = "{problem}"
    answers: str = "exact"


@dataclass
class ResourcesConfig:
    """What Ray holds for one replica. ``custom``: of resources that nodes were started with (``ray start
    --resources``), so that pools can be kept to some nodes."""

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    custom: dict[str, float] = field(default_factory=dict)


@dataclass
class GeneratorConfig:
    """``engine`` overrides any vLLM engine argument. Lengths in tokens. ``end_of_thinking``: the text that
    ends a reasoning model's thinking, for example ``</think>``. ``min_replicas`` (null: all) are awaited
    before a run begins; the others join when the cluster has room for them."""

    model: str = MISSING
    replicas: int = 1
    min_replicas: int | None = None
    dtype: str = "float32"
    temperature: float = 1.0
    top_p: float = 1.0
    step_delimiter: str = "\n\n"
    end_of_thinking: str | None = None
    max_step_tokens: int = 512
    max_tokens: int = 2048
    chat: bool = False
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass
class VerifierConfig:
    """``model: null`` runs without a verifier (best-of-N by majority alone). ``kind: prm`` scores each step,
    ``orm`` an attempt as a whole, after the earlier attempts that a revision was shown."""

    model: str | None = None
    kind: str = "prm"
    aggregation: str = "last"
    replicas: int = 1
    min_replicas: int | None = None
    dtype: str = "float32"
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReviserConfig:
    """What writes the attempts of ``strategy: revisions``. ``model: null``: the generators do.
    ``format``: how the earlier attempts are shown (orchestrator/revision.py)."""

    model: str | None = None
    format: str = "plain"
    replicas: int = 1
    min_replicas: int | None = None
    dtype: str = "float32"
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass
class AllocationConfig:
    """Who gets the next FLOP. ``uniform``: every problem an equal share. ``compute_optimal``: as strategy
    compute_optimal's policy expects to gain most, by bins. ``adaptive``: the problem where it is expected to
    gain most; the other keys are its own (orchestrator/allocation/adaptive.py)."""

    name: str = "uniform"
    confidence: float = 0.9
    round: float = 0.1
    parallel: int = 64
    exploration: float = 0.0
    hopeless: float = 0.005


@dataclass
class BudgetConfig:
    """The budget, in one unit (orchestrator/budget.py). ``flops``: of every forward pass of the run,
    verifier included. ``tokens``: generated, over the whole run. ``generations``: full solutions a problem,
    the literature's N; ``solution_tokens`` is how long such a solution is (null: generator.max_tokens)."""

    flops: float | None = None
    tokens: float | None = None
    generations: int | None = None
    solution_tokens: int | None = None

    @property
    def units(self) -> list[str]:
        """The units that are given: one, in a configuration that was checked."""
        return [unit for unit in UNITS if getattr(self, unit) is not None]


@dataclass
class ClusterConfig:
    """``address``: null starts Ray on this machine; ``auto`` or ``host:port`` joins a cluster. Engines have
    ``start_timeout_seconds`` to be up; a lost one that is not up again by then is made anew. A replica that
    has said nothing for ``probe_after_seconds`` is asked for one token; without it in
    ``probe_timeout_seconds`` it is taken to hang, and replaced. ``price``: of an accelerator-hour (of a
    CPU-hour where no replica holds an accelerator), for ``ttc report``."""

    address: str | None = None
    price: float = 2.0
    start_timeout_seconds: float = 600.0
    probe_after_seconds: float = 30.0
    probe_timeout_seconds: float = 120.0


@dataclass
class TrackingConfig:
    """``uri`` null: a SQLite store in ``runs/`` of the working directory. ``traces``: how many problems, the
    first, are traced."""

    uri: str | None = None
    experiment: str = "ttc"
    traces: int = 3


@dataclass
class Config:
    """One run. configs/lab.yaml is an example."""

    name: str = MISSING
    seed: int = 0
    max_searches: int = 128
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    reviser: ReviserConfig = field(default_factory=ReviserConfig)
    strategy: dict[str, Any] = field(default_factory=dict)
    allocation: AllocationConfig = field(default_factory=AllocationConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runs: str = "runs"


LAB = Path(__file__).parent / "lab" / "checkpoints"
OmegaConf.register_resolver("lab", lambda name: str(LAB / name), replace=True)
"""``${lab:generator-s}``: a lab model, wherever the project is installed."""


def load(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (and the files it inherits from through ``base:``), apply ``key=value``
    overrides, check everything. Raises BadInput."""
    stack = layers(path, overrides)
    if any(SWEEP in layer for layer in stack):
        raise BadInput(SWEEP, str(path), "one run has no such section; it is for ttc sweep")
    return build(stack)


def layers(path: Path | str, overrides: Sequence[str] = ()) -> list[DictConfig]:
    """The file's bases, the deepest first, the file, then each ``key=value``; nothing of it checked yet.
    Raises BadInput."""
    try:
        found = _layers(Path(path))
        for override in overrides:
            key, separator, _ = override.partition("=")
            if not separator or not key:
                raise BadInput("override", override, "allowed: key=value, for example budget.flops=1e12")
            found.append(OmegaConf.from_dotlist([override]))
    except (OmegaConfBaseException, YAMLError) as error:
        raise explained(error, OmegaConf.structured(Config)) from error
    return found


def merged(stack: Sequence[DictConfig]) -> DictConfig:
    """Each layer over those before it, on the schema; interpolations are kept. Raises BadInput."""
    result = OmegaConf.structured(Config)
    try:
        for layer in stack:
            result = _over(result, layer)
    except OmegaConfBaseException as error:
        raise explained(error, result) from error
    return result


def build(stack: Sequence[DictConfig]) -> Config:
    """The checked configuration that the layers amount to. Raises BadInput."""
    result = merged(stack)
    try:
        config: Config = OmegaConf.to_object(result)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise explained(error, result) from error
    check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain containers, interpolations resolved: what is logged and stored."""
    return OmegaConf.to_container(OmegaConf.structured(config), resolve=True)  # type: ignore[return-value]


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def _layers(path: Path, seen: tuple[Path, ...] = ()) -> list[DictConfig]:
    """The file's bases, the deepest first, then the file."""
    if path.resolve() in seen:
        raise BadInput("base", str(path), "a configuration cannot inherit from itself")
    if not path.is_file():
        raise BadInput("config" if not seen else "base", str(path), "allowed: an existing YAML file")
    try:
        layer = OmegaConf.load(path)
    except UnicodeDecodeError as error:
        raise BadInput("config", str(path), f"the file is not UTF-8 text ({error.reason})") from error
    if not isinstance(layer, DictConfig):
        raise BadInput("config", str(path), "allowed: a YAML mapping of keys to values")
    if isinstance(layer.get("strategy"), str):
        layer.strategy = {"name": layer.strategy}
    base = layer.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise BadInput("base", base, "allowed: the path of another YAML file")
    before = _layers(path.parent / base, (*seen, path.resolve())) if base is not None else []
    return [*before, layer]


def _over(below: DictConfig, layer: DictConfig) -> DictConfig:
    """``layer`` over ``below``. Where it names another strategy, the old one's parameters go; where it
    gives a budget, so does the one in another unit."""
    name = OmegaConf.select(layer, "strategy.name")
    if name is not None and name != OmegaConf.select(below, "strategy.name"):
        below.strategy = {}
    if any(OmegaConf.select(layer, f"budget.{unit}") is not None for unit in UNITS):
        below.budget = OmegaConf.merge(below.budget, dict.fromkeys(UNITS))
    return OmegaConf.merge(below, layer)  # type: ignore[return-value]


def explained(error: Exception, merged: DictConfig) -> BadInput:
    """OmegaConf's error as one line that names key, value and what is allowed."""
    key = str(getattr(error, "full_key", None) or "config")
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, ConfigKeyError):
        parent = OmegaConf.select(merged, key.rpartition(".")[0]) if "." in key else merged
        known = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        return BadInput(key, "unknown key", one_of(known) if known else said)
    if isinstance(error, MissingMandatoryValue):
        return BadInput(key, None, "this key has no default: give it a value")
    if isinstance(error, ValidationError):
        return BadInput(key, getattr(error, "value", None) or said, said)
    return BadInput(key, said, "allowed: valid YAML and resolvable ${...} interpolations")
