"""Options as curves: a strategy with its parameters fixed, over what it was given to spend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from orchestrator.analysis.cells import ADAPTIVE
from orchestrator.analysis.estimators import Floats
from orchestrator.analysis.options import Option, short, shown
from orchestrator.analysis.scaling_laws import LogLinear, accuracy_fit
from orchestrator.report.evidence import UNIFORM, Group, allocation_of

SIZES = ("name", "n", "policy")
"""Keys of a strategy section that do not tell one curve from another."""


@dataclass(frozen=True, eq=False)
class Series:
    """A curve. ``variant``: its number among those of its strategy."""

    label: str
    strategy: str
    variant: int
    options: Sequence[Option]

    @property
    def flops(self) -> Floats:
        """Charged a problem, ascending, one entry an option."""
        return np.array([option.cost().mean() for option in self.options])

    def fit(self, rule: str) -> LogLinear | None:
        """Accuracy against log FLOPs, with errors over problems; None for one point."""
        if len(set(self.flops)) < 2:
            return None
        costs = [option.cost() for option in self.options]
        return accuracy_fit(costs, [option.correct(rule) for option in self.options])


@cache
def series(group: Group) -> Sequence[Series]:
    """The curves of a group, best-of-N first. Revisions are one curve: of each ``n`` the chains whose
    length is closest to as many as there are of them, the longer of two."""
    found: dict[tuple[str, str, str, str], list[Option]] = {}
    for option in _balanced(group.options):
        strategy = option.strategy
        fixed = {k: v for k, v in strategy.items() if k not in SIZES and not _chains(option, k)}
        key = strategy["name"], allocation_of(option), repr(sorted(fixed.items())), _extras(option)
        found.setdefault(key, []).append(option)
    by_name: dict[str, list[list[Option]]] = {}
    for (name, *_), options in sorted(found.items(), key=lambda item: _order(item[0])):
        by_name.setdefault(name, []).append(options)
    return [
        Series(label, name, variant, options)
        for name, curves in by_name.items()
        for variant, (label, options) in enumerate(zip(_labels(curves), curves, strict=True))
    ]


def _order(key: tuple[str, str, str, str]) -> tuple[bool, str, bool, str, str]:
    name, allocation, fixed, extras = key
    return name != "best_of_n", name, allocation != UNIFORM, fixed, extras


def _extras(option: Option) -> str:
    return repr(option.cells[0].extras)


def _chains(option: Option, key: str) -> bool:
    return option.strategy["name"] == "revisions" and key == "length"


def _balanced(options: Iterable[Option]) -> list[Option]:
    best: dict[tuple[str, int, float], Option] = {}
    kept = []
    for option in options:
        if option.strategy["name"] != "revisions":
            kept.append(option)
            continue
        key = (_extras(option), option.strategy["n"], option.budget)
        if key not in best or _imbalance(option) < _imbalance(best[key]):
            best[key] = option
    return sorted([*kept, *best.values()], key=lambda option: float(option.cost().mean()))


def _imbalance(option: Option) -> tuple[float, int]:
    return abs(log_ratio(option)), -option.strategy["length"]


def log_ratio(option: Option) -> float:
    """log2 of the sequential : parallel ratio of revisions: attempts in a chain over chains."""
    n, length = option.strategy["n"], option.strategy["length"]
    return float(np.log2(length / (n / length)))


def _labels(curves: Sequence[Sequence[Option]]) -> list[str]:
    """The strategy, and of its parameters, reviser and allocation what tells its curves apart."""
    firsts = [curve[0] for curve in curves]
    own = [{**option.strategy, **option.cells[0].extras} for option in firsts]
    keys = {key for each in own for key in each if key not in (*SIZES, "allocation.name")}
    told = [
        key
        for key in sorted(keys)
        if len({repr(each.get(key)) for each in own if key not in ADAPTIVE or each.get(key) is not None}) > 1
    ]
    labels = []
    for option, each in zip(firsts, own, strict=True):
        words = [str(option.strategy["name"]).rpartition("/")[2].replace("_", " ")]
        words += [f"{short(key)}={shown(each[key])}" for key in told if each.get(key) is not None]
        words += [allocation_of(option)] if allocation_of(option) != UNIFORM else []
        labels.append(" ".join(words))
    return labels
