"""The exact verifier of the public model's sums."""

from __future__ import annotations

import pytest

from orchestrator.extensions.user_file import load_attribute
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("steps", "scores"),
    [
        (["3 + 7 = 10", "10 + 1 = 11"], [0.5, 0.98]),
        (["3 + 7 = 10", "", "10 + 1 = 11"], [0.5, 0.5, 0.98]),
        (["3 + 7 = 9", "9 + 1 = 10"], [0.02, 0.02]),
        (["3 + 7 = 11", "10 + 1 = 11"], [0.02, 0.02]),
        (["3 + 1 = 4"], [0.02]),
        (["3 + 7 = 10", "10 + 1 = 11", "11 + 1 = 12"], [0.5, 0.98, 0.02]),
    ],
)
def test_a_line_is_right_if_it_adds_the_next_number(steps: list[str], scores: list[float]):
    true = load_attribute("verifier.model", f"{ROOT / 'configs' / 'sums_truth.py'}:true")
    assert true("What is 3 + 7 + 1?", steps) == scores
