"""s1's metrics on curves whose values are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.forcing import control, performance, scaling

budgets = st.lists(st.integers(1, 10_000), min_size=2, max_size=8, unique=True)


def test_control_is_the_share_inside_the_budget_its_ends_included():
    assert control([10, 20, 30, 31], 10, 30) == 0.75


@given(budgets, st.integers(-8, 8))
def test_the_scaling_of_a_straight_line_is_its_slope(tokens, slope):
    assert scaling({t: slope * t for t in tokens}) == pytest.approx(slope)


def test_scaling_is_the_mean_over_pairs_and_performance_the_highest():
    curve = {100: 0.2, 200: 0.6, 400: 0.5}  # slopes .004, .001, -.0005
    assert scaling(curve) == pytest.approx(0.0045 / 3)
    assert performance(curve) == 0.6


def test_no_runs_or_budgets_are_errors():
    for call in (lambda: control([], 0, 1), lambda: scaling({5: 0.5}), lambda: performance({})):
        with pytest.raises(ValueError, match="at least"):
            call()
