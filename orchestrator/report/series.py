"""Options as curves: one strategy with fixed parameters, over its sizes and budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import ALLOCATION
from orchestrator.analysis.estimators import Floats
from orchestrator.analysis.options import Option, short, shown
from orchestrator.analysis.scaling_laws import LogLinear, accuracy_fit
from orchestrator.report.evidence import UNIFORM, Group, allocation_of

SIZES = ("name", "n", "policy")
"""Keys of a strategy that vary along a curve."""


MOST_CURVES = 12
"""The most curves that a figure shows."""


@dataclass(frozen=True, eq=False)
class Series:
    """The options of one strategy and its fixed parameters."""

    label: str
    """The strategy, with the parameters in which its curves differ."""
    strategy: str
    variant: int
    """Number of the curve among those of its strategy, from 0."""
    options: Sequence[Option]
    """By mean FLOPs per problem."""

    @property
    def flops(self) -> Floats:
        """Mean FLOPs charged per problem, ascending, ``float64[options]``."""
        return np.array([option.flops for option in self.options])

    def fit(self, rule: str) -> LogLinear | None:
        """Returns the fitted law of accuracy against FLOPs; None with fewer than two points."""
        return _law(self, rule)


@cache  # a table and a figure show it
def _law(curve: Series, rule: str) -> LogLinear | None:
    if len(set(curve.flops)) < 2:
        return None
    costs = [option.cost() for option in curve.options]
    return accuracy_fit(costs, [option.correct(rule) for option in curve.options])


@cache
def series(group: Group) -> Sequence[Series]:
    """Returns the curves of a group, best-of-N first.

    Revisions are one curve: at each ``n``, the chain length that is closest to the number of chains.
    """
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


def shown_in_figure(group: Group, rule: str) -> tuple[Sequence[Series], str]:
    """Returns at most ``MOST_CURVES`` curves of a group, best-of-N and those that reach the highest accuracy,
    and a sentence about the others."""
    curves = series(group)
    if len(curves) <= MOST_CURVES:
        return curves, ""
    reached = [max(option.accuracy(rule).value for option in curve.options) for curve in curves]
    by_rank = sorted(range(len(curves)), key=lambda i: (curves[i].strategy != SAMPLES, -reached[i]))
    kept = sorted(by_rank[:MOST_CURVES])
    left = len(curves) - MOST_CURVES
    return [curves[i] for i in kept], f" {left} curves that reach a lower accuracy are left out."


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
    return sorted([*kept, *best.values()], key=lambda option: option.flops)


def _imbalance(option: Option) -> tuple[float, int]:
    return abs(log_ratio(option)), -option.strategy["length"]


def log_ratio(option: Option) -> float:
    """Returns log2 of the sequential : parallel ratio of revisions: chain length over number of chains."""
    n, length = option.strategy["n"], option.strategy["length"]
    return float(np.log2(length / (n / length)))


def _labels(curves: Sequence[Sequence[Option]]) -> list[str]:
    """Returns the strategy's name with the parameters, reviser and allocation in which its curves differ."""
    firsts = [curve[0] for curve in curves]
    configured = [{**option.strategy, **option.cells[0].extras} for option in firsts]
    keys = {key for values in configured for key in values if key not in (*SIZES, "allocation.name")}

    def differs(key: str) -> bool:
        values = [found.get(key) for found in configured]
        return len({repr(value) for value in values if key not in ALLOCATION or value is not None}) > 1

    told = [key for key in sorted(keys) if differs(key)]
    labels = []
    for option, values in zip(firsts, configured, strict=True):
        words = [str(option.strategy["name"]).rpartition("/")[2].replace("_", " ")]
        words += [f"{short(key)}={shown(values[key])}" for key in told if values.get(key) is not None]
        words += [allocation_of(option)] if allocation_of(option) != UNIFORM else []
        labels.append(" ".join(words))
    return labels
