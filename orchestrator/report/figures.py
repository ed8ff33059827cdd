"""The figures of a report, by the sections in which they stand.

A figure is a function of the evidence and of the price of an accelerator-hour, and raises Absent with the
reason where its data is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.report.curves import accuracy, accuracy_by_difficulty, compute_optimal
from orchestrator.report.drawing import Absent, Drawing
from orchestrator.report.evidence import Evidence
from orchestrator.report.gains import gains
from orchestrator.report.inside import by_level, lost, scores
from orchestrator.report.larger_figure import flops_matched
from orchestrator.report.pareto import cost, latency
from orchestrator.report.revised import sequential_by_difficulty, sequential_to_parallel
from orchestrator.report.sampled import coverage
from orchestrator.report.style import styled

FIGURES: dict[Callable[[Evidence, float], Drawing], str] = {
    gains: "What the search buys",
    accuracy: "Accuracy against FLOPs",
    accuracy_by_difficulty: "Accuracy against FLOPs, by difficulty",
    compute_optimal: "Compute-optimal against best-of-N",
    lost: "Where answers are lost",
    by_level: "Accuracy by the data set's difficulty",
    scores: "What the verifier's scores are worth",
    coverage: "Coverage and its power law",
    sequential_to_parallel: "Sequential against parallel revisions",
    sequential_by_difficulty: "Sequential against parallel revisions, by difficulty",
    flops_matched: "Search against a larger model, FLOPs matched",
    latency: "Accuracy against latency",
    cost: "Accuracy against cost",
}
"""The figures and their titles."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its name and title."""

    name: str
    """Name of its file, without a suffix."""
    title: str
    drawing: Drawing


def pictures(evidence: Evidence, price: float) -> tuple[list[Picture], list[str]]:
    """Draws the figures that there is data for. Returns them, and the reason for every other figure."""
    drawn, absent = [], []
    broken = evidence.main.failed
    left_out = f" Searches that broke: {broken:,}; their problems are left out." if broken else ""
    for draw, title in FIGURES.items():
        try:
            with styled():
                drawing = draw(evidence, price)
        except Absent as reason:
            absent.append(f"Figure “{title}”: {reason}")
        else:
            whole = replace(drawing, caption=drawing.caption + left_out)
            drawn.append(Picture(draw.__name__, title, whole))
    return drawn, absent
