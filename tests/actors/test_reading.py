"""How outputs become scores."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.reading import Reading, bounded, reward_of


def test_a_probability_is_the_sigmoid_of_one_logit_or_the_softmax_of_two() -> None:
    read = Reading("probability")
    assert read([2.0]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert read([1.0, 3.0]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert read([2000.0, -2000.0]) == 0
    assert read([-2000.0, 2000.0]) == 1
    assert math.isnan(read([math.nan]))


def test_an_expected_value_is_the_mean_under_the_softmax() -> None:
    read = Reading("expected", (0.0, 0.5, 1.0))
    odds = [math.exp(x) for x in (0.3, -1.0, 2.0)]
    assert read([0.3, -1.0, 2.0]) == pytest.approx((0.5 * odds[1] + odds[2]) / sum(odds))
    assert read([1000.0, 0.0, -1000.0]) == 0
    assert read.outputs == (3,)
    assert math.isnan(read([0.0, math.nan, 0.0]))


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_larger_reward_is_a_larger_score_and_comes_back(a: float, b: float) -> None:
    if a < b and b - a > 1e-9 * (1 + abs(a)):
        assert bounded(a) < bounded(b)
    assert 0 < bounded(a) < 1
    assert reward_of(bounded(a)) == pytest.approx(a, abs=1e-9, rel=1e-9)


def test_large_rewards_do_not_tie_and_no_number_is_no_score() -> None:
    assert len({bounded(reward) for reward in range(-200, 200)}) == 400
    assert all(math.isnan(bounded(reward)) for reward in (math.nan, math.inf, -math.inf))
