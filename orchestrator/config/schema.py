"""The keys of a run's configuration: dataclasses that OmegaConf takes as its structured schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from orchestrator.budget.units import UNITS


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
    ``format``: how the earlier attempts are shown (orchestrator/search/revision.py)."""

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
    min_gain: float = 0.005


@dataclass
class BudgetConfig:
    """The budget, in one unit (orchestrator/budget/units.py). ``flops``: of every forward pass of the run,
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
    log_level: str = "info"
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


LAB_MODELS = Path(__file__).parent.parent / "lab" / "checkpoints"
OmegaConf.register_resolver("lab", lambda name: str(LAB_MODELS / name), replace=True)
"""``${lab:generator-s}``: a lab model, wherever the project is installed."""


def to_dict(config: Config) -> dict[str, Any]:
    """Plain containers, interpolations resolved: what is logged and stored."""
    return OmegaConf.to_container(OmegaConf.structured(config), resolve=True)  # type: ignore[return-value]


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)
