"""The first lines of a report: what to use, and what it buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.estimators import Estimate, mean_difference, mean_known
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import read_at
from orchestrator.analysis.words import percent, with_interval
from orchestrator.budget.units import in_flops
from orchestrator.errors import counted
from orchestrator.report.baselines import GREEDY, MAJORITY, Reference, references
from orchestrator.report.choice import most_accurate, recommended
from orchestrator.report.evidence import Evidence
from orchestrator.report.text import name
from orchestrator.report.verdicts import SLACK

CHEAP = 4
"""What costs so many times less than the recommended configuration is told as a cheap one."""


@dataclass(frozen=True)
class Headline:
    """What a report says first."""

    use: str
    """The sentence that names the configuration."""
    reasons: list[str]


def headline(evidence: Evidence) -> Headline:
    """Returns what to use: the cheapest configuration that is hardly less accurate than the best one.

    The reasons are what it buys over no search and over best-of-N of the same FLOPs, and what the most
    accurate one would add. Of a single configuration they are what it buys and what selection loses."""
    rule, options = evidence.rule, evidence.main.options
    use, best = recommended(evidence), most_accurate(evidence)
    gains = [(reference, reference.gain(use, rule)) for reference in references(evidence)]
    reasons = [_over(reference, use, gain) for reference, gain in gains]
    baseline = evidence.main.named(SAMPLES)
    if baseline and use.strategy["name"] != SAMPLES:
        reasons.append(_over_best_of_n(use, baseline, rule))
    if len(options) == 1:
        return Headline(f"{_told(use, rule)}.", [*reasons, _selection(use, rule)])
    within = f"{100 * SLACK:g} points"
    if use is not best:
        times = f"{best.flops / use.flops:.1f} times as many FLOPs" if use.flops else "more FLOPs"
        reasons.append(
            f"The most accurate is {_told(best, rule)}: {times}, and beyond doubt within {within}."
        )
    else:
        reasons.append(f"It is the most accurate, and no cheaper one is beyond doubt within {within} of it.")
    reasons[-1] += f" The best of {len(options)} is partly the luckiest: expect a little less of it again."
    cheap = [option for option in options if option.flops <= use.flops / CHEAP]
    if cheap:
        reasons.append(_for_less(most_accurate(evidence, cheap), use, rule))
    if gains and all(_undecided(gain) for _, gain in gains):
        few = f"{counted(len(evidence.main.problems), 'problem')} did not decide what it buys"
        return Headline(f"So far, {_told(use, rule)}; {few}.", reasons)
    return Headline(f"Use {_told(use, rule)}.", reasons)


def _over(reference: Reference, use: Option, gain: Estimate) -> str:
    """What an option buys over a baseline."""
    costs = f", for {use.flops / reference.flops:.1f} times the FLOPs" if reference.flops > 0 else ""
    loosely = "" if reference.right is not None else "; not paired by problem, so the interval is wide"
    before = f"{percent(reference.overall, ' %')} for {in_flops(reference.flops)}"
    return f"Over {_called(reference)} ({before}) it buys {_points(gain)}{costs}{_undecided(gain)}{loosely}."


def _called(reference: Reference) -> str:
    words = {GREEDY: "a greedy answer", MAJORITY: f"the {reference.name} samples"}
    return words.get(reference.kind, reference.name)


def _for_less(cheap: Option, use: Option, rule: str) -> str:
    """What is reached for a fraction of what the recommended configuration costs."""
    less = mean_difference(cheap.correct(rule) - use.correct(rule))
    return f"For {use.flops / cheap.flops:.1f} times fewer FLOPs: {_told(cheap, rule)}, {_points(less)}."


def _over_best_of_n(use: Option, baseline: list[Option], rule: str) -> str:
    flops = np.array([option.cost() for option in baseline])
    at, reach = read_at(use.flops, flops, np.array([option.correct(rule) for option in baseline]))
    gain = mean_difference(use.correct(rule) - at)
    where = {"measured": "", "below": " (its smallest)", "beyond": " (its largest)"}[reach]
    return f"Over best-of-N of the same FLOPs{where} it buys {_points(gain)}{_undecided(gain)}."


def _selection(use: Option, rule: str) -> str:
    """What a perfect selection among an option's solutions would add."""
    lost = float(mean_known(use.covered) - mean_known(use.correct(rule)))
    if not mean_known(use.covered):
        return "No solution was right: read some first, and how they are judged (problems.answers)."
    if lost <= 0:
        return "Wherever a solution was right, selection took a right one: only other search would help."
    return (
        f"Of {100 * lost:.1f} % of the problems a solution was right, and selection took another one: a "
        "better verifier or rule could add so much."
    )


def _undecided(gain: Estimate) -> str:
    return "" if gain.low > 0 or gain.high < 0 else "; that is not decided"


def _told(option: Option, rule: str) -> str:
    return f"{name(option)}: {percent(option.accuracy(rule), ' %')} for {in_flops(option.flops)} a problem"


def _points(gain: Estimate) -> str:
    return with_interval(gain, "+.1f", scale=100, unit=" points")
