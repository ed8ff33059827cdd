"""Draws the figure of the main README, from a small table of results that is kept in the repository.

``collect`` makes the table from cells of ``configs/lab-allocation.yaml``; ``draw`` makes the figure from it:

    python -m orchestrator.report.front_figure collect runs/lab-allocation configs/figure/accuracy.csv
    python -m orchestrator.report.front_figure draw configs/figure/accuracy.csv configs/figure/accuracy.svg
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.estimators import Estimate, mean_over_problems
from orchestrator.analysis.store import load_directory
from orchestrator.analysis.words import percent
from orchestrator.report.style import LARGER, canvas, colour, flops_axis, name_ends, percent_axis, styled, svg

CURVES = {
    "best-of-N": colour("best_of_n"),
    "beam search": colour("beam_search"),
    "adaptive allocation": colour("early_rejection"),
    "larger models, greedy": LARGER,
}
"""The curves of the figure, in the order of its legend, and their colours: those of their strategies."""


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell of the sweep, as the table keeps it."""

    curve: str
    point: str
    """The budget that the cell was given, or its model: cells of one point differ in their seed."""
    seed: int
    flops: float
    """FLOPs charged a problem, on average."""
    correct: str
    """A digit a problem, in the order of the problems: 1 where the selected answer is right."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve: FLOPs charged a problem, and accuracy over problems with a 95 % interval."""

    name: str
    flops: float
    accuracy: Estimate


def row_of(cell: Cell) -> StoredCell | None:
    """Returns the row of a finished cell: accuracy by weighted vote, or by majority without a verifier.

    Returns None for a cell that is in no curve.
    """
    name, allocation = cell.strategy["name"], cell.config["allocation"]["name"]
    model = Path(str(cell.config["generator"]["model"])).name
    larger = model != "generator-s"
    match name, allocation:
        case _ if larger:
            curve = "larger models, greedy"
        case "best_of_n", "uniform":
            curve = "best-of-N"
        case "beam_search", "uniform":
            curve = "beam search"
        case "early_rejection", "adaptive":
            curve = "adaptive allocation"
        case _:
            return None
    right = cell.correct.get("weighted", cell.correct["majority"])
    digits = "".join("1" if answer else "0" for answer in right)
    point = model if larger else f"{cell.budget:.6g}"
    return StoredCell(curve, point, cell.seed, float(np.mean(cell.flops)), digits)


def points(rows: Sequence[StoredCell], curve: str) -> list[Point]:
    """Returns the points of a curve, by FLOPs. A problem counts with its mean over the seeds."""
    found = []
    for name in dict.fromkeys(row.point for row in rows if row.curve == curve):
        cells = [row for row in rows if row.curve == curve and row.point == name]
        right = np.array([[int(digit) for digit in row.correct] for row in cells], dtype=float)
        flops = float(np.mean([row.flops for row in cells]))
        found.append(Point(name, flops, mean_over_problems(right.mean(axis=0))))
    return sorted(found, key=lambda point: point.flops)


def saving(rows: Sequence[StoredCell], curve: str) -> tuple[float, float]:
    """Returns the accuracy of best-of-N's largest point, and the share of its FLOPs with which ``curve``
    reaches that accuracy first (linear in log FLOPs between points); infinity where it does not."""
    goal = points(rows, "best-of-N")[-1]
    reached = points(rows, curve)
    for before, after in zip([None, *reached], reached, strict=False):
        if after.accuracy.value >= goal.accuracy.value:
            if before is None:
                return goal.accuracy.value, after.flops / goal.flops
            share = (goal.accuracy.value - before.accuracy.value) / (
                after.accuracy.value - before.accuracy.value
            )
            flops = before.flops * (after.flops / before.flops) ** share
            return goal.accuracy.value, flops / goal.flops
    return goal.accuracy.value, float("inf")


def draw(rows: Sequence[StoredCell]) -> str:
    """Returns the figure as SVG."""
    with styled():
        figure, (axes,) = canvas(width=8.2, height=4.0)
        ends = []
        for curve, shade in CURVES.items():
            line = points(rows, curve)
            if not line:
                continue
            flops = [point.flops for point in line]
            values = [point.accuracy.value for point in line]
            low, high = ([getattr(point.accuracy, end) for point in line] for end in ("low", "high"))
            if curve.startswith("larger"):
                below = [value - bound for value, bound in zip(values, low, strict=True)]
                above = [bound - value for value, bound in zip(values, high, strict=True)]
                axes.errorbar(flops, values, [below, above], fmt="D", color=shade, capsize=2)
            else:
                axes.fill_between(flops, low, high, color=shade, alpha=0.15, linewidth=0)
                axes.plot(flops, values, marker="o", color=shade)
            ends.append((flops[-1], values[-1], curve, shade))
        flops_axis(axes)
        percent_axis(axes, "accuracy")
        name_ends(axes, ends)
    return svg(figure)


def read(path: Path) -> list[StoredCell]:
    """Reads a table that ``write`` has written."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            StoredCell(line["curve"], line["point"], int(line["seed"]), float(line["flops"]), line["correct"])
            for line in csv.DictReader(file)
        ]


def write(rows: Sequence[StoredCell], path: Path) -> None:
    """Writes the table, in the order of curves, points and seeds."""
    order = list(CURVES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(StoredCell))
        ordered = sorted(rows, key=lambda row: (order.index(row.curve), row.flops, row.seed))
        writer.writerows(astuple(row) for row in ordered)


def main() -> None:
    """Runs one of the two commands, and prints the numbers behind the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("collect", "draw"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.what == "collect":
        cells = load_directory(options.source).cells
        write([row for cell in cells if (row := row_of(cell)) is not None], options.out)
        return
    rows = read(options.source)
    options.out.write_text(draw(rows), encoding="utf-8")
    for curve in CURVES:
        for point in points(rows, curve):
            accuracy = percent(point.accuracy, " %")
            print(f"{curve:<22} {point.name:<12} {point.flops:9.3g} FLOPs  {accuracy}")
    for curve in ("adaptive allocation", "beam search"):
        level, share = saving(rows, curve)
        print(f"{curve} reaches best-of-N's {100 * level:.1f} % with {100 * share:.0f} % of its FLOPs")


if __name__ == "__main__":
    main()
