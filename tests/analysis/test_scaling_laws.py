"""Fits against synthetic data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.estimators import coverage_curve
from orchestrator.analysis.scaling_laws import accuracy_fit, coverage_fit, log_linear, power_law

FLOPS = 2.0 ** np.arange(20, 34)


def truth(alpha, beta, turn=np.inf):
    return alpha + beta * np.minimum(np.log2(FLOPS), turn)


@given(alpha=st.floats(-1, 1), beta=st.floats(0.005, 0.1))
def test_a_line_is_recovered_exactly_and_has_no_plateau(alpha, beta):
    fit = log_linear(FLOPS, truth(alpha, beta))
    assert fit.alpha.value == pytest.approx(alpha, abs=1e-9)
    assert fit.beta.value == pytest.approx(beta)
    assert fit.plateau is None
    assert fit(FLOPS) == pytest.approx(truth(alpha, beta))


@given(beta=st.floats(0.01, 0.1), turn=st.floats(22, 31))
def test_a_plateau_is_found_where_it_begins(beta, turn):
    fit = log_linear(FLOPS, truth(-0.5, beta, turn))
    assert fit.plateau is not None
    assert fit.plateau.log2_flops.value == pytest.approx(turn, abs=0.05)
    assert fit.plateau.accuracy.value == pytest.approx(-0.5 + beta * turn, abs=0.003)
    assert fit.beta.value == pytest.approx(beta, rel=0.05)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("turn", [np.inf, 28.0])
def test_standard_errors_are_as_large_as_the_scatter_of_repeated_fits(known, turn):
    rng = np.random.default_rng(0)
    fits = []
    for _ in range(200):
        noisy = truth(-0.5, 0.04, turn) + rng.normal(0, 0.01, len(FLOPS))
        fits.append(log_linear(FLOPS, noisy, np.full(len(FLOPS), 0.01) if known else None))
    right = [fit for fit in fits if (fit.plateau is None) == np.isinf(turn)]
    assert len(right) > 0.85 * len(fits)
    for name, expected in (("alpha", -0.5), ("beta", 0.04)):
        found = np.array([getattr(fit, name).value for fit in right])
        error = np.mean([getattr(fit, name).error for fit in right])
        assert found.mean() == pytest.approx(expected, abs=0.3 * error)
        assert error == pytest.approx(found.std(), rel=0.25)
    if np.isfinite(turn):
        turns = np.array([fit.plateau.log2_flops.value for fit in right])
        errors = np.mean([fit.plateau.log2_flops.error for fit in right])
        assert turns.mean() == pytest.approx(28.0, abs=0.1)
        assert errors == pytest.approx(turns.std(), rel=0.3)


def test_few_points_are_fitted_without_claims():
    fit = log_linear([2, 4], [0.1, 0.2])
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((0.0, 0.1))
    assert np.isnan(fit.beta.error)
    assert log_linear([2, 4, 8], [0.1, 0.2, 0.2]).plateau is None
    with pytest.raises(ValueError, match="two different FLOPs"):
        log_linear([4, 4], [0.1, 0.2])


def test_points_that_share_their_problems_have_errors_from_the_problems():
    # Whole problems move all points up and down together: that is error in α, hardly any in β.
    rng = np.random.default_rng(1)
    flops = np.broadcast_to((2.0 ** np.arange(4, 10))[:, None], (6, 150))
    alphas, betas, errors = [], [], []
    for seed in range(60):
        level = rng.normal(0, 0.2, 150)
        fit = accuracy_fit(flops, 0.05 * np.log2(flops) + level + rng.normal(0, 0.01, flops.shape), seed)
        alphas.append(fit.alpha.value)
        betas.append(fit.beta.value)
        errors.append((fit.alpha.error, fit.beta.error))
    assert np.mean(errors, axis=0) == pytest.approx((np.std(alphas), np.std(betas)), rel=0.25)
    assert np.mean(betas) == pytest.approx(0.05, abs=0.001)


def test_a_plateau_of_shared_problems_keeps_its_form_and_gets_errors():
    rng = np.random.default_rng(2)
    flops = np.broadcast_to(FLOPS[:, None], (len(FLOPS), 200))
    correct = truth(-0.5, 0.04, 27.0)[:, None] + rng.normal(0, 0.1, flops.shape)
    fit = accuracy_fit(flops, correct)
    assert fit.plateau is not None
    for found, expected in ((fit.plateau.log2_flops, 27.0), (fit.plateau.accuracy, 0.58)):
        assert found.error > 0
        assert abs(found.value - expected) < 4 * found.error


@given(a=st.floats(-3, -0.1), b=st.floats(-1, -0.05))
def test_a_coverage_law_is_recovered_exactly(a, b):
    k = 2.0 ** np.arange(8)
    law = power_law(k, np.exp(a * k**b))
    assert (law.a.value, law.b.value) == pytest.approx((a, b), rel=1e-3)
    assert law(k) == pytest.approx(np.exp(a * k**b), abs=1e-6)


def test_a_coverage_laws_errors_are_as_large_as_its_scatter_over_problem_sets():
    def correct(seed):
        rng = np.random.default_rng(seed)
        return rng.binomial(64, rng.beta(0.5, 2.0, size=200))

    laws = []
    for seed in range(100):
        ks, values = coverage_curve(64, correct(seed))
        laws.append(power_law(ks, values.mean(axis=0)))
    fits = [coverage_fit(64, correct(seed)) for seed in range(4)]
    for name in ("a", "b"):
        values = [getattr(law, name).value for law in laws]
        assert max(values) < 0
        assert np.mean([getattr(fit, name).error for fit in fits]) == pytest.approx(np.std(values), rel=0.3)


def test_a_resample_without_a_curve_is_no_evidence():
    # Of these three problems one alone is ever failed: a resample may well leave it out.
    law = coverage_fit(4, [4, 4, 1])
    assert law.a.error > 0


def test_a_coverage_law_of_two_points_is_exact_and_one_of_certainty_refused():
    law = power_law([1, 4], np.exp(-1.5 * np.array([1, 4]) ** -0.5))
    assert (law.a.value, law.b.value) == pytest.approx((-1.5, -0.5))
    assert np.isnan(law.a.error)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        power_law([1, 2, 4], [0.5, 1.0, 1.0])
