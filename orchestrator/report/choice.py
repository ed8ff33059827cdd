"""The configuration that a report recommends, and the best one of each strategy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from orchestrator.analysis.estimators import mean_difference, mean_known
from orchestrator.analysis.options import Option
from orchestrator.report.evidence import Evidence, allocation_of
from orchestrator.report.verdicts import SLACK


def most_accurate(evidence: Evidence, among: Sequence[Option] | None = None) -> Option:
    """Returns the most accurate option of the main group, or ``among`` some of it; the cheapest where several
    are."""
    return max(among or evidence.main.options, key=lambda option: _rank(evidence, option))


@lru_cache(maxsize=8)
def recommended(evidence: Evidence) -> Option:
    """Returns the cheapest option that is beyond doubt no more than ``SLACK`` less accurate than the most
    accurate one; that one itself where there is none."""
    best, rule = most_accurate(evidence), evidence.rule
    near = [
        option
        for option in evidence.main.options
        if mean_difference(option.correct(rule) - best.correct(rule)).low > -SLACK
    ]
    return min(near, key=lambda option: option.flops, default=best)


def best_of_each(evidence: Evidence) -> list[Option]:
    """Returns the most accurate option of each strategy and allocation, the most accurate first."""
    found: dict[tuple[str, str], Option] = {}
    for option in sorted(evidence.main.options, key=lambda option: _rank(evidence, option), reverse=True):
        found.setdefault((str(option.strategy["name"]), allocation_of(option)), option)
    return [*found.values()]


def _rank(evidence: Evidence, option: Option) -> tuple[float, float]:
    return float(mean_known(option.correct(evidence.rule))), -option.flops
