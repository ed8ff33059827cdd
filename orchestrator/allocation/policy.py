"""The compute-optimal policy: difficulty bin × budget → strategy and parameters (Snell §3).

A file that people read and edit, made by ``ttc fit``, used by ``strategy: compute_optimal`` and
``allocation: compute_optimal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.durability.files import write_atomically
from orchestrator.errors import BadInput

VERSION = 1
"""Of the file's form."""
COMPUTE_OPTIMAL = "compute_optimal"
"""The strategy that runs a policy, and the allocation that follows one."""
SAMPLES = "best_of_n"
"""The strategy that independent samples are of: the estimate's are the first of its N."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a bin runs at a budget: a strategy's name and parameters. As measured when it was chosen:
    ``accuracy`` over the ``problems`` of the bin (not cross-validated), and ``flops`` a problem."""

    strategy: Mapping[str, Any]
    accuracy: float
    flops: float
    problems: int


@dataclass(frozen=True, slots=True)
class Row:
    """``budget``: FLOPs a problem may spend. ``bins``: the choice of each bin, the easiest first."""

    budget: float
    bins: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """``samples`` solutions of a problem are scored; their mean final score against ``thresholds``
    (highest first) gives its bin. Scores are the ``verifier``'s under ``aggregation``; choices were made
    by accuracy under the selection ``rule``. ``estimate_flops``: of those samples, a problem on average.
    """

    experiment: str
    rule: str
    generator: str
    verifier: str
    aggregation: str
    samples: int
    thresholds: tuple[float, ...]
    estimate_flops: float
    rows: tuple[Row, ...]
    version: int = VERSION

    def bin_of(self, score: float) -> int:
        """The bin of a problem by its mean final score: 1 is the easiest."""
        return 1 + sum(score < cut for cut in self.thresholds)

    def choice(self, score: float, flops: float, estimate: float = 0.0) -> Choice:
        """What a problem of this mean final score runs that has ``flops`` left, after ``estimate`` FLOPs for
        the samples that told its score: the choice of the largest budget that these reach, to within a tenth,
        since problems' shares differ by their prompts. The smallest's where they reach none. The samples
        count where the choice is of samples, whose first they are."""
        number = self.bin_of(score) - 1

        def reached(row: Row) -> bool:
            paid = estimate if row.bins[number].strategy["name"] == SAMPLES else 0.0
            return row.budget <= 1.1 * (flops + paid)

        return max(filter(reached, self.rows), key=lambda row: row.budget, default=self.rows[0]).bins[number]

    @property
    def strategies(self) -> list[Mapping[str, Any]]:
        """Every strategy and parameters that may be chosen, once each."""
        found: list[Mapping[str, Any]] = []
        for choice in (choice for row in self.rows for choice in row.bins):
            if choice.strategy not in found:
                found.append(choice.strategy)
        return found


def write_policy(policy: Policy, path: Path) -> None:
    """Write it as YAML: the header, then budget by budget a line for each bin."""
    import yaml

    header = {key: value for key, value in asdict(policy).items() if key not in ("rows", "version")}
    header = {"version": policy.version, **header, "thresholds": list(policy.thresholds)}
    lines = [
        "# Compute-optimal policy: for a budget (FLOPs a problem) and a difficulty bin (1 is the easiest),",
        "# what to run. accuracy, flops and problems: as measured when it was chosen.",
        yaml.safe_dump(header, sort_keys=False, default_flow_style=None, width=110).rstrip(),
        "budgets:",
    ]
    for row in policy.rows:
        lines += [f"- flops: {row.budget!r}", "  bins:"]
        for number, choice in enumerate(row.bins, start=1):
            cells = {"bin": number, **asdict(choice), "strategy": dict(choice.strategy)}
            line = yaml.safe_dump(cells, sort_keys=False, default_flow_style=True, width=10**6)
            lines.append(f"  - {line.strip()}")
    write_atomically(path, "\n".join(lines) + "\n")


def read_policy(path: Path | str, key: str = "strategy.policy") -> Policy:
    """Read a policy. Raises BadInput, naming ``key``, where the file is not there, of another version,
    or not whole."""
    import yaml

    if not Path(path).is_file():
        raise BadInput(key, str(path), "allowed: a policy that ttc fit wrote")
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(key, str(path), f"it is not YAML ({str(error).splitlines()[0]})") from error
    version = raw.get("version") if isinstance(raw, dict) else None
    if version != VERSION:
        raise BadInput(key, str(path), f"its version is {version!r}; allowed: {VERSION}, from ttc fit")
    try:
        return _policy(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(key, str(path), f"it is not whole: {type(error).__name__} {error}") from error


def _policy(raw: Mapping[str, Any]) -> Policy:
    """The policy that a file's mapping says. Raises KeyError, TypeError or ValueError."""
    rows = []
    for row in sorted(raw["budgets"], key=lambda row: float(row["flops"])):
        bins = sorted(row["bins"], key=lambda each: int(each["bin"]))
        rows.append(Row(float(row["flops"]), tuple(map(_choice, bins))))
        if [each["bin"] for each in bins] != list(range(1, len(raw["thresholds"]) + 2)):
            raise ValueError(f"budget {row['flops']} needs bins 1 to {len(raw['thresholds']) + 1}")
    if not rows or int(raw["samples"]) < 1:
        raise ValueError("it needs a budget at least, and a sample")
    cuts = tuple(float(cut) for cut in raw["thresholds"])
    if list(cuts) != sorted(cuts, reverse=True):
        raise ValueError("thresholds go from high to low")
    return Policy(
        experiment=str(raw["experiment"]),
        rule=str(raw["rule"]),
        generator=str(raw["generator"]),
        verifier=str(raw["verifier"]),
        aggregation=str(raw["aggregation"]),
        samples=int(raw["samples"]),
        thresholds=cuts,
        estimate_flops=float(raw["estimate_flops"]),
        rows=tuple(rows),
    )


def _choice(raw: Mapping[str, Any]) -> Choice:
    return Choice(dict(raw["strategy"]), float(raw["accuracy"]), float(raw["flops"]), int(raw["problems"]))


def same_model(one: str | None, other: str | None) -> bool:
    """Whether two configurations name one model. A directory is known by its last part: where models
    are kept differs between machines."""
    return one == other or (bool(one and other) and known_as(str(one)) == known_as(str(other)))


def known_as(model: str) -> str:
    """What a model is called wherever it is kept."""
    local = Path(model).is_absolute() or model.startswith(".") or model.count("/") > 1
    return Path(model).name if local else model
