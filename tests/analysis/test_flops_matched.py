"""FLOPs-matched comparisons whose outcome is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analysis.cross_validation import Outcomes, cross_validate
from orchestrator.analysis.flops_matched import (
    RATIOS,
    Answer,
    Curve,
    flops_matched,
    matched_budget,
)
from orchestrator.analysis.options import options
from tests.support.stored import cell, difficulty

BINS = np.arange(100) // 20 + 1


def share(*shares):
    return np.concatenate([np.arange(20) < round(20 * each) for each in shares]).astype(float)


@pytest.mark.parametrize(
    ("size", "ratio", "expected"), [(1, 0.16, 1), (14, 0.16, 257.75), (14, 0.79, 63.37), (14, 22, 15.77)]
)
def test_with_answers_of_one_length_the_budget_is_the_papers(size, ratio, expected):
    assert matched_budget(1.0, size, size, ratio) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("longer", [1.0, 1.5])
def test_both_totals_are_equal_whatever_the_length_of_the_larger_models_answer(longer):
    size, parameters, trained, answered = 14.0, 7.0, 1000.0, 160.0
    answer, larger_answer = 2 * parameters * answered, size * 2 * parameters * longer * answered
    larger = size * 6 * parameters * trained + larger_answer
    small = 6 * parameters * trained + matched_budget(answer, larger_answer, size, answered / trained)
    assert small == pytest.approx(larger)


@pytest.mark.parametrize(("size", "ratio"), [(0.5, 1), (2, 0), (2, -1)])
def test_a_budget_of_nothing_is_refused(size, ratio):
    with pytest.raises(ValueError, match="M >= 1 and R > 0"):
        matched_budget(1.0, 1.0, size, ratio)


def test_an_answer_is_the_first_sample_and_the_prompt_without_the_verifier():
    found = difficulty([0.5], n=4, prompt=10, length=5)  # 1000 FLOPs, half of them the generator's
    assert Answer.of({4: found}).flops == pytest.approx(500 * (10 + 5) / (10 + 20))
    assert Answer.of({4: found}).tokens == pytest.approx(10 + 5)


def test_with_runs_of_several_n_an_answer_is_one_prompt_and_one_sample_as_they_were_charged():
    def charged(n, each=7.0):
        costs = {
            "generator_flops": np.array([3 * 10 + each * 5 * n]),
            "generator_tokens": np.array([10 + 5 * n]),
        }
        run = cell([1], 100)
        return replace(run, costs=run.costs | costs)

    small = Answer.of({n: charged(n) for n in (4, 16, 64)})
    assert (small.flops, small.tokens) == pytest.approx((3 * 10 + 7 * 5, 15))
    larger = Answer.of({1: charged(1, each=7 * 14 + 26 * 3)})
    assert larger.per_token / small.per_token == pytest.approx((30 + 5 * (7 * 14 + 26 * 3)) / (30 + 35))


def test_search_wins_where_it_is_better_at_the_matched_budget():
    # At 16 answers' worth it solves the easy bins, and at 256 the hard ones too; the larger model is even.
    curve = Curve(
        np.array([share(1, 1, 0.2, 0, 0), share(1, 1, 1, 1, 0.2)]),
        np.array([np.full(100, 16.0), np.full(100, 256.0)]),
    )
    answer = np.ones(100)
    found = flops_matched(curve, share(*[0.5] * 5), BINS, answer=answer, larger_answer=14 * answer, size=14)
    assert [(m.ratio, m.bin, len(m.leads)) for m in found] == [
        (ratio, b, 20 if b else 100) for ratio in RATIOS for b in range(6)
    ]
    by = {(m.ratio, m.bin): m for m in found}
    assert by[22.0, 1].difference.value == pytest.approx(0.5)
    assert by[22.0, 4].difference.value == pytest.approx(-0.5)
    assert by[0.16, 4].difference.value == pytest.approx(0.5)
    assert by[0.16, 5].difference.value == pytest.approx(-0.3)
    assert by[0.79, 3].search.value == pytest.approx(0.2 + 0.8 * np.log(63.37 / 16) / np.log(16), abs=0.01)
    assert {(m.ratio, m.reach) for m in found} == {(22.0, "below"), (0.79, "measured"), (0.16, "beyond")}
    for match in found:
        assert match.larger.value == 0.5
        assert match.difference.low <= match.difference.value <= match.difference.high
    assert by[0.79, 0].search.value == pytest.approx(np.mean([by[0.79, b].search.value for b in range(1, 6)]))


def test_each_bin_is_matched_with_the_answers_to_its_own_problems():
    curve = Curve(np.full((2, 100), 0.5), np.array([np.full(100, 1.0), np.full(100, 1e4)]))
    answer = np.where(BINS == 5, 2.0, 1.0)  # hard problems have longer answers
    found = flops_matched(curve, share(*[0.5] * 5), BINS, answer=answer, larger_answer=7 * answer, size=4)
    for match in found:
        length = {0: 1.2, 5: 2.0}.get(match.bin, 1.0)
        assert match.budget == pytest.approx(length * (7 + 3 / match.ratio * 3))


def test_a_curve_counts_the_verifier_or_not():
    found = options([cell([1, 0], 100), cell([1, 1], 400, strategy={"name": "best_of_n", "n": 16})])
    assert Curve.of(found, "weighted").flops.tolist() == [[100, 100], [400, 400]]
    assert Curve.of(found, "weighted", verifier=False).flops.tolist() == [[50, 50], [200, 200]]


def test_a_policys_curve_charges_the_estimate_with_the_verifier_and_without():
    beam = {"name": "beam_search", "n": 4}
    found = options([cell([1, 0], 100), cell([0, 1], 100, strategy=beam)])
    half, bins = np.array([0, 1]), np.ones(2, dtype=int)
    estimate = np.full(2, 30.0)
    outcomes = Outcomes.of(found, "weighted")
    # Each problem is answered by what was best on the other one: best-of-N on the second.
    policy = cross_validate(outcomes, [bins, bins], half, np.array([1000.0]), estimate, count=1)
    assert [[found[o].strategy["name"] for o in row] for row in policy.option[0]] == [
        ["beam_search", "best_of_n"]
    ]
    assert Curve.of_policy(policy, found).flops.tolist() == [[130.0, 100.0]]
    without = Curve.of_policy(policy, found, estimate / 2)
    assert without.flops.tolist() == [[65.0, 50.0]]
    assert without.accuracy.tolist() == policy.accuracy.tolist() == [[0.0, 0.0]]
