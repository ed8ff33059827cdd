"""The figures of a report, one function each, which returns a figure and its caption.

A function raises Absent with the reason where its data is missing. ``price`` is that of an accelerator-hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.difficulty import independent_samples
from orchestrator.analysis.estimators import Estimate, coverage_curve, mean_over_problems
from orchestrator.analysis.flops_matched import Match
from orchestrator.analysis.options import Option
from orchestrator.analysis.scaling_laws import coverage_fit
from orchestrator.report.evidence import Evidence
from orchestrator.report.larger_model import NotMeasured, against_larger
from orchestrator.report.pareto import pareto
from orchestrator.report.series import Series, log_ratio, shown_in_figure
from orchestrator.report.style import (
    DASHES,
    INK,
    QUIET,
    SHADES,
    Absent,
    canvas,
    colour,
    flops_axis,
    intervals,
    marker,
    name_ends,
    percent_axis,
    styled,
)
from orchestrator.report.text import factor


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its words."""

    name: str
    """Name of its file, without a suffix."""
    title: str
    caption: str
    """Explains points, lines and intervals."""
    figure: Figure


def pictures(evidence: Evidence, price: float) -> tuple[list[Picture], list[str]]:
    """Draws the figures that there is data for. Returns them, and the reason for every other figure."""
    drawn, absent = [], []
    broken = evidence.main.failed
    left_out = f" Searches that broke: {broken:,}; their problems are left out." if broken else ""
    for draw, title in FIGURES.items():
        try:
            with styled():
                figure, caption = draw(evidence, price)
        except Absent as reason:
            absent.append(f"Figure “{title}”: {reason}")
        else:
            drawn.append(Picture(draw.__name__, title, caption + left_out, figure))
    return drawn, absent


def accuracy(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws accuracy against FLOPs with the fitted laws."""
    curves, others = shown_in_figure(evidence.main, evidence.rule)
    figure, (axes,) = canvas()
    ends = []
    for curve in curves:
        shade, fit = colour(curve.strategy), curve.fit(evidence.rule)
        points(axes, curve, [option.accuracy(evidence.rule) for option in curve.options], line=False)
        end = curve.flops[-1], curve.options[-1].accuracy(evidence.rule).value
        if fit is not None:
            x = np.geomspace(curve.flops[0], curve.flops[-1], 100)
            axes.plot(x, fit(x), color=shade, linestyle=DASHES[curve.variant % len(DASHES)], lw=1.2)
            if fit.plateau is not None:
                turn = 2**fit.plateau.log2_flops.value
                axes.plot([turn], [fit.plateau.accuracy.value], "|", color=shade, ms=14, mew=1.5)
        ends.append((*end, curve.label, shade))
    flops_axis(axes)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    name_ends(axes, ends)
    return figure, (
        "Points: means over problems and seeds with 95 % intervals over problems. Lines: the fit "
        "α + β·log₂ FLOPs, level after the upright mark where a plateau was found. Revisions: chains about "
        f"as long as there are many. A strategy's variants differ in their dashes.{others}"
    )


def accuracy_by_difficulty(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws accuracy against FLOPs, one panel per difficulty bin (Snell et al. 2024, section 5.3)."""
    bins = _bins(evidence)
    numbers = np.unique(bins)
    curves, others = shown_in_figure(evidence.main, evidence.rule)
    figure, panels = canvas(len(numbers), width=11.4, height=3.5, sharex=True, sharey=True)
    for axes, number in zip(panels, numbers, strict=True):
        for curve in curves:
            estimates = [option.accuracy(evidence.rule, bins == number) for option in curve.options]
            points(axes, curve, estimates, label=curve.label)
        axes.set_title(f"bin {number}" + {1: ", easiest", len(numbers): ", hardest"}.get(int(number), ""))
    for axes in panels:
        flops_axis(axes, 3, "")
    figure.supxlabel("FLOPs charged a problem", fontsize=9)
    percent_axis(panels[0], f"accuracy ({evidence.rule})")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=min(6, len(labels)), fontsize=8.5, handlelength=3.5
    )
    return figure, (
        "Bins are fifths of the problems by pass@1 in the difficulty run, whose samples serve nothing else. "
        f"Bars: 95 % intervals over problems.{others}"
    )


def sequential_to_parallel(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws accuracy of revisions by sequential : parallel ratio (Snell et al. 2024, section 6)."""
    by_n: dict[int, list[Option]] = {}
    for option in evidence.main.revisions:
        by_n.setdefault(int(option.strategy["n"]), []).append(option)
    by_n = {n: sorted(found, key=log_ratio) for n, found in sorted(by_n.items()) if len(found) > 1}
    if not by_n:
        raise Absent("it needs runs of revisions with one n and different lengths")
    largest = max(by_n)
    bins = evidence.main.bins
    figure, panels = canvas(1 if bins is None else 2, width=7.4 if bins is None else 11, sharey=True)
    ends = []
    for i, (n, found) in enumerate(by_n.items()):
        shade = _tint(colour("revisions"), (i + 1) / len(by_n))
        _ratios(panels[0], found, [option.accuracy(evidence.rule) for option in found], shade)
        ends.append((log_ratio(found[-1]), found[-1].accuracy(evidence.rule).value, f"n={n}", shade))
    lines = [(panels[0], ends, "all problems")]
    if bins is not None:
        ends = []
        for number, shade in zip(np.unique(bins), SHADES, strict=False):
            estimates = [option.accuracy(evidence.rule, bins == number) for option in by_n[largest]]
            _ratios(panels[1], by_n[largest], estimates, shade)
            ends.append((log_ratio(by_n[largest][-1]), estimates[-1].value, f"bin {number}", shade))
        lines.append((panels[1], ends, f"n={largest}, by difficulty"))
    percent_axis(panels[0], f"accuracy ({evidence.rule})")
    for axes, ends, title in lines:
        axes.set_title(title)
        axes.set_xlabel("sequential : parallel")
        ticks = sorted({log_ratio(option) for option in by_n[largest]})
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _ratio(x)))
        name_ends(axes, ends)
    return figure, (
        "n attempts a problem as chains of revisions: from all parallel (left) to one chain (right), each "
        "ring the most accurate of its line. Bars: 95 % intervals over problems."
    )


def compute_optimal(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws the cross-validated policy and best-of-N with the FLOPs that it saves."""
    fit = evidence.fit
    if fit is None:
        raise Absent(f"no policy could be learned ({evidence.policy})")
    figure, (axes,) = canvas()
    best = evidence.main.named("best_of_n")
    ends = []
    flops = [option.flops for option in best]
    estimates = [option.accuracy(evidence.rule) for option in best]
    intervals(axes, flops, estimates, colour("best_of_n"), "o", "-")
    ends.append((flops[-1], estimates[-1].value, "best of N", colour("best_of_n")))
    kinds = (
        ("predicted bins, charged", fit.charged["predicted"], INK, "-"),
        ("predicted bins, free", fit.uncharged["predicted"], "#0072b2", DASHES[1]),
        ("oracle bins, free", fit.uncharged["oracle"], "#d55e00", DASHES[2]),
    )
    for label, comparison, shade, dash in kinds:
        levels = sorted(comparison.levels, key=lambda level: level.flops)
        intervals(axes, [x.flops for x in levels], [x.accuracy for x in levels], shade, "", dash)
        ends.append((levels[-1].flops, levels[-1].accuracy.value, label, shade))
    flops_axis(axes)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    reached = [saving for saving in fit.charged["predicted"].savings if saving.flops]
    note = "It does not reach best-of-N's accuracy at any N."
    if reached:
        saving = max(reached, key=lambda saving: saving.baseline_flops)
        ends_at = (saving.flops, saving.accuracy), (saving.baseline_flops, saving.accuracy)
        axes.annotate("", *ends_at, arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.2})
        text = factor(saving, unit="×")
        middle = np.sqrt(float(saving.flops or 1) * saving.baseline_flops)
        axes.annotate(
            text,
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
    name_ends(axes, ends)
    return figure, (
        "The policy chooses a strategy for each difficulty bin and budget; two-fold cross-validated, so each "
        f"problem is measured under a policy that did not see it. {note} Free: the samples that tell a "
        "problem's bin are not charged, as in Snell."
    )


def coverage(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws pass@k with its power law (Brown et al. 2024), beside the accuracy of best-of-N."""
    by_n = evidence.main.by_n("best_of_n")
    cells: Sequence[Cell] = [evidence.difficulty] if evidence.difficulty else []
    cells = cells or (list(by_n.values())[-1].cells if by_n else [])
    if not cells or cells[0].results is None:
        raise Absent("it needs independent samples: a difficulty run or best_of_n")
    count, right = independent_samples(cells)
    if count < 2:
        raise Absent("it needs two independent samples of each problem at least")
    ks, values = coverage_curve(count, right)
    figure, (axes,) = canvas()
    green = colour("dvts")
    estimates = [mean_over_problems(values[:, i]) for i in range(len(ks))]
    note = ""
    try:
        law = coverage_fit(count, right)
    except ValueError as error:
        note = f" No fit: {error}."
    else:
        x = np.geomspace(1, ks[-1], 100)
        axes.plot(x, law(x), color=green, lw=1.2)
        note = (
            f" Line: log c = a·k^b with a = {law.a.value:.2f} ± {law.a.error:.2f}, "
            f"b = {law.b.value:.2f} ± {law.b.error:.2f} (standard errors over problems)."
        )
    intervals(axes, ks, estimates, green, "D", "none")
    ends = [(ks[-1], estimates[-1].value, "coverage", green)]
    shown = [rule for rule in dict.fromkeys((evidence.rule, "majority")) if rule in evidence.main.rules]
    for rule, shade, shape in zip(shown, (INK, QUIET), "os", strict=False):
        if len(by_n) > 1:
            chosen = [option.accuracy(rule) for option in by_n.values()]
            intervals(axes, list(by_n), chosen, shade, shape, "-")
            ends.append((list(by_n)[-1], chosen[-1].value, rule, shade))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("samples a problem, k")
    percent_axis(axes, "problems solved")
    axes.set_ylim(0, 1.02)
    name_ends(axes, ends)
    return figure, (
        f"Coverage: the unbiased pass@k from {count} samples a problem.{note} Beside it what selection makes "
        "of best-of-N. Bars: 95 % intervals over problems."
    )


def flops_matched(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws the lead of search over larger models at matched FLOPs (Snell et al. 2024, section 7)."""
    try:
        comparisons = against_larger(evidence)
    except NotMeasured as reason:
        raise Absent(str(reason)) from reason
    kinds = {
        "verifier's FLOPs counted": colour("beam_search"),
        "verifier's FLOPs left out": colour("lookahead"),
    }
    ratios = sorted({match.ratio for match in comparisons[0].matches})
    rows = len(comparisons)
    figure, panels = canvas(len(ratios), rows=rows, width=11, height=0.6 + 3.3 * rows, sharey=True)
    for index, axes in enumerate(panels):
        comparison, ratio = comparisons[index // len(ratios)], ratios[index % len(ratios)]
        kinds_of_match = (comparison.matches, comparison.free)
        for matches, shift, shade in zip(kinds_of_match, (-0.2, 0.2), kinds.values(), strict=True):
            _bars(axes, [match for match in matches if match.ratio == ratio], shift, shade)
        axes.axhline(0, color=INK, lw=0.9)
        axes.axvline(0.5, color=QUIET, lw=0.6, ls=DASHES[2])
        axes.set_title(f"{comparison.name}, {comparison.size:.1f} ×; R = {ratio:g}")
        axes.set_xticks(range(6), ["all", *map(str, range(1, 6))])
        axes.grid(False, axis="x")
        axes.set_xlabel("difficulty bin")
        if index % len(ratios) == 0:
            percent_axis(axes, "search less larger model", "points")
    figure.legend(
        [Patch(color=shade) for shade in kinds.values()], list(kinds), loc="outside upper left", ncols=2
    )
    who = "the compute-optimal policy" if evidence.fit else "best-of-N"
    return figure, (
        f"The small generator with {who} against the greedy answers of larger ones (so many times as "
        "large), at the same total FLOPs of training and answering; R is answered over trained tokens. Above "
        "0 search wins. Bars: 95 % intervals of paired differences. Hatched: the matched budget "
        "lies outside what was measured, and the nearest point is shown."
    )


def _bars(axes: Axes, matches: Sequence[Match], shift: float, shade: str) -> None:
    values = np.array([match.difference.value for match in matches])
    low = values - [match.difference.low for match in matches]
    high = np.array([match.difference.high for match in matches]) - values
    bars = axes.bar(
        np.array([float(match.bin) for match in matches]) + shift,
        values,
        0.36,
        yerr=np.maximum(0, [low, high]),
        color=shade,
        error_kw={"elinewidth": 0.9, "ecolor": INK, "capsize": 0},
    )
    for bar, match in zip(bars, matches, strict=True):
        if match.reach != "measured":
            bar.set(hatch="////", edgecolor="white", linewidth=0)


Draw = Callable[[Evidence, float], tuple[Figure, str]]
FIGURES: dict[Draw, str] = {
    accuracy: "Accuracy against FLOPs",
    accuracy_by_difficulty: "Accuracy against FLOPs, by difficulty",
    sequential_to_parallel: "Sequential against parallel revisions",
    compute_optimal: "Compute-optimal against best-of-N",
    coverage: "Coverage and its power law",
    flops_matched: "Search against a larger model, FLOPs matched",
    pareto: "Latency and cost",
}


def points(
    axes: Axes, curve: Series, estimates: Sequence[Estimate], *, line: bool = True, label: str | None = None
) -> None:
    """Draws the points of a series with their intervals."""
    dash = DASHES[curve.variant % len(DASHES)] if line else "none"
    intervals(axes, list(curve.flops), estimates, colour(curve.strategy), marker(curve.strategy), dash, label)


def _ratios(axes: Axes, found: Sequence[Option], estimates: Sequence[Estimate], shade: str) -> None:
    """Draws a line over sequential : parallel ratios with a ring around its most accurate point."""
    x = [log_ratio(option) for option in found]
    intervals(axes, x, estimates, shade, "o", "-")
    best = int(np.argmax([e.value for e in estimates]))
    axes.plot(x[best], estimates[best].value, "o", ms=9, mfc="none", mec=shade, mew=1.2)


def _ratio(log: float) -> str:
    ratio = 2.0 ** abs(log)
    return f"{ratio:.3g}:1" if log > 0 else f"1:{ratio:.3g}"


def _tint(shade: str, strength: float) -> str:
    """Returns a lighter shade; with ``strength`` 1 the shade itself."""
    from matplotlib.colors import to_hex, to_rgb

    strength = 0.35 + 0.65 * strength
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(shade))
    return str(to_hex((red, green, blue)))


def _bins(evidence: Evidence) -> np.ndarray:
    if evidence.main.bins is None:
        raise Absent("it needs a difficulty run, which bins the problems")
    return evidence.main.bins
