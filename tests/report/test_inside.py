"""The figures of a single run and of what is inside the searches: their numbers are those of the runs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.baseline import Baseline
from orchestrator.analysis.estimators import Estimate, mean_over_problems
from orchestrator.analysis.solutions import read_difficulty
from orchestrator.analysis.store import Experiment
from orchestrator.report.choice import best_of_each, recommended
from orchestrator.report.drawing import Absent
from orchestrator.report.evidence import gather
from orchestrator.report.figures import pictures
from orchestrator.report.gains import gains
from orchestrator.report.headline import headline
from orchestrator.report.inside import _ranges, scores
from orchestrator.report.page import page
from orchestrator.report.text import name
from tests.support.stored import cell

BESIDE = Baseline(16, Estimate(0.3, 0.2, 0.4), Estimate(0.4, 0.2, 0.6), 7000, 39.5, 350.0)


@pytest.fixture
def single():
    """The evidence of one run: half of 20 problems are right, and 15 have a right solution."""
    right, found = np.arange(20) < 10, np.arange(20) < 15
    run = cell(right, 790.0, strategy={"name": "beam_search", "n": 4})
    chosen = {"weighted": right, "majority": np.arange(20) < 6}
    return gather(Experiment("one", [replace(run, covered=found, correct=chosen, baseline=BESIDE)], []))


def test_the_first_figure_of_one_run_has_its_rules_its_coverage_and_no_search(single):
    numbers = gains(single, 2.0).numbers
    assert [(row[0], row[1], row[2]) for row in numbers.rows] == [
        ("search, coverage", 790.0, 75.0),
        ("search, weighted", 790.0, 50.0),
        ("search, majority", 790.0, 30.0),
        ("majority of 16", 350.0, 40.0),
        ("one sample", 39.5, 30.0),
    ]


def test_the_first_lines_of_one_run_say_what_it_buys_and_what_selection_loses(single):
    said = headline(single)
    assert said.use.startswith("beam_search n=4: 50.0 % [")
    one, majority, selection = said.reasons
    assert one.startswith("Over one sample (30.0 % [20, 40] for 39.5 FLOPs) it buys +20.0 points [")
    assert "for 20.0 times the FLOPs" in one
    assert "not paired by problem" in one
    assert "that is not decided" in majority
    assert selection.startswith("Of 25.0 % of the problems a solution was right, and selection took another")


def test_the_page_of_one_run_has_figures_and_hides_what_was_not_tested(single):
    found, absent = pictures(single, 2.0)
    assert {each.name for each in found} == {"gains", "accuracy", "lost"}
    html = page(single, [], absent)
    assert "15 claims were not tested" in html
    assert "<details><summary>15 claims" in html, "closed"


def test_the_first_figure_of_a_sweep_has_the_best_of_each_strategy(evidence, drawn):
    names = [row[0] for row in drawn["gains"].drawing.numbers.rows]
    best = [name(option) for option in best_of_each(evidence)]
    assert set(names) == {*best, name(recommended(evidence)), "one sample"}
    values = [row[2] for row in drawn["gains"].drawing.numbers.rows[:-1]]
    assert values == sorted(values, reverse=True)


def test_solved_and_found_are_those_of_the_runs(evidence, drawn):
    rows = {row[0]: row[1:] for row in drawn["lost"].drawing.numbers.rows}
    for option in best_of_each(evidence):
        solved, found = option.accuracy(evidence.rule), mean_over_problems(option.covered)
        ends = (solved.value, solved.low, solved.high, found.value, found.low, found.high)
        assert rows[name(option)] == pytest.approx([100 * share for share in ends])


def test_accuracy_by_difficulty_is_over_the_problems_of_each(evidence, drawn):
    option = recommended(evidence)
    levels = read_difficulty(option.cells[0].results)
    assert sorted({*levels}) == [0, 1, 2, 3]
    rows = [row for row in drawn["by_level"].drawing.numbers.rows if row[0].startswith("solved")]
    for row, level in zip(rows, (0, 1, 2, 3), strict=True):
        inside = levels == level
        assert row[1:3] == [f"{level}", inside.sum()]
        assert row[3] == pytest.approx(100 * option.correct(evidence.rule)[inside].mean())


def test_scores_are_counted_once_and_their_shares_are_those_of_the_solutions(evidence, drawn):
    rows = drawn["scores"].drawing.numbers.rows
    solutions = [each.solutions for each in recommended(evidence).cells]
    assert sum(row[3] for row in rows) == sum(len(each.score) for each in solutions)
    right = sum(each.correct.sum() for each in solutions)
    assert sum(row[3] * row[4] / 100 for row in rows) == pytest.approx(right)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(rows))


def test_scores_need_a_verifier_and_stored_solutions(single):
    with pytest.raises(Absent, match="solutions of the runs"):
        scores(single, 2.0)


@given(st.lists(st.one_of(st.none(), st.integers(0, 40)), min_size=1, max_size=60))
def test_each_problem_with_a_difficulty_is_in_one_range(given_levels):
    levels = np.array([np.nan if level is None else float(level) for level in given_levels])
    labels, member = _ranges(levels)
    assert ((member == -1) == np.isnan(levels)).all()
    assert {*member} - {-1} == set(range(len(labels)))
    for i, label in enumerate(labels):
        inside = levels[member == i]
        low, _, high = label.partition("–")
        assert (inside.min(), inside.max()) == (float(low), float(high or low))
