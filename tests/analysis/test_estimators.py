"""Intervals that hold what they promise; pass@k against its definition."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.estimators import (
    coverage_curve,
    mean_difference,
    mean_over_problems,
    pass_at_k,
    powers_of_two,
    resampled_means,
    wilson,
)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations(range(n), k))
    share = sum(any(i < c for i in subset) for subset in subsets) / len(subsets)
    assert math.isclose(pass_at_k(n, c, k), share)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_what_is_not_defined(n, c, k):
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, c, k)


@given(st.integers(1, 40), st.data())
def test_a_coverage_curve_is_pass_at_k_of_each_problem_at_powers_of_two(n, data):
    counts = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=6))
    ks, values = coverage_curve(n, counts)
    assert ks == [k for k in (1, 2, 4, 8, 16, 32) if k <= n]
    assert values.tolist() == [[pass_at_k(n, c, k) for k in ks] for c in counts]


def test_powers_of_two():
    assert [powers_of_two(n) for n in (0, 1, 2, 3, 4)] == [[], [1], [1, 2], [1, 2], [1, 2, 4]]


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_solves_its_equation(n, data):
    c = data.draw(st.integers(0, n))
    estimate = wilson(c, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high, "there is no certainty from a sample"
    for end in (estimate.low, estimate.high):
        # The ends are where the observed share is 1.96 standard errors of the *true* share away.
        if 0 < end < 1:
            assert abs(estimate.value - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n))


@pytest.mark.parametrize(("c", "n"), [(-1, 4), (5, 4), (0, 0)])
def test_a_proportion_of_nothing_is_refused(c, n):
    with pytest.raises(ValueError, match="a proportion needs"):
        wilson(c, n)


def test_an_interval_of_means_over_seeds_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        estimate = mean_over_problems(rng.beta(0.5, 0.5, size=100))
        covered += estimate.low <= 0.5 <= estimate.high
    assert 180 <= covered <= 199  # 95 % of 200 is 190, give or take 3 standard deviations


def test_pass_at_k_takes_no_longer_for_many_samples_and_is_as_exact():
    n, counts = 100_000, [0, 1, 50_000, 99_999, 100_000] * 20_000
    ks, values = coverage_curve(n, counts)
    assert ks[-1] == 65_536
    assert values.shape == (len(counts), 17)
    for c, found in zip(counts[:5], values[:5], strict=True):
        exact = [1 - math.comb(n - c, k) / math.comb(n, k) for k in ks[:8]]
        assert found[:8] == pytest.approx(exact, abs=1e-9)
    assert values[0].tolist() == [0.0] * 17
    assert values[4].tolist() == [1.0] * 17


def test_resamples_repeat_themselves_from_a_seed_and_are_paired():
    values = np.sqrt(np.arange(20.0))[None] / 5
    found = resampled_means(values)
    assert found.tolist() == resampled_means(values).tolist()
    assert found.tolist() != resampled_means(values, seed=1).tolist()
    both = resampled_means(np.vstack([values, 1 - values]))
    assert both.sum(axis=1) == pytest.approx(1.0)
    assert found[0, 0] == pytest.approx(values.mean())
    assert found[1:].std() == pytest.approx(values.std() / np.sqrt(20), rel=0.1)


def test_what_is_not_known_is_left_out_of_every_resample():
    row = np.array([1.0, np.nan, 1.0, np.nan, 1.0, 0.0, 0.0])
    found = resampled_means(row[None])
    assert found[0, 0] == pytest.approx(0.6)
    assert np.nanmean(found) == pytest.approx(0.6, abs=0.02)
    assert mean_over_problems(row) == wilson(3, 5)
    assert mean_difference(row) == mean_difference(row[~np.isnan(row)])


def test_many_problems_are_resampled_in_random_groups_with_the_same_spread():
    values = np.sort(np.random.default_rng(0).random(20_000))[None]  # neighbours are alike
    found = resampled_means(values)
    assert found[0, 0] == pytest.approx(values.mean())
    assert found[1:].std() == pytest.approx(values.std() / np.sqrt(20_000), rel=0.1)
