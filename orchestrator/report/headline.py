"""The first lines of a report: what to use, and what it buys."""

from __future__ import annotations

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.estimators import Estimate, mean_difference, mean_known
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import read_at
from orchestrator.analysis.words import with_interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.tables import one_sample
from orchestrator.report.text import name, si
from orchestrator.report.verdicts import SLACK


def headline(evidence: Evidence) -> list[str]:
    """Returns sentences: the most accurate configuration, the cheapest that is hardly less accurate, and what
    the latter buys over one sample and over best-of-N of the same FLOPs."""
    rule, options = evidence.rule, evidence.main.options
    accuracies = {option: float(mean_known(option.correct(rule))) for option in options}
    best = max(options, key=lambda option: (accuracies[option], -option.flops))
    lines = [f"The most accurate: {_told(best, rule)}."]
    if len(options) > 1:
        lines[0] += f" The best of {len(options)} is partly the luckiest: expect a little less of it again."
    near = [option for option in options if _gap(option, best, rule).low > -SLACK]
    use = min(near, key=lambda option: option.flops, default=best)
    within = f"within {100 * SLACK:g} points of it"
    if 0 < use.flops < best.flops:
        saved = f"{best.flops / use.flops:.1f} times fewer FLOPs"
        lines.append(f"The cheapest that is {within} beyond doubt: {_told(use, rule)}, for {saved}.")
    elif len(options) > 1:
        lines.append(f"Of no cheaper one it is beyond doubt that it is {within}.")
    if (sample := one_sample(evidence.main)) is not None:
        gain = mean_difference(use.correct(rule) - sample[1])
        share = 100 * float(mean_known(sample[1]))
        lines.append(f"Over one sample ({share:.1f} %) {name(use)} buys {_points(gain)}.")
    baseline = evidence.main.named(SAMPLES)
    if baseline and use.strategy["name"] != SAMPLES:
        flops = np.array([option.cost() for option in baseline])
        at, reach = read_at(use.flops, flops, np.array([option.correct(rule) for option in baseline]))
        gain = mean_difference(use.correct(rule) - at)
        decided = "" if gain.low > 0 or gain.high < 0 else "; that is not decided"
        where = {"measured": "", "below": " (its smallest)", "beyond": " (its largest)"}[reach]
        lines.append(f"Over best-of-N of the same FLOPs{where} it buys {_points(gain)}{decided}.")
    return lines


def _gap(one: Option, other: Option, rule: str) -> Estimate:
    return mean_difference(one.correct(rule) - other.correct(rule))


def _told(option: Option, rule: str) -> str:
    accuracy = with_interval(option.accuracy(rule), ".1f", scale=100, unit=" %")
    return f"{name(option)}, {accuracy} for {si(option.flops)} FLOPs a problem"


def _points(gain: Estimate) -> str:
    return with_interval(gain, "+.1f", scale=100, unit=" points")
