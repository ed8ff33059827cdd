"""Figures of accuracy against FLOPs: of all problems, by difficulty, and of the policy against best-of-N."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.options import Option
from orchestrator.report.baselines import Reference, references
from orchestrator.report.drawing import INTERVAL, Absent, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.series import Series, shown_in_figure
from orchestrator.report.style import (
    BASELINE,
    BASELINE_MARKERS,
    DASHES,
    INK,
    canvas,
    colour,
    flops_axis,
    intervals,
    legend_below,
    marker,
    percent_axis,
)
from orchestrator.report.text import factor, name

BELOW = "The crosses are answers without any search, and the dotted line is one sample's accuracy."
"""Explains the baselines of a figure."""


def accuracy(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy against FLOPs with the fitted laws."""
    curves, others = shown_in_figure(evidence.main, evidence.rule)
    figure, (axes,) = canvas()
    rows: list[list[Value]] = []
    for curve in curves:
        shade, fit = colour(curve.strategy), curve.fit(evidence.rule)
        estimates = [option.accuracy(evidence.rule) for option in curve.options]
        points(evidence, axes, curve, estimates, line=False)
        if fit is not None:
            x = np.geomspace(curve.flops[0], curve.flops[-1], 100)
            axes.plot(x, fit(x), color=shade, linestyle=DASHES[curve.variant % len(DASHES)], lw=1.2)
            if fit.plateau is not None:
                turn = 2**fit.plateau.log2_flops.value
                axes.plot([turn], [fit.plateau.accuracy.value], "|", color=shade, ms=14, mew=1.5)
        rows += [_row(option, each) for option, each in zip(curve.options, estimates, strict=True)]
    beside, words = baselines(evidence, axes)
    flops_axis(axes)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    legend_below(figure, axes)
    lines = (
        " Lines: the fit α + β·log₂ FLOPs, level after the upright mark where a plateau was found."
        if any(curve.fit(evidence.rule) for curve in curves)
        else ""
    )
    revised = any(curve.strategy == "revisions" for curve in curves)
    chains = " Revisions: chains about as long as there are many." if revised else ""
    dashed = " Variants of a strategy differ in dashes and filling." if any(c.variant for c in curves) else ""
    caption = (
        f"Points: means over problems and seeds with 95 % intervals over problems.{lines}{chains}{dashed}"
        f"{words}{others}"
    )
    return Drawing(figure, caption, Numbers(["point", "FLOPs a problem", *INTERVAL], [*beside, *rows]))


def accuracy_by_difficulty(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy against FLOPs, one panel per difficulty bin (Snell et al. 2024, section 5.3)."""
    bins = bins_of(evidence)
    numbers = np.unique(bins)
    curves, others = shown_in_figure(evidence.main, evidence.rule)
    figure, panels = canvas(2, rows=-(-len(numbers) // 2), height=1.9 * -(-len(numbers) // 2), sharey=True)
    rows: list[list[Value]] = []
    words = ""
    for axes, number in zip(panels, numbers, strict=False):
        inside = bins == number
        for curve in curves:
            estimates = [option.accuracy(evidence.rule, inside) for option in curve.options]
            points(evidence, axes, curve, estimates)
            rows += [
                [f"{number}", *_row(option, each)]
                for option, each in zip(curve.options, estimates, strict=True)
            ]
        beside, words = baselines(evidence, axes, inside)
        rows += [[f"{number}", *row] for row in beside]
        axes.set_title(f"bin {number}" + {1: ", easiest", len(numbers): ", hardest"}.get(int(number), ""))
    for axes in panels[len(numbers) :]:
        axes.remove()
    for i, axes in enumerate(panels[: len(numbers)]):
        flops_axis(axes, 3, "FLOPs charged a problem" if i >= len(numbers) - 2 else "")
        percent_axis(axes, "accuracy" if i % 2 == 0 else "")
    legend_below(figure, panels[0])
    caption = (
        f"Accuracy ({evidence.rule}). Bins are fifths of the problems by pass@1 in the difficulty run, whose "
        f"samples serve nothing else. Bars: 95 % intervals over problems.{words}{others}"
    )
    return Drawing(figure, caption, Numbers(["bin", "point", "FLOPs a problem", *INTERVAL], rows))


def compute_optimal(evidence: Evidence, price: float) -> Drawing:
    """Draws the cross-validated policy and best-of-N with the FLOPs that it saves."""
    fit = evidence.fit
    if fit is None:
        raise Absent(f"no policy could be learned ({evidence.policy})")
    figure, (axes,) = canvas()
    best = evidence.main.named("best_of_n")
    estimates = [option.accuracy(evidence.rule) for option in best]
    links = [evidence.link_of(option) for option in best]
    flops = [option.flops for option in best]
    intervals(axes, flops, estimates, colour("best_of_n"), "o", "-", "best-of-N", links)
    rows: list[list[Value]] = [
        ["best-of-N", option.flops, *interval(each)] for option, each in zip(best, estimates, strict=True)
    ]
    shade = colour("compute_optimal")
    kinds = (
        ("policy, predicted bins, charged", fit.charged["predicted"], "-", "s"),
        ("policy, predicted bins, free", fit.uncharged["predicted"], DASHES[1], "D"),
        ("policy, oracle bins, free", fit.uncharged["oracle"], DASHES[2], "^"),
    )
    for label, comparison, dash, shape in kinds:
        levels = sorted(comparison.levels, key=lambda level: level.flops)
        costs, accuracies = [x.flops for x in levels], [x.accuracy for x in levels]
        intervals(axes, costs, accuracies, shade, shape, dash, label)
        rows += [[label, cost, *interval(each)] for cost, each in zip(costs, accuracies, strict=True)]
    beside, words = baselines(evidence, axes)
    flops_axis(axes)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    reached = [saving for saving in fit.charged["predicted"].savings if saving.flops]
    note = "It does not reach best-of-N's accuracy at any N."
    if reached:
        saving = max(reached, key=lambda saving: saving.baseline_flops)
        ends_at = (saving.flops, saving.accuracy), (saving.baseline_flops, saving.accuracy)
        axes.annotate("", *ends_at, arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.2})
        middle = np.sqrt(float(saving.flops or 1) * saving.baseline_flops)
        axes.annotate(
            factor(saving, unit="×"),
            (middle, saving.accuracy),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
        note = (
            f"Arrow: best-of-N's FLOPs over the policy's at the accuracy of {saving.baseline}, "
            "the estimate of difficulty charged, with its 95 % interval."
        )
    legend_below(figure, axes)
    caption = (
        "The policy chooses a strategy for each difficulty bin and budget; two-fold cross-validated, so each "
        f"problem is measured under a policy that did not see it. {note} Free: the samples that tell a "
        f"problem's bin are not charged, as in Snell. Bars: 95 % intervals over problems.{words}"
    )
    return Drawing(figure, caption, Numbers(["curve", "FLOPs a problem", *INTERVAL], [*beside, *rows]))


def points(
    evidence: Evidence, axes: Axes, curve: Series, estimates: Sequence[Estimate], *, line: bool = True
) -> None:
    """Draws the points of a series with their intervals, each with the way to its runs."""
    intervals(
        axes,
        list(curve.flops),
        estimates,
        colour(curve.strategy),
        marker(curve.strategy),
        DASHES[curve.variant % len(DASHES)],
        curve.label,
        [evidence.link_of(option) for option in curve.options],
        variant=curve.variant,
        line=line,
    )


def baselines(
    evidence: Evidence, axes: Axes, inside: np.ndarray | None = None
) -> tuple[list[list[Value]], str]:
    """Draws the baselines into a figure of accuracy against FLOPs. Returns their rows of numbers, and the
    words that explain them."""
    rows: list[list[Value]] = []
    for reference in references(evidence):
        estimate = reference.accuracy(inside)
        if estimate is None or reference.flops <= 0:
            continue
        _baseline(axes, reference, estimate)
        rows.append([reference.name, reference.flops, *interval(estimate)])
    return rows, f" {BELOW}" if rows else ""


def _baseline(axes: Axes, reference: Reference, estimate: Estimate) -> None:
    shape = BASELINE_MARKERS[reference.kind]
    intervals(axes, [reference.flops], [estimate], BASELINE, shape, "none", reference.name)
    if reference.kind == "one sample":
        axes.axhline(estimate.value, color=BASELINE, lw=0.8, ls=(0, (1, 3)), zorder=0)


def bins_of(evidence: Evidence) -> np.ndarray:
    """Returns the difficulty bin of each problem. Raises Absent without a difficulty run."""
    if evidence.main.bins is None:
        raise Absent("it needs a difficulty run, which bins the problems")
    return evidence.main.bins


def _row(option: Option, estimate: Estimate) -> list[Value]:
    return [name(option), option.flops, *interval(estimate)]
