"""Figures of revisions by their sequential : parallel ratio (Snell et al. 2024, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import FixedLocator, FuncFormatter

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.options import Option
from orchestrator.report.baselines import one_sample
from orchestrator.report.curves import bins_of
from orchestrator.report.drawing import INTERVAL, Absent, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.series import log_ratio
from orchestrator.report.style import (
    BASELINE,
    SHADES,
    canvas,
    colour,
    intervals,
    legend_below,
    link,
    percent_axis,
)

SHAPES = "os^Dv"
"""Markers of the lines of a figure, in their order."""


def sequential_to_parallel(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy of revisions by ratio, a line for each n."""
    by_n = _by_n(evidence)
    figure, (axes,) = canvas()
    rows: list[list[Value]] = []
    for i, (n, found) in enumerate(by_n.items()):
        shade = _tint(colour("revisions"), (i + 1) / len(by_n))
        estimates = [option.accuracy(evidence.rule) for option in found]
        _line(evidence, axes, found, estimates, shade, SHAPES[i % len(SHAPES)], f"n={n}")
        rows += _rows(f"n={n}", found, estimates)
    below = ""
    if (sample := one_sample(evidence)) is not None:
        axes.axhline(sample.overall.value, color=BASELINE, lw=0.8, ls=(0, (1, 3)), label="one sample")
        rows.append(["one sample", None, *interval(sample.overall)])
        below = " The dotted line is one sample's accuracy."
    _ratio_axis(axes, [option for found in by_n.values() for option in found])
    percent_axis(axes, f"accuracy ({evidence.rule})")
    legend_below(figure, axes)
    caption = (
        "n attempts a problem as chains of revisions: from all parallel (left) to one chain (right), each "
        f"ring the most accurate of its line. Bars: 95 % intervals over problems.{below}"
    )
    return Drawing(figure, caption, Numbers(["line", "sequential : parallel", *INTERVAL], rows))


def sequential_by_difficulty(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy of revisions of the largest n by ratio, a line for each difficulty bin."""
    n, found = [*_by_n(evidence).items()][-1]
    bins = bins_of(evidence)
    figure, (axes,) = canvas()
    rows: list[list[Value]] = []
    for number, shade, shape in zip(np.unique(bins), SHADES, SHAPES, strict=False):
        estimates = [option.accuracy(evidence.rule, bins == number) for option in found]
        _line(evidence, axes, found, estimates, shade, shape, f"bin {number}")
        rows += _rows(f"bin {number}", found, estimates)
    _ratio_axis(axes, found)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    legend_below(figure, axes, 3)
    caption = (
        f"{n} attempts a problem as chains of revisions, in each difficulty bin (1 is the easiest): from all "
        "parallel (left) to one chain (right), each ring the most accurate of its line. Bars: 95 % intervals "
        "over problems."
    )
    return Drawing(figure, caption, Numbers(["line", "sequential : parallel", *INTERVAL], rows))


def _by_n(evidence: Evidence) -> dict[int, list[Option]]:
    """The options of each n with several ratios, in the order of their ratio. Raises Absent without any."""
    by_n: dict[int, list[Option]] = {}
    for option in evidence.main.revisions:
        by_n.setdefault(int(option.strategy["n"]), []).append(option)
    by_n = {n: sorted(found, key=log_ratio) for n, found in sorted(by_n.items()) if len(found) > 1}
    if not by_n:
        raise Absent("it needs runs of revisions with one n and different lengths")
    return by_n


def _rows(line: str, found: Sequence[Option], estimates: Sequence[Estimate]) -> list[list[Value]]:
    return [
        [line, _ratio(log_ratio(option)), *interval(each)]
        for option, each in zip(found, estimates, strict=True)
    ]


def _ratio_axis(axes: Axes, found: Sequence[Option]) -> None:
    axes.set_xlabel("sequential : parallel")
    axes.xaxis.set_major_locator(FixedLocator(sorted({log_ratio(option) for option in found})))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _ratio(x)))


def _line(
    evidence: Evidence,
    axes: Axes,
    found: Sequence[Option],
    estimates: Sequence[Estimate],
    shade: str,
    shape: str,
    label: str,
) -> None:
    """Draws a line over sequential : parallel ratios with a ring around its most accurate point."""
    x = [log_ratio(option) for option in found]
    intervals(axes, x, estimates, shade, shape, "-", label)
    link(axes, x, [e.value for e in estimates], [evidence.link_of(option) for option in found])
    best = int(np.argmax([e.value for e in estimates]))
    axes.plot(x[best], estimates[best].value, "o", ms=9, mfc="none", mec=shade, mew=1.2)


def _ratio(log: float) -> str:
    ratio = 2.0 ** abs(log)
    return f"{ratio:.3g}:1" if log > 0 else f"1:{ratio:.3g}"


def _tint(shade: str, strength: float) -> str:
    """Returns a lighter shade; with ``strength`` 1 the shade itself."""
    strength = 0.35 + 0.65 * strength
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(shade))
    return str(to_hex((red, green, blue)))
