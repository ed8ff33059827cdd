"""The figures of latency and of cost, with the front of options that no other option beats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.options import Option
from orchestrator.report.baselines import one_sample
from orchestrator.report.drawing import INTERVAL, Absent, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.style import (
    BASELINE,
    INK,
    canvas,
    colour,
    intervals,
    legend_below,
    marker,
    percent_axis,
)
from orchestrator.report.text import name


def latency(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy against latency. Raises Absent with fewer than two timed options."""
    timed = _timed(evidence)
    seconds = [float(np.mean([np.median(cell.latency) for cell in option.cells])) for option in timed]
    label = "seconds from a search's start to its answer, median of problems"
    return _drawn(
        evidence,
        timed,
        seconds,
        label,
        "A search's time is beside the run's others, with which it shares the engines: it compares runs of "
        "one machine and of as many problems at once.",
    )


def cost(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy against cost. Raises Absent with fewer than two timed options, or where what a server
    holds is not known."""
    timed = _timed(evidence)
    if any((cell.config.get("generator") or {}).get("endpoint") for o in timed for cell in o.cells):
        raise Absent("what the server of generator.endpoint holds, and so its cost, is not known")
    unit = "accelerator" if any(accelerators(cell, "num_gpus") for o in timed for cell in o.cells) else "CPU"
    resource = "num_gpus" if unit == "accelerator" else "num_cpus"

    def of(option: Option) -> float:
        held = [accelerators(c, resource) * c.seconds / len(c.problems) for c in option.cells]
        return 1000 * price * float(np.mean(held)) / 3600

    return _drawn(
        evidence,
        timed,
        [of(option) for option in timed],
        f"price of 1,000 problems, where a {unit}-hour costs {price:g}",
        f"In the currency of the price. It counts every {unit} that the replicas hold during a search.",
    )


def _timed(evidence: Evidence) -> list[Option]:
    def known(cell: Cell) -> bool:
        return bool(np.isfinite(cell.latency).all()) and bool(np.isfinite(cell.seconds))

    timed = [option for option in evidence.main.options if all(known(cell) for cell in option.cells)]
    if len(timed) < 2:
        raise Absent("it needs two configurations at least whose searches were timed")
    return timed


def _drawn(
    evidence: Evidence, timed: Sequence[Option], x: Sequence[float], label: str, words: str
) -> Drawing:
    """Draws accuracy against a price, and the front. Raises Absent where a price is 0."""
    if min(x) <= 0:
        raise Absent(f"a logarithmic axis has no place for 0 ({label})")
    figure, (axes,) = canvas()
    estimates = [option.accuracy(evidence.rule) for option in timed]
    y = [estimate.value for estimate in estimates]
    seen: set[str] = set()
    for option, across, estimate in sorted(
        zip(timed, x, estimates, strict=True), key=lambda each: each[2].value, reverse=True
    ):
        strategy = str(option.strategy["name"])
        called = None if strategy in seen else strategy.rpartition("/")[2].replace("_", " ")
        seen.add(strategy)
        intervals(
            axes,
            [across],
            [estimate],
            colour(strategy),
            marker(strategy),
            "none",
            called,
            [evidence.link_of(option)],
        )
    best = front(x, y)
    axes.plot([x[i] for i in best], [y[i] for i in best], color=INK, lw=0.9, zorder=1, drawstyle="steps-post")
    axes.margins(x=0.08, y=0.08)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10.0, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.set_xlabel(label)
    percent_axis(axes, f"accuracy ({evidence.rule})")
    below = ""
    if (sample := one_sample(evidence)) is not None:
        axes.axhline(sample.overall.value, color=BASELINE, lw=0.8, ls=(0, (1, 3)), zorder=0)
        below = " The dotted line is one sample's accuracy; its time was not measured by itself."
    legend_below(figure, axes, 3)
    rows: list[list[Value]] = [
        [name(option), across, "on the front" if i in best else "", *interval(estimate)]
        for i, (option, across, estimate) in enumerate(zip(timed, x, estimates, strict=True))
    ]
    caption = (
        "Each point is a configuration at one budget, with its 95 % interval over problems; the line joins "
        f"those that none beats in both. {words}{below}"
    )
    return Drawing(figure, caption, Numbers(["point", label, "front", *INTERVAL], rows))


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
