"""A share with its interval is written in one form: on pages, in tables and in the terminal."""

from __future__ import annotations

import math

import pytest

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import MISSING, percent, with_interval
from orchestrator.runs.sweep_table import Share


@pytest.mark.parametrize(
    ("estimate", "how", "words"),
    [
        (Estimate(0.78, 0.7184, 0.8311), {}, "78.0 [72, 83]"),
        (Estimate(0.78, 0.7184, 0.8311), {"unit": " %"}, "78.0 % [72, 83]"),
        (Estimate(0.785, 0.7, 0.9), {"unit": " %", "digits": 0}, "78 % [70, 90]"),
        (Estimate(1.0, 0.91, 1.0), {}, "100.0 [91, 100]"),
        (Estimate(0.5, math.nan, math.nan), {"unit": " %"}, "50.0 %"),
        (Estimate(math.nan, 0.0, 1.0), {"unit": " %"}, MISSING),
    ],
)
def test_a_share_with_its_interval(estimate, how, words):
    assert percent(estimate, **how) == words


def test_a_sweeps_table_writes_it_in_the_same_way():
    assert str(Share.of([0.78], [(0.7184, 0.8311)])) == percent(Estimate(0.78, 0.7184, 0.8311))


def test_a_zero_has_no_minus():
    nearly = Estimate(-0.0004, -0.05, -0.0001)
    assert with_interval(nearly, ".0f", scale=100) == "0 [-5, 0]"
    assert with_interval(nearly, "+.1f", scale=100) == "+0.0 [-5.0, +0.0]"
    assert percent(nearly) == "0.0 [-5, 0]"
