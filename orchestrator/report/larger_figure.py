"""The figure of search against larger models at matched FLOPs (Snell et al. 2024, section 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from orchestrator.analysis.flops_matched import Match
from orchestrator.report.drawing import Absent, Drawing, Numbers, Value
from orchestrator.report.evidence import Evidence
from orchestrator.report.larger_model import NotMeasured, against_larger
from orchestrator.report.style import DASHES, INK, NEUTRAL, QUIET, canvas, percent_axis

COUNTED, LEFT_OUT = "verifier's FLOPs counted", "verifier's FLOPs left out"
KINDS = dict(zip((COUNTED, LEFT_OUT), NEUTRAL, strict=True))
"""The two ways to count, and their colours."""


def flops_matched(evidence: Evidence, price: float) -> Drawing:
    """Draws the lead of search over larger models, a panel for each model and ratio."""
    try:
        comparisons = against_larger(evidence)
    except NotMeasured as reason:
        raise Absent(str(reason)) from reason
    panels = [
        (comparison, ratio)
        for comparison in comparisons
        for ratio in sorted({match.ratio for match in comparison.matches})
    ]
    figure, all_axes = canvas(rows=len(panels), height=0.7 + 1.75 * len(panels), sharex=True, sharey=True)
    rows: list[list[Value]] = []
    for axes, (comparison, ratio) in zip(all_axes, panels, strict=True):
        for kind, matches, shift in (
            (COUNTED, comparison.matches, -0.2),
            (LEFT_OUT, comparison.free, 0.2),
        ):
            found = [match for match in matches if match.ratio == ratio]
            _bars(axes, found, shift, KINDS[kind])
            for match in found:
                lead = (
                    100 * x for x in (match.difference.value, match.difference.low, match.difference.high)
                )
                where = f"bin {match.bin}" if match.bin else "all"
                rows.append([comparison.name, f"{ratio:g}", kind, where, *lead, match.reach])
        axes.axhline(0, color=INK, lw=0.9)
        axes.axvline(0.5, color=QUIET, lw=0.6, ls=DASHES[2])
        axes.set_title(f"{comparison.name}, {comparison.size:.1f} times as large; R = {ratio:g}")
        axes.set_xticks(range(6), ["all", *map(str, range(1, 6))])
        axes.grid(False, axis="x")
        percent_axis(axes, "lead", "points")
    all_axes[-1].set_xlabel("difficulty bin")
    figure.legend(
        [Patch(color=shade) for shade in KINDS.values()], list(KINDS), loc="outside lower left", ncols=2
    )
    who = "the compute-optimal policy" if evidence.fit else "best-of-N"
    caption = (
        f"The small generator with {who} less the greedy answers of larger ones, at the same total FLOPs of "
        "training and answering; R is answered over trained tokens. Above 0 search wins. Bars: 95 % "
        "intervals of paired differences. Hatched: the matched budget lies outside what was measured, and "
        "the nearest point is shown."
    )
    columns = ["larger model", "R", "counted", "problems", "lead, points", "low", "high", "budget"]
    return Drawing(figure, caption, Numbers(columns, rows))


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
