"""Bins of difficulty: equal, repeatable, and predicted without a look at the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.difficulty import (
    agreement,
    estimate_flops,
    halves,
    mean_final_score,
    oracle_bins,
    pass_at_1,
    predicted_bins,
    thresholds,
    tied,
)
from tests.support.stored import difficulty


def test_pass_at_1_is_the_share_of_correct_samples():
    assert pass_at_1(difficulty([1.0, 0.0, 0.5], n=4000)) == pytest.approx([1.0, 0.0, 0.5], abs=0.04)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=5, max_size=60))
def test_oracle_bins_are_of_equal_size_and_ordered_by_pass_at_1(p):
    found = difficulty(p, n=8)
    bins, share = oracle_bins(found), pass_at_1(found)
    sizes = np.bincount(bins, minlength=6)[1:]
    assert sizes.sum() == len(p)
    assert sizes.max() - sizes.min() <= 1
    for number in range(1, 5):
        easier, harder = share[bins == number], share[bins == number + 1]
        assert easier.min(initial=1.0) >= harder.max(initial=0.0)
    assert oracle_bins(found).tolist() == bins.tolist()


def test_equals_are_told_apart_by_the_verifiers_score():
    found = difficulty([1.0] * 10)
    scores = found.solutions.score.reshape(10, -1).mean(axis=1)
    assert oracle_bins(found)[np.argsort(-scores)].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert tied(found, oracle_bins(found)) == 10
    assert tied(difficulty([1.0, 0.0]), np.array([1, 2])) == 0


def test_equals_in_score_too_are_told_apart_by_id_and_not_by_place():
    found = difficulty([1.0] * 10)
    found.solutions.score[:] = 0.5
    bins = dict(zip(found.problems, oracle_bins(found), strict=True))
    turned = replace(found, problems=found.problems[::-1])
    turned.__dict__["solutions"] = found.solutions
    assert dict(zip(turned.problems, oracle_bins(turned), strict=True)) == bins


def test_the_predicted_difficulty_is_the_mean_score_of_the_first_samples_alone():
    found = difficulty([0.5, 0.5], n=8)
    scores = found.solutions.score.reshape(2, 8)
    assert mean_final_score(found, 3) == pytest.approx(scores[:, :3].mean(axis=1))
    before = mean_final_score(found, 4)
    scores[:, 4:] = 0.0
    found.solutions.correct[:] = False
    assert mean_final_score(found, 4) == pytest.approx(before)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="problem p1 has 3 scored samples; 4"):
        mean_final_score(found, 4)


@given(st.lists(st.integers(0, 10**6).map(lambda n: n / 10**6), min_size=5, max_size=40, unique=True))
def test_thresholds_cut_what_they_were_learned_on_into_equal_bins(scores):
    cuts = thresholds(scores)
    assert list(cuts) == sorted(cuts, reverse=True)
    bins = predicted_bins(scores, cuts)
    sizes = np.bincount(bins, minlength=6)[1:]
    assert sizes.max() - sizes.min() <= 1 + (len(scores) % 5 > 0)
    assert bins[int(np.argmax(scores))] == 1
    assert bins[int(np.argmin(scores))] == 5


def test_the_estimate_costs_its_samples_and_the_prompt():
    found = difficulty([0.5], n=64, prompt=10, length=5)
    assert estimate_flops(found, 64) == pytest.approx([1000.0])
    assert estimate_flops(found, 4) == pytest.approx([1000.0 * (10 + 20) / (10 + 320)])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50), st.integers(0, 9))
def test_halves_are_alike_in_their_key(key, seed):
    half = halves(key, seed)
    order = np.argsort(key, kind="stable")
    # Any run of neighbours is split evenly, give or take its two ends.
    for start in range(0, len(key), 3):
        run = half[order][start:]
        assert abs(2 * run.sum() - len(run)) <= 2
    assert half.tolist() == halves(key, seed).tolist()


def test_agreement_rises_with_the_verifier_and_with_the_samples():
    p = np.random.default_rng(5).beta(0.5, 0.5, size=300)
    strong, weak = difficulty(p, sharpness=2.0), difficulty(p, sharpness=0.3)
    many, few = agreement(strong, 64), agreement(strong, 4)
    assert many.spearman > few.spearman > agreement(weak, 4).spearman
    assert many.within_one > few.within_one > agreement(weak, 4).within_one
    assert many.exact > 0.75
    assert np.sum(many.confusion) == 300
    assert np.sum(many.confusion, axis=1).tolist() == [60] * 5
    assert np.trace(many.confusion) / 300 == many.exact
    assert few.flops == pytest.approx(estimate_flops(strong, 4).mean())


def test_a_verifier_that_knows_nothing_agrees_by_chance():
    p = np.random.default_rng(5).uniform(size=1000)
    blind = agreement(difficulty(p, sharpness=0.0), 4)
    assert abs(blind.spearman) < 0.1
    assert blind.exact == pytest.approx(0.2, abs=0.05)
