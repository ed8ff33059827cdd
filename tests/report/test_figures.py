"""The figures: each is drawn where its data is there, is named where it is not, and shows the numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.drawing import Absent
from orchestrator.report.figures import FIGURES, pictures
from orchestrator.report.front_figure import CURVES
from orchestrator.report.pareto import accelerators, cost, front, latency
from orchestrator.report.sampled import coverage
from orchestrator.report.series import log_ratio, series
from orchestrator.report.style import BASELINE, COLOURS, LARGER, MARKERS, NEUTRAL, styled, svg
from orchestrator.strategies.registry import REGISTRY
from tests.report.conftest import PROBLEMS


def test_every_figure_is_drawn_from_a_whole_sweep(drawn):
    assert [each.title for each in drawn.values()] == list(FIGURES.values())


def test_every_axis_is_named(drawn):
    for each in drawn.values():
        axes = each.drawing.figure.axes
        assert axes[-1].get_xlabel(), each.name
        named_rows = each.name in ("gains", "lost")  # their rows have names
        assert named_rows or all(a.get_ylabel() for a in axes[:1]), each.name
        assert each.drawing.caption


def test_accuracy_is_drawn_where_it_was_measured(evidence, drawn):
    (axes,) = drawn["accuracy"].drawing.figure.axes
    points = {(x, y) for line in axes.lines for x, y in zip(*line.get_data(), strict=True)}
    for option in evidence.main.named("dvts"):
        assert (option.cost().mean(), option.accuracy("weighted").value) in points
    assert axes.get_xscale() == "log"


def test_latency_is_the_searches_own_and_not_the_runs(evidence, drawn):
    (axes,) = drawn["latency"].drawing.figure.axes
    drawn_at = {x for line in axes.lines if line.get_linestyle() == "None" for x in line.get_xdata()}
    middle = 0.5 + (PROBLEMS - 1) / 2 / PROBLEMS  # the median of what a solution takes
    for option in evidence.main.options:
        n = option.strategy["n"]
        assert any(x == pytest.approx((1 + n / 3) * middle) for x in drawn_at)


def test_runs_whose_searches_were_not_timed_have_no_latency(evidence):
    def untimed(option):
        nothing = np.full(len(option.cells[0].problems), np.nan)
        return replace(option, cells=tuple(replace(cell, latency=nothing) for cell in option.cells))

    main = replace(evidence.main, options=[untimed(option) for option in evidence.main.options])
    with pytest.raises(Absent, match="timed"):
        latency(replace(evidence, groups=[main]), 2.0)


def test_runs_on_a_server_have_no_cost_that_is_known(evidence):
    def at_a_server(cell):
        generator = {**cell.config.get("generator", {}), "endpoint": {"url": "http://host/v1"}}
        return replace(cell, config={**cell.config, "generator": generator})

    first, *others = evidence.main.options
    served = replace(first, cells=tuple(map(at_a_server, first.cells)))
    with pytest.raises(Absent, match=r"generator\.endpoint holds"):
        cost(replace(evidence, groups=[replace(evidence.main, options=[served, *others])]), 2.0)


def test_what_costs_nothing_is_not_drawn_on_a_logarithmic_axis(evidence):
    with pytest.raises(Absent, match="no place for 0"):
        cost(evidence, 0.0)


def test_a_figure_without_its_data_is_left_out_by_name(evidence):
    main = replace(evidence.main, options=evidence.main.named("best_of_n"), bins=None)
    bare = replace(evidence, groups=[main], policy="there is no difficulty run", difficulty=None)
    found, absent = pictures(bare, 2.0)
    there = {"gains", "accuracy", "lost", "by_level", "scores", "coverage", "latency", "cost"}
    assert {each.name for each in found} == there
    assert len(absent) == len(FIGURES) - len(there)
    missing = [title for figure, title in FIGURES.items() if figure.__name__ not in there]
    assert all(any(title in why for why in absent) for title in missing)
    assert all(": it needs " in why or "there is no difficulty run" in why for why in absent)


def test_a_figure_is_the_same_file_each_time_and_asks_for_nothing(evidence):
    def drawing() -> str:
        with styled():
            return svg(coverage(evidence, 2.0).figure)

    first = drawing()
    assert first == drawing()
    links = re.findall(r'href="([^"]*)"', first)
    assert all(link.startswith("#") for link in links)


def test_every_strategy_has_a_colour_and_a_marker_of_its_own():
    assert set(REGISTRY) <= set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS) == len(set(MARKERS.values())) == len(MARKERS)


SEEN = {
    "by most": np.eye(3),
    "without red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "without blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear red, green and blue as who lacks one kind of cones sees them (Machado et al. 2009)."""


def perceived(colour: str, eye: str) -> np.ndarray:
    """A colour in OKLab (Ottosson 2020), where 0.02 is about the least difference that is seen."""
    shares = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[eye]) @ linear, 0, 1)
    cones = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ linear
    )
    return (
        np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        )
        @ cones
    )


@pytest.mark.parametrize(("eye", "least"), [("by most", 0.12), *((eye, 0.07) for eye in [*SEEN][1:])])
def test_the_colour_blind_tell_the_strategies_apart(eye, least):
    seen = {name: perceived(colour, eye) for name, colour in COLOURS.items()}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    assert min(apart.values()) > least, min(apart, key=apart.__getitem__)


def test_a_strategy_has_its_colour_in_every_figure():
    assert CURVES["best-of-N"] == COLOURS["best_of_n"]
    assert CURVES["beam search"] == COLOURS["beam_search"]
    others = {BASELINE, LARGER, *NEUTRAL}
    assert not others & set(COLOURS.values())


def test_revisions_are_one_curve_of_the_most_balanced_chains(evidence):
    curves = [curve for curve in series(evidence.main) if curve.strategy == "revisions"]
    assert [o.strategy["length"] for o in curves[0].options] == [4, 4]
    assert len(curves) == 1
    (wide,) = (o for o in evidence.main.named("revisions", length=1) if o.strategy["n"] == 16)
    assert log_ratio(wide) == -4


def test_variants_of_a_strategy_are_curves_apart(evidence):
    labels = [curve.label for curve in series(evidence.main)]
    assert labels[0] == "best of n"
    assert {"beam search width=4", "beam search width=sqrt"} <= set(labels)
    assert len(set(labels)) == len(labels)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_the_front_is_what_nothing_beats(points):
    x, y = (list(each) for each in zip(*points, strict=True))
    kept = front(x, y)
    for i in range(len(points)):
        beaten = any(
            x[j] <= x[i] and y[j] >= y[i] and (x[j], y[j]) != (x[i], y[i]) for j in range(len(points))
        )
        assert ((x[i], y[i]) in {(x[k], y[k]) for k in kept}) == (not beaten)
    assert all(np.diff([x[k] for k in kept]) > 0)


def test_cost_counts_what_the_replicas_of_a_runs_pools_hold(evidence):
    (option, *_) = evidence.main.named("best_of_n")
    cell = option.cells[0]
    assert accelerators(cell, "num_cpus") == 2, "a generator and a verifier"
    assert accelerators(cell, "num_gpus") == 0
    none = {**cell.config, "verifier": {**cell.config["verifier"], "model": None}}
    assert accelerators(replace(cell, config=none), "num_cpus") == 1
