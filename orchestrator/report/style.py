"""The style of all figures: one colour per strategy, safe for colour-blind readers; names beside curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from orchestrator.analysis.estimators import Estimate
from orchestrator.report.text import si

INK, QUIET = "#222222", "#6b7280"
LEADER = "#b4bac2"
"""Colour of the dotted line from a name to its curve: it must not look like a curve."""
COLOURS = {
    "best_of_n": "#7a7a7a",
    "compute_optimal": "#000000",
    "beam_search": "#0072b2",
    "lookahead": "#56b4e9",
    "dvts": "#009e73",
    "rebase": "#d55e00",
    "mcts": "#cc79a7",
    "particle_filtering": "#e69f00",
    "revisions": "#882255",
    "budget_forcing": "#999933",
    "early_rejection": "#117733",
    "adaptive_self_consistency": "#332288",
}
"""Colours after Okabe & Ito (2008) and Tol (2021). Best-of-N, the baseline, is grey."""
MARKERS = dict(zip(COLOURS, "o*svD^PXhd<>", strict=True))
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
SHADES = ("#08306b", "#2171b5", "#41a0a8", "#c08a2b", "#a03a12")
"""Colours of difficulty bins, the easiest first."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e7eaee",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "ttc",
    "text.parse_math": False,  # a dollar in a user's name is a dollar
}


def colour(strategy: str) -> str:
    """Returns a strategy's colour; a user's own strategy is slate."""
    return COLOURS.get(strategy, "#4b5a78")


def marker(strategy: str) -> str:
    """Returns a strategy's marker; a user's own strategy has a pentagon."""
    return MARKERS.get(strategy, "p")


def canvas(
    columns: int = 1, *, rows: int = 1, width: float = 7.4, height: float = 4.2, **how: Any
) -> tuple[Figure, Any]:
    """Returns a figure of this size in inches, and its axes row after row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **how).ravel()


def styled() -> AbstractContextManager[None]:
    """Returns a context in which figures are drawn in the style."""
    return matplotlib.rc_context(RC)


def svg(figure: Figure) -> str:
    """Returns the figure as SVG with letters as shapes, so that it looks the same everywhere."""
    out = io.StringIO()
    with styled():
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.05)
    return out.getvalue()


def flops_axis(axes: Axes, ticks: int = 7, label: str = "FLOPs charged a problem") -> None:
    """Makes the x axis logarithmic with about ``ticks`` ticks: each a power of 2 times a power of 10, or a
    round number on a short axis."""
    axes.set_xscale("log", base=2)
    low, high = np.log2(axes.get_xlim())
    step = max(1, int(np.ceil((high - low) / ticks)))
    round_number = np.log2(10.0) * np.round((low + high) / 2 / np.log2(10.0))
    first = round_number + step * np.ceil((low - round_number) / step)
    places = 2.0 ** np.arange(first, high, step)
    if len(places) < 3:  # a short axis has round numbers as a linear one has
        places = np.array(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(2.0**low, 2.0**high))
    axes.xaxis.set_major_locator(FixedLocator([x for x in places if 2.0**low <= x <= 2.0**high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: si(x)))
    axes.set_xlabel(label)


def percent_axis(axes: Axes, label: str, unit: str = "%") -> None:
    """Shows the y axis, whose values are shares, times 100."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.set_ylabel(f"{label}, {unit}")


def name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = 8.5) -> None:
    """Writes the names of curves right of the axes, apart where they would overlap.

    ``ends`` are (x, y, name, colour) of each curve's last point. The axes' limits must not change afterwards.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = figure.get_size_inches()[1] * 0.8  # about what titles and labels leave to the axes
    gap = (high - low) * size * 1.25 / 72 / inches
    places: list[float] = []
    for _, y, _, _ in (ordered := sorted(ends, key=lambda end: end[1])):
        places.append(max(y, places[-1] + gap) if places else max(y, low))
    for i in range(len(places) - 1, -1, -1):  # and down again, from the top
        roof = places[i + 1] - gap if i + 1 < len(places) else high
        places[i] = min(places[i], max(roof, ordered[i][1] if i + 1 == len(places) else roof))
    for place, (x, y, text, shade) in zip(places, ordered, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            color=shade,
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LEADER, "lw": 0.7, "ls": ":", "shrinkA": 1, "shrinkB": 3},
        )


class Absent(Exception):
    """Raised where a figure cannot be drawn; the message is the reason."""


def intervals(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    shade: str,
    shape: str,
    dash: object,
    label: str | None = None,
) -> None:
    """Draws a curve through estimates, each with its interval."""
    values = np.array([e.value for e in estimates])
    below, above = values - [e.low for e in estimates], [e.high for e in estimates] - values
    drawn = axes.errorbar(
        x,
        values,
        np.maximum(0, [below, above]),
        color=shade,
        marker=shape,
        linestyle=dash,
        elinewidth=0.8,
        capsize=0,
        label=label,
    )
    for bar in drawn[2]:
        bar.set_alpha(0.45)
