"""Figures of what happened inside the searches: where answers are lost, which problems are hard, and what the
verifier's scores are worth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from orchestrator.analysis.estimators import Estimate, Floats, mean_over_problems, share_over_problems
from orchestrator.analysis.options import Option
from orchestrator.analysis.solutions import read_difficulty
from orchestrator.report.baselines import one_sample
from orchestrator.report.choice import best_of_each, recommended
from orchestrator.report.drawing import INTERVAL, Absent, Drawing, Numbers, Value, interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.gains import LONGEST, MOST_ROWS
from orchestrator.report.style import (
    BASELINE,
    NEUTRAL,
    canvas,
    colour,
    intervals,
    legend_below,
    marker,
    percent_axis,
    percent_ticks,
)
from orchestrator.report.tables import covered
from orchestrator.report.text import name, shortened

MOST_LEVELS = 12
"""The most values of a data set's difficulty that are shown apart; of more, ranges are."""
RANGES, SCORE_RANGES = 6, 8
LEAST_SCORES = 40
"""The fewest scored solutions that tell something of the scores."""


def lost(evidence: Evidence, price: float) -> Drawing:
    """Draws the share of the problems that are solved, that selection loses, and that no solution solves."""
    shown = best_of_each(evidence)[:MOST_ROWS][::-1]
    figure, (axes,) = canvas(height=0.85 + 0.3 * len(shown))
    rows: list[list[Value]] = []
    for place, option in enumerate(shown):
        right, found = option.accuracy(evidence.rule), covered(option)
        missed = max(0.0, found.value - right.value)
        parts = ((right.value, colour(str(option.strategy["name"]))), (missed, NEUTRAL[1]))
        left = 0.0
        for i, (share, shade) in enumerate(parts):
            axes.barh(
                place, share, 0.62, left=left, color=shade, hatch="////" if i else None, edgecolor="white"
            )
            left += share
        axes.barh(place, max(0.0, 1 - left), 0.62, left=left, color="#eef0f3", edgecolor=NEUTRAL[1], lw=0.5)
        for estimate, shift in ((right, -0.12), (found, 0.12)):
            axes.plot([estimate.low, estimate.high], [place + shift] * 2, color=BASELINE, lw=1)
        rows.append([name(option), *interval(right), *interval(found)])
    axes.set_yticks(range(len(shown)), [shortened(name(option), LONGEST) for option in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    percent_ticks(axes)
    axes.set_xlabel("problems, %")
    columns = ["point", f"{evidence.rule}, %", "low", "high", "coverage, %", "low", "high"]
    caption = (
        f"Colour: solved ({evidence.rule}). Hatched: a solution is right, and selection took another answer: "
        "a better verifier or rule would help. Pale: no solution is right: only more or other search would "
        "help. Lines: 95 % intervals over problems, of the solved (lower) and of those with a right "
        "solution (upper)."
    )
    return Drawing(figure, caption, Numbers(columns, rows[::-1]))


def by_level(evidence: Evidence, price: float) -> Drawing:
    """Draws accuracy and coverage of the recommended option by the difficulty that the data set gives."""
    option = recommended(evidence)
    levels = _levels(option)
    labels, member = _ranges(levels)
    if len(labels) < 2:
        raise Absent("it needs problems whose data set gives them different difficulties")
    figure, (axes,) = canvas()
    rows: list[list[Value]] = []
    place = list(range(len(labels)))
    shade = colour(str(option.strategy["name"]))
    curves: list[tuple[str, Floats, str, str, object, float]] = [
        ("a right solution is found (coverage)", option.covered, NEUTRAL[0], "D", (0, (1.5, 1.5)), 0.08),
        (
            f"solved ({evidence.rule})",
            option.correct(evidence.rule),
            shade,
            marker(str(option.strategy["name"])),
            "-",
            0.0,
        ),
    ]
    sample = one_sample(evidence)
    if sample is not None and sample.right is not None:
        curves.append(("one sample", sample.right, BASELINE, "+", (0, (1, 3)), -0.08))
    for label, values, tone, shape, dash, shift in curves:
        estimates = [mean_over_problems(values[member == i]) for i in place]
        intervals(axes, [i + shift for i in place], estimates, tone, shape, dash, label)
        rows += [
            [label, labels[i], float((member == i).sum()), *interval(e)]
            for i, e in zip(place, estimates, strict=True)
        ]
    axes.set_xticks(place, labels)
    axes.set_xlabel("difficulty, as the data set gives it")
    percent_axis(axes, "problems")
    axes.set_ylim(-0.03, 1.03)
    legend_below(figure, axes, 1)
    caption = (
        f"{name(option)}. Bars: 95 % intervals over the problems of each difficulty. Where coverage is above "
        "the solved, selection loses; where both fall, the search finds nothing right."
    )
    return Drawing(figure, caption, Numbers(["curve", "difficulty", "problems", *INTERVAL], rows))


def scores(evidence: Evidence, price: float) -> Drawing:
    """Draws the share of right solutions by the verifier's score, of the recommended option."""
    option = recommended(evidence)
    if any(cell.results is None and "solutions" not in cell.__dict__ for cell in option.cells):
        raise Absent("it needs the solutions of the runs")
    problem = np.concatenate([cell.solutions.problem for cell in option.cells])
    score = np.concatenate([cell.solutions.score for cell in option.cells])
    right = np.concatenate([cell.solutions.correct for cell in option.cells])
    known = ~np.isnan(score)
    problem, score, right = problem[known], score[known], right[known]
    if len(score) < LEAST_SCORES:
        raise Absent(f"it needs {LEAST_SCORES} solutions that a verifier scored")
    edges = np.unique(np.quantile(score, np.linspace(0, 1, SCORE_RANGES + 1)))
    member = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, max(0, len(edges) - 2))
    figure, (axes,) = canvas()
    middles: list[float] = []
    estimates: list[Estimate] = []
    rows: list[list[Value]] = []
    problems = len(option.cells[0].problems)
    for number in np.unique(member):
        inside = member == number
        part = np.bincount(problem[inside], right[inside], problems)
        estimates.append(share_over_problems(part, np.bincount(problem[inside], minlength=problems)))
        middles.append(float(score[inside].mean()))
        ends = [float(score[inside].min()), float(score[inside].max())]
        rows.append([*ends, middles[-1], float(inside.sum()), *interval(estimates[-1])])
    shares = bool(score.min() >= 0 and score.max() <= 1)
    if shares:
        axes.plot(
            [0, 1], [0, 1], color=BASELINE, lw=0.8, ls=(0, (1, 3)), label="the score is the chance", zorder=4
        )
    intervals(axes, middles, estimates, NEUTRAL[0], "o", "-", "solutions of that score")
    axes.axhline(float(right.mean()), color=NEUTRAL[1], lw=0.9, ls="--", label="all solutions")
    axes.set_xlabel("the verifier's score of a solution, mean of a range")
    percent_axis(axes, "right solutions")
    axes.set_ylim(-0.03, 1.03)
    legend_below(figure, axes, 1)
    caption = (
        f"{name(option)}: the {len(score):,} scored solutions in ranges of about as many each. A steep line: "
        "the verifier tells right from wrong. A level one: its scores are worth nothing. "
        + ("On the dotted line a score is the chance to be right. " if shares else "")
        + "Bars: 95 % intervals over problems, whose solutions depend on each other. The solutions are "
        "those that the search kept."
    )
    columns = ["least score", "largest score", "mean score", "solutions", "right, %", "low", "high"]
    return Drawing(figure, caption, Numbers(columns, rows))


def _levels(option: Option) -> Floats:
    """The difficulty of each problem by its data set; NaN where it gives none."""
    cell = option.cells[0]
    if cell.results is None:
        raise Absent("it needs the problems' difficulties, which the runs' tables do not have")
    found = read_difficulty(cell.results)
    return found if cell.rows is None else found[cell.rows]


def _ranges(levels: Floats) -> tuple[list[str], np.ndarray]:
    """Returns the names of the values, or of ranges of them where there are many, and the number of each
    problem's; -1 where it has none."""
    known = ~np.isnan(levels)
    values = np.unique(levels[known])
    if len(values) <= MOST_LEVELS:
        ends = [(value, value) for value in values]
    else:
        cuts = np.unique(np.quantile(levels[known], np.linspace(0, 1, RANGES + 1)))
        inside = [
            levels[known & (levels >= low) & ((levels < high) | (high == cuts[-1]))]
            for low, high in pairwise(cuts)
        ]
        ends = [(float(each.min()), float(each.max())) for each in inside if len(each)]
    member = np.full(len(levels), -1)
    for i, (low, high) in enumerate(ends):
        member[(levels >= low) & (levels <= high)] = i
    return [f"{low:g}" if low == high else f"{low:g}–{high:g}" for low, high in ends], member
