"""The figure of latency and cost, with the front of options that no other option beats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.options import Option
from orchestrator.report.evidence import Evidence
from orchestrator.report.style import INK, Absent, canvas, colour, marker, percent_axis
from orchestrator.report.text import name


def pareto(evidence: Evidence, price: float) -> tuple[Figure, str]:
    """Draws accuracy against latency and against cost. Raises Absent with fewer than two timed options."""

    def known(cell: Cell) -> bool:
        return bool(np.isfinite(cell.latency).all()) and bool(np.isfinite(cell.seconds))

    timed = [option for option in evidence.main.options if all(known(cell) for cell in option.cells)]
    if len(timed) < 2:
        raise Absent("it needs two configurations at least whose searches were timed")
    if any((cell.config.get("generator") or {}).get("endpoint") for o in timed for cell in o.cells):
        raise Absent("what the server of generator.endpoint holds, and so its cost, is not known")
    unit = "accelerator" if any(accelerators(cell, "num_gpus") for o in timed for cell in o.cells) else "CPU"
    resource = "num_gpus" if unit == "accelerator" else "num_cpus"

    def latency(option: Option) -> float:
        return float(np.mean([np.median(cell.latency) for cell in option.cells]))

    def cost(option: Option) -> float:
        held = [accelerators(c, resource) * c.seconds / len(c.problems) for c in option.cells]
        return 1000 * price * float(np.mean(held)) / 3600

    figure, panels = canvas(2, width=11, height=4.4, sharey=True)
    measured = [(panels[0], latency, "seconds from a search's start to its answer, median of problems")]
    measured.append((panels[1], cost, f"cost of 1,000 problems, where a {unit}-hour costs {price:g}"))
    for axes, measure, label in measured:
        _front(axes, timed, [measure(option) for option in timed], evidence.rule)
        axes.set_xscale("log", base=2)
        low, high = axes.get_xlim()
        axes.set_xlim(low * (low / high) ** 0.15, high)  # room for the name left of the first point
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
        axes.set_xlabel(label)
    panels[0].set_title("latency")
    panels[1].set_title("cost")
    percent_axis(panels[0], f"accuracy ({evidence.rule})")
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique, loc="outside upper left", ncols=min(7, len(unique)), fontsize=8.5)
    return figure, (
        "Each point is a strategy at one budget; the line joins those that none beats in both. A search's "
        "time is beside the run's others, with which it shares the engines: it compares runs of one machine "
        f"and of as many problems at once. Cost counts every {unit} that the replicas hold during a search."
    )


def accelerators(cell: Cell, resource: str) -> float:
    """Returns how much of a resource (``num_gpus`` or ``num_cpus``) the replicas of a run's pools hold."""
    held = 0.0
    for pool in ("generator", "verifier", *(["reviser"] if cell.strategy["name"] == "revisions" else [])):
        section = cell.config.get(pool) or {}
        if section.get("model") is not None:
            held += section.get("replicas", 1) * (section.get("resources") or {}).get(resource, 0.0)
    return held


def front(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Returns the indices of the points that no other beats (no more ``x`` and no less ``y``), by x."""
    kept: list[int] = []
    for i in sorted(range(len(x)), key=lambda i: (x[i], -y[i])):
        if not kept or y[i] > y[kept[-1]]:
            kept.append(i)
    return kept


def _front(axes: Axes, options: Sequence[Option], x: Sequence[float], rule: str) -> None:
    y = [option.accuracy(rule).value for option in options]
    for option, across, up in zip(options, x, y, strict=True):
        strategy = str(option.strategy["name"])
        label = strategy.rpartition("/")[2].replace("_", " ")
        axes.plot(across, up, marker(strategy), color=colour(strategy), label=label, ls="none", ms=5.5)
    best = front(x, y)
    axes.plot([x[i] for i in best], [y[i] for i in best], color=INK, lw=0.9, zorder=1, drawstyle="steps-post")
    last = -np.inf
    spread = (max(y) - min(y)) or 1.0
    for i in best:  # these points rise, and nothing is above and left of them, so names fit there
        if y[i] > last + 0.05 * spread:
            axes.annotate(
                name(options[i]), (x[i], y[i]), (-5, 4), textcoords="offset points", ha="right", fontsize=7.5
            )
            last = y[i]
    axes.margins(x=0.22, y=0.08)
