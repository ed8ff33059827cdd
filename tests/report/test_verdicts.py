"""Verdicts: from the ends of an interval, and from the parts of a claim."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.analysis.estimators import Estimate, mean_difference
from orchestrator.report.verdicts import (
    SAME,
    SLACK,
    Part,
    above,
    at_least,
    either,
    near,
    no_more,
    together,
    untested,
)


def test_a_part_that_was_not_tested_decides_nothing_and_one_that_fails_decides_all():
    yes, no = Part("a", "holds"), Part("b", "does not hold")
    unsure, missing = Part("c", "not decided"), untested("d", "no runs")
    assert together([yes, yes]) == "holds"
    assert together([yes, missing]) == together([yes, unsure]) == "not decided"
    assert together([yes, missing, no]) == "does not hold"
    assert together([missing, missing]) == "not tested"
    assert either([no, missing, yes]) == "holds"
    assert either([no, unsure]) == either([no, missing]) == "not decided"
    assert either([no, no]) == "does not hold"


@pytest.mark.parametrize(
    ("test", "low", "high", "said"),
    [
        (above, 0.01, 0.2, "holds"),
        (above, -0.01, 0.2, "not decided"),
        (above, -0.2, -0.01, "does not hold"),
        (above, -0.2, 0.0, "not decided"),
        (at_least, -SLACK / 2, 0.2, "holds"),
        (at_least, -2 * SLACK, 0.2, "not decided"),
        (at_least, -SLACK / 2, -SLACK / 4, "holds"),
        (at_least, -3 * SLACK, -2 * SLACK, "does not hold"),
        (no_more, -0.2, SLACK / 2, "holds"),
        (no_more, -0.2, SLACK, "not decided"),
        (no_more, 0, 2 * SLACK, "not decided"),
        (no_more, 1.1 * SLACK, 0.2, "does not hold"),
        (near, -SAME / 2, SAME / 2, "holds"),
        (near, -SAME / 2, 2 * SAME, "not decided"),
        (near, 1.1 * SAME, 2 * SAME, "does not hold"),
    ],
)
def test_the_ends_of_the_interval_decide(test, low, high, said):
    part = test("what", Estimate((low + high) / 2, low, high))
    assert part.verdict == said
    assert "has to be" in str(part)


def test_problems_that_all_agree_leave_room_for_those_that_were_not_seen():
    few, many = mean_difference(np.zeros(20)), mean_difference(np.zeros(2000))
    assert few.high == -few.low > 3 / 20, "the rule of three"
    assert many.high < SLACK < few.high
