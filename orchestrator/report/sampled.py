"""The figure of coverage: what more samples find, and what selection makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.difficulty import independent_samples
from orchestrator.analysis.estimators import coverage_curve, mean_over_problems
from orchestrator.analysis.scaling_laws import coverage_fit
from orchestrator.report.drawing import INTERVAL, Absent, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.style import (
    BASELINE,
    DASHES,
    NEUTRAL,
    canvas,
    colour,
    intervals,
    legend_below,
    percent_axis,
)


def coverage(evidence: Evidence, price: float) -> Drawing:
    """Draws pass@k with its power law (Brown et al. 2024), beside the accuracy of best-of-N."""
    by_n = evidence.main.by_n(SAMPLES)
    cells: Sequence[Cell] = [evidence.difficulty] if evidence.difficulty else []
    cells = cells or (list(by_n.values())[-1].cells if by_n else [])
    if not cells or cells[0].results is None:
        raise Absent("it needs independent samples: a difficulty run or best_of_n")
    count, right = independent_samples(cells)
    if count < 2:
        raise Absent("it needs two independent samples of each problem at least")
    ks, values = coverage_curve(count, right)
    figure, (axes,) = canvas()
    estimates = [mean_over_problems(values[:, i]) for i in range(len(ks))]
    rows: list[list[Value]] = [["coverage", k, *interval(e)] for k, e in zip(ks, estimates, strict=True)]
    try:
        law = coverage_fit(count, right)
    except ValueError as error:
        note = f" No fit: {error}."
    else:
        x = np.geomspace(1, ks[-1], 100)
        axes.plot(x, law(x), color=BASELINE, lw=1.2)
        note = (
            f" Line: log c = a·k^b with a = {law.a.value:.2f} ± {law.a.error:.2f}, "
            f"b = {law.b.value:.2f} ± {law.b.error:.2f} (standard errors over problems)."
        )
    intervals(axes, ks, estimates, BASELINE, "D", "none", "coverage: any sample is right")
    shown = [rule for rule in dict.fromkeys((evidence.rule, "majority")) if rule in evidence.main.rules]
    for rule, shade, dash in zip(shown, (colour(SAMPLES), NEUTRAL[1]), DASHES, strict=False):
        chosen = [option.accuracy(rule) for option in by_n.values()]
        links = [evidence.link_of(option) for option in by_n.values()]
        if chosen:
            label = f"best-of-N, {rule}"
            intervals(axes, list(by_n), chosen, shade, "o" if rule != "majority" else "s", dash, label, links)
            rows += [[label, n, *interval(e)] for n, e in zip(by_n, chosen, strict=True)]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("samples a problem, k")
    percent_axis(axes, "problems solved")
    axes.set_ylim(0, 1.02)
    legend_below(figure, axes)
    caption = (
        f"Coverage: the unbiased pass@k from {count} samples a problem; at k = 1 it is one sample's "
        f"accuracy.{note} Beside it what selection makes of best-of-N. Bars: 95 % intervals over problems."
    )
    return Drawing(figure, caption, Numbers(["curve", "samples", *INTERVAL], rows))
