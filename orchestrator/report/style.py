"""The style of all figures: one colour per strategy, safe for colour-blind readers; names beside curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from orchestrator.analysis.estimators import Estimate
from orchestrator.report.text import si

INK, QUIET = "#222222", "#6b7280"
LEADER = "#b4bac2"
"""Colour of the dotted line from a name to its curve: it must not look like a curve."""
COLOURS = {
    "best_of_n": "#5e5e5e",
    "compute_optimal": "#000000",
    "beam_search": "#0072b2",
    "lookahead": "#56b4e9",
    "dvts": "#009e73",
    "rebase": "#d55e00",
    "mcts": "#cc79a7",
    "particle_filtering": "#e69f00",
    "revisions": "#9b7eff",
    "budget_forcing": "#5000f4",
    "early_rejection": "#001877",
    "adaptive_self_consistency": "#950a00",
}
"""The colour of each strategy, in every figure. Best-of-N is grey; seven are those of Okabe & Ito (2008), and
the others are as far as can be from these, and from each other, for the colour-blind too."""
MARKERS = dict(zip(COLOURS, "o*svD^PXhd<>", strict=True))
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
BASELINE = "#222222"
"""Colour of what no search reaches."""
BASELINE_MARKERS = {"one sample": "+", "greedy": "x", "majority": "1"}
NEUTRAL = ("#3f4a5a", "#a3adba")
"""Colours of what is no strategy, such as two ways to count."""
LARGER = "#8a4fa3"
"""Colour of larger models without a search."""
FILLS = ("full", "none", "left", "bottom", "right", "top")
"""How the points of a strategy's curves are filled, one after another."""
SHADES = ("#08306b", "#2171b5", "#41a0a8", "#c08a2b", "#a03a12")
"""Colours of difficulty bins, the easiest first."""

WIDTH = 5.2
"""Inches of a report's figure: a column, so that its letters can be read on a telephone as well."""
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
    columns: int = 1, *, rows: int = 1, width: float = WIDTH, height: float = 3.4, **how: Any
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
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with styled():
        figure.savefig(out, format="svg", metadata=nothing, bbox_inches="tight", pad_inches=0.05)
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
    while len(places) < 3 and step > 1:
        step -= 1
        places = 2.0 ** np.arange(round_number + step * np.ceil((low - round_number) / step), high, step)
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
    axes.set_ylabel(f"{label}, {unit}" if label else "")


def percent_ticks(axes: Axes) -> None:
    """Shows the x axis, whose values are shares, times 100."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))


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


def intervals(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    shade: str,
    shape: str,
    dash: object,
    label: str | None = None,
    links: Sequence[str | None] = (),
    *,
    variant: int = 0,
    line: bool = True,
) -> None:
    """Draws a curve through estimates, each with its interval.

    ``links`` are where its points lead to. ``variant`` is the number of the curve among those of one colour:
    its points are filled in another way. Without ``line`` there are only points, and the legend has the dash
    of the line that someone else draws.
    """
    values = np.array([e.value for e in estimates])
    below, above = values - [e.low for e in estimates], [e.high for e in estimates] - values
    drawn = axes.errorbar(
        x,
        values,
        np.maximum(0, [below, above]),
        color=shade,
        marker=shape,
        linestyle=dash if line else "none",
        elinewidth=0.8,
        capsize=0,
        label=label if line else None,
        fillstyle=FILLS[variant % len(FILLS)],
        markerfacecoloralt="white",
        markeredgewidth=1.4 if shape in BASELINE_MARKERS.values() else None,
    )
    if not line:
        axes.plot(
            [x[-1]],
            [values[-1]],
            color=shade,
            marker=shape,
            linestyle=dash if len(x) > 1 else "none",
            fillstyle=FILLS[variant % len(FILLS)],
            markerfacecoloralt="white",
            label=label,
        )
    for bar in drawn[2]:
        bar.set_alpha(0.45)
    link(axes, x, list(values), links)


def link(axes: Axes, x: Sequence[float], y: Sequence[float], links: Sequence[str | None]) -> None:
    """Makes points lead to the addresses ``links``, where they have one: by unseen discs above them, large
    enough for a finger."""
    led = [(across, up, to) for across, up, to in zip(x, y, links, strict=False) if to is not None]
    if led:
        across, up, to = zip(*led, strict=True)
        discs = axes.scatter(across, up, s=64, color="#ffffff", alpha=0.0, linewidths=0, zorder=9)
        discs.set_urls(list(to))


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Writes the names of what was drawn with a label below the axes, the highest last point first."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return

    def height(handle: Any) -> float:
        line = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
        heights = np.asarray(line.get_ydata(), dtype=float)
        return float(heights[-1]) if len(heights) else 0.0

    order = sorted(range(len(handles)), key=lambda i: -height(handles[i]))
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(order) // columns))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower left",
        ncols=columns,
        fontsize=8.5,
        handlelength=3.2,
        columnspacing=1.2,
    )
