"""The compute-optimal policy: difficulty bin × budget → strategy and parameters (Snell et al. 2024, section
3).

``ttc fit`` makes the file, people read and edit it, ``strategy: compute_optimal`` and ``allocation:
compute_optimal`` use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.durability.files import write_atomically
from orchestrator.errors import BadInput, in_one_line

VERSION = 1
"""The version of the file's form."""
COMPUTE_OPTIMAL = "compute_optimal"
"""The name of the strategy that runs a policy, and of the allocation that follows it."""
SAMPLES = "best_of_n"
"""The strategy whose first samples the estimate's samples are."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A bin's strategy at a budget, and what was measured when it was chosen."""

    strategy: Mapping[str, Any]
    """The strategy's ``name`` and its parameters."""
    accuracy: float
    """The share of the bin's problems that a choice made on other problems answers right."""
    flops: float
    """FLOPs a problem."""
    problems: int
    """Problems of the bin."""

    @property
    def words(self) -> str:
        """The strategy's name and its parameters."""
        params = (f"{key}={value}" for key, value in self.strategy.items() if key != "name")
        return " ".join([str(self.strategy["name"]), *params])


@dataclass(frozen=True, slots=True)
class Row:
    """The choices at one budget."""

    budget: float
    """FLOPs that a problem may spend."""
    bins: tuple[Choice, ...]
    """The choice of each bin, the easiest first."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A learned policy. A few solutions of a problem are sampled and scored; their mean final score tells its
    bin, and the bin and the budget tell its strategy."""

    experiment: str
    """The sweep that it was learned from."""
    rule: str
    """The selection rule under which the choices were compared by accuracy."""
    generator: str
    verifier: str
    aggregation: str
    """How the verifier's step scores make the final score of a solution."""
    samples: int
    """Solutions that are sampled to tell a problem's bin."""
    thresholds: tuple[float, ...]
    """Mean final scores between the bins, from high to low; one fewer than the bins."""
    estimate_flops: float
    """FLOPs of those samples a problem, on average."""
    rows: tuple[Row, ...]
    """The budgets, from low to high."""
    estimate_accuracy: tuple[float, ...] = ()
    """The share of each bin's problems that the samples of the estimate alone answer right; empty in a policy
    that does not say it."""
    version: int = VERSION

    def bin_of(self, score: float) -> int:
        """Returns the bin of a problem by its mean final score. 1 is the easiest."""
        return 1 + sum(score < cut for cut in self.thresholds)

    def choice(self, score: float, flops: float, estimate: float = 0.0) -> Choice:
        """Returns what a problem with this mean final score runs with ``flops`` left, after its samples cost
        ``estimate`` FLOPs.

        It is the choice of the largest budget that the problem reaches, to within a tenth since shares differ
        by prompt; of the smallest budget if it reaches none. ``estimate`` counts as paid if the choice is
        best-of-N, because the samples are its first.
        """
        number = self.bin_of(score) - 1

        def reached(row: Row) -> bool:
            paid = estimate if row.bins[number].strategy["name"] == SAMPLES else 0.0
            return row.budget <= 1.1 * (flops + paid)

        return max(filter(reached, self.rows), key=lambda row: row.budget, default=self.rows[0]).bins[number]

    @property
    def strategies(self) -> list[Mapping[str, Any]]:
        """All strategies with parameters that may be chosen, without repetition."""
        found: list[Mapping[str, Any]] = []
        for choice in (choice for row in self.rows for choice in row.bins):
            if choice.strategy not in found:
                found.append(choice.strategy)
        return found


def write_policy(policy: Policy, path: Path) -> None:
    """Writes a policy as YAML: a header, then for each budget a line for each bin."""
    import yaml

    header = {key: value for key, value in asdict(policy).items() if key not in ("rows", "version")}
    header = {"version": policy.version, **header, "thresholds": list(policy.thresholds)}
    header["estimate_accuracy"] = list(policy.estimate_accuracy)
    lines = [
        "# Compute-optimal policy: for a budget (FLOPs a problem) and a difficulty bin (1 is the easiest),",
        "# what to run. accuracy: cross-validated; flops and problems: as measured when it was chosen.",
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
    """Reads a policy. Raises BadInput, which names ``key``, if the file is missing, incomplete or of another
    version."""
    import yaml

    if not Path(path).is_file():
        raise BadInput(key, str(path), "allowed: a policy that ttc fit wrote")
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(key, str(path), f"it is not YAML ({in_one_line(error)})") from error
    version = raw.get("version") if isinstance(raw, dict) else None
    if version != VERSION:
        raise BadInput(key, str(path), f"its version is {version!r}; allowed: {VERSION}, from ttc fit")
    try:
        return _policy(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(key, str(path), f"it is not whole: {type(error).__name__} {error}") from error


def _policy(raw: Mapping[str, Any]) -> Policy:
    """Returns the policy that a file's mapping describes. Raises KeyError, TypeError or ValueError."""
    rows = []
    for row in sorted(raw["budgets"], key=lambda row: float(row["flops"])):
        bins = sorted(row["bins"], key=lambda choice: int(choice["bin"]))
        rows.append(Row(float(row["flops"]), tuple(map(_choice, bins))))
        if [choice["bin"] for choice in bins] != list(range(1, len(raw["thresholds"]) + 2)):
            raise ValueError(f"budget {row['flops']} needs bins 1 to {len(raw['thresholds']) + 1}")
    if not rows or int(raw["samples"]) < 1:
        raise ValueError("it needs a budget at least, and a sample")
    cuts = tuple(float(cut) for cut in raw["thresholds"])
    first = tuple(float(share) for share in raw.get("estimate_accuracy", ()))
    if len(first) not in (0, len(cuts) + 1):
        raise ValueError(f"estimate_accuracy needs an entry for each of the {len(cuts) + 1} bins")
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
        estimate_accuracy=first,
    )


def _choice(raw: Mapping[str, Any]) -> Choice:
    return Choice(dict(raw["strategy"]), float(raw["accuracy"]), float(raw["flops"]), int(raw["problems"]))


def same_model(one: str | None, other: str | None) -> bool:
    """Tells whether two configurations name the same model. A directory is known by its last part, since its
    place differs between machines."""
    return one == other or (bool(one and other) and known_as(str(one)) == known_as(str(other)))


def known_as(model: str) -> str:
    """Returns the name of a model without the place where it is kept."""
    local = Path(model).is_absolute() or model.startswith(".") or model.count("/") > 1
    return Path(model).name if local else model
