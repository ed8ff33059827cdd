"""The first figure of a report: what the strategies reach at their best, beside no search at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import percent
from orchestrator.report.baselines import MAJORITY, references
from orchestrator.report.choice import best_of_each, recommended
from orchestrator.report.drawing import INTERVAL, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.style import (
    BASELINE,
    BASELINE_MARKERS,
    INK,
    NEUTRAL,
    canvas,
    colour,
    link,
    marker,
    percent_ticks,
)
from orchestrator.report.tables import covered
from orchestrator.report.text import name, shortened, si

MOST_ROWS = 12
"""The most strategies that the figure shows."""
LONGEST = 30
"""Characters of a name beside the figure."""


@dataclass(frozen=True)
class _Row:
    name: str
    estimate: Estimate
    flops: float
    shade: str
    shape: str
    link: str | None = None
    chosen: bool = False
    hollow: bool = False


def gains(evidence: Evidence, price: float) -> Drawing:
    """Draws the accuracy of the baselines and of the best option of each strategy. Of a single option it is
    the accuracy by each rule, and the coverage."""
    below = [
        _Row(found.name, found.overall, found.flops, BASELINE, BASELINE_MARKERS[found.kind])
        for found in references(evidence)
    ]
    single = len(evidence.main.options) == 1
    above = _by_rule(evidence) if single else _by_strategy(evidence)
    rows = [*below, *above]
    figure, (axes,) = canvas(height=0.75 + 0.27 * len(rows))
    for place, row in enumerate(rows):
        _draw(axes, place, row)
    axes.set_yticks(range(len(rows)), [shortened(row.name, LONGEST) for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.chosen else "normal")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    percent_ticks(axes)
    axes.set_xlabel("accuracy, %" if single else f"accuracy ({evidence.rule}), %")
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [f"{percent(row.estimate)}   {si(row.flops):>6}" for row in rows])
    right.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    axes.annotate("accuracy, %     FLOPs", (1.03, 1.01), xycoords="axes fraction", fontsize=8.5, va="bottom")
    numbers: list[list[Value]] = [[row.name, row.flops, *interval(row.estimate)] for row in reversed(rows)]
    return Drawing(
        figure, _caption(evidence, single), Numbers(["what", "FLOPs a problem", *INTERVAL], numbers)
    )


def _by_strategy(evidence: Evidence) -> Sequence[_Row]:
    """The best option of each strategy and the recommended one, the least accurate first."""
    rule, use = evidence.rule, recommended(evidence)
    best = best_of_each(evidence)[:MOST_ROWS]
    shown = sorted({*best, use}, key=lambda option: (option.accuracy(rule).value, -option.flops))
    return [
        _Row(
            name(option),
            option.accuracy(rule),
            option.flops,
            colour(str(option.strategy["name"])),
            marker(str(option.strategy["name"])),
            evidence.link_of(option),
            option is use,
        )
        for option in shown
    ]


def _by_rule(evidence: Evidence) -> Sequence[_Row]:
    """The only option by each of its rules, the least accurate first, and its coverage."""
    (option,) = evidence.main.options
    shade, shape = colour(str(option.strategy["name"])), marker(str(option.strategy["name"]))
    to = evidence.link_of(option)
    by_rule = [
        _Row(
            f"search, {rule}",
            option.accuracy(rule),
            option.flops,
            shade,
            shape,
            to,
            rule == evidence.rule,
        )
        for rule in evidence.main.rules
    ]
    by_rule.sort(key=lambda row: (row.estimate.value, row.chosen))
    whole = _Row("search, coverage", covered(option), option.flops, shade, shape, to, hollow=True)
    return [*by_rule, whole]


def _draw(axes: Axes, place: int, row: _Row) -> None:
    low, high = row.estimate.low, row.estimate.high
    if row.chosen:
        axes.axhspan(place - 0.45, place + 0.45, color=NEUTRAL[1], alpha=0.25, linewidth=0)
    axes.plot([low, high], [place, place], color=row.shade, lw=1.6, alpha=0.6)
    face = "white" if row.hollow else row.shade
    axes.plot([row.estimate.value], [place], row.shape, color=row.shade, mfc=face, ms=6.5, mew=1.5)
    link(axes, [row.estimate.value], [place], [row.link])
    axes.tick_params(labelcolor=INK)


def _majorities(evidence: Evidence) -> str:
    """Why the majority of a search differs from that beside it."""
    if MAJORITY not in evidence.main.rules or MAJORITY not in {found.kind for found in references(evidence)}:
        return ""
    return (
        " The search's own majority is a vote of the solutions that it returned, which may share steps; the "
        "other is one of independent samples."
    )


def _caption(evidence: Evidence, single: bool) -> str:
    beside = " Crosses: answers without any search." if references(evidence) else ""
    bars = "Bars: 95 % intervals over problems; they are no test of a difference (see above)."
    if single:
        return (
            f"What the search gives by each selection rule (shaded: {evidence.rule}, which counts). "
            "Coverage, the hollow point, is what a perfect selection would reach."
            f"{beside}{_majorities(evidence)} {bars}"
        )
    return f"The most accurate configuration of each strategy; shaded: the recommended one.{beside} {bars}"
