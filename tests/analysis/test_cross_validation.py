"""Choosing by bin and budget; cross-validation that never sees its test half; savings against best-of-N."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.cross_validation import Outcomes, Validated, budget_levels, choose, cross_validate
from orchestrator.analysis.difficulty import halves
from orchestrator.analysis.savings import compare, flops_for, read_at, savings

PROBLEMS = 200
BINS = np.arange(PROBLEMS) * 5 // PROBLEMS + 1
ALL = np.ones(PROBLEMS, dtype=bool)


def outcomes(accuracy, flops, budgets=None, samples=False) -> Outcomes:
    accuracy = np.array([np.broadcast_to(row, PROBLEMS) for row in accuracy], dtype=float)
    spent = np.array([np.broadcast_to(row, PROBLEMS) for row in flops], dtype=float)
    given = spent.max(axis=1) if budgets is None else np.asarray(budgets, dtype=float)
    return Outcomes(
        [f"o{i}" for i in range(len(spent))], given, accuracy, spent, np.full(len(spent), samples)
    )


def by_bin(*shares):
    """An accuracy that is exactly ``shares`` in the five bins."""
    size = PROBLEMS // 5
    return np.concatenate([np.arange(size) < round(size * share) for share in shares]).astype(float)


def test_each_bin_and_budget_gets_its_most_accurate_option_and_of_equals_the_cheapest():
    found = outcomes(
        [by_bin(1, 0.5, 0.2, 0, 0), by_bin(1, 0.6, 0.5, 0, 0), by_bin(0.9, 0.9, 0.4, 0.1, 0)],
        [10, 40, 30],
        [10, 40, 40],
    )
    chosen = choose(found, BINS, ALL, np.array([10.0, 40.0]), 5, margin=0)
    assert chosen.tolist() == [[0] * 5, [0, 2, 1, 2, 0]]


def test_a_margin_takes_the_cheapest_that_is_as_good_as_can_be_told():
    rng = np.random.default_rng(0)
    base = rng.random(PROBLEMS) < 0.7
    noise = base.copy()
    noise[np.flatnonzero(~base)[:1]] = True  # one problem better: nothing
    better = base | (rng.random(PROBLEMS) < 0.6)  # far better
    found = outcomes([base, noise, better], [1, 2, 3], [1, 2, 3])
    levels, one_bin = np.array([1.0, 2.0, 3.0]), np.ones(PROBLEMS, dtype=int)
    assert choose(found, one_bin, ALL, levels, 1, margin=0)[:, 0].tolist() == [0, 1, 2]
    assert choose(found, one_bin, ALL, levels, 1, margin=1.0)[:, 0].tolist() == [0, 0, 2]


def test_budgets_a_hair_apart_are_one_level():
    assert budget_levels([100.0, 400.0, 100.4, 99.9, 1600.0]).tolist() == [100.4, 400.0, 1600.0]


def planted(seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    """An honest option, right on half of the problems whatever their half; and for each half a leak that
    is right on all of it and on nothing else."""
    half = halves(BINS, seed)
    honest = np.arange(PROBLEMS) // 2 % 2 == 0
    return outcomes([honest, half == 0, half == 1], [1, 1, 1]), half


def test_cross_validation_is_not_fooled_by_an_option_that_is_right_on_the_half_it_is_chosen_on():
    found, half = planted()
    levels = np.array([1.0])
    in_sample = choose(found, BINS, half == 0, levels, 5, 0.0)
    assert (in_sample == 1).all(), "the leak is chosen: it is perfect there"
    assert found.accuracy[1, half == 0].mean() == 1.0, "and measured there it would seem so"
    measured = cross_validate(found, [BINS, BINS], half, levels, np.zeros(PROBLEMS))
    assert measured.accuracy.mean() == 0.0, "on the other half it is worth nothing"


@given(st.integers(0, 20), st.sampled_from([0, 1]))
def test_what_a_half_is_measured_with_does_not_depend_on_its_own_outcomes(seed, side):
    rng = np.random.default_rng(seed)
    accuracy, half = rng.random((4, PROBLEMS)), halves(BINS, seed)
    flops = rng.uniform(1, 2, (4, PROBLEMS))
    levels = np.array([2.0])

    def options_of(accuracy):
        found = outcomes(accuracy, flops, [2] * 4)
        return cross_validate(found, [BINS, BINS], half, levels, np.zeros(PROBLEMS)).option[..., half == side]

    changed = accuracy.copy()
    changed[:, half == side] = rng.random((4, int((half == side).sum())))
    assert options_of(accuracy).tolist() == options_of(changed).tolist()


def test_each_half_is_measured_in_the_bins_that_are_known_without_it():
    found = outcomes([by_bin(1, 1, 1, 0, 0), by_bin(0, 0, 0, 1, 1)], [1, 1])
    half, levels = halves(BINS), np.array([1.0])
    upside_down = 6 - BINS
    # Bins are consistent between choice and measurement, whatever they are called.
    same = cross_validate(found, [BINS, upside_down], half, levels, np.zeros(PROBLEMS))
    assert same.accuracy.mean() == 1.0


def test_without_a_problem_in_a_bin_all_problems_choose():
    found = outcomes([np.zeros(PROBLEMS), np.ones(PROBLEMS)], [1, 1])
    chosen = choose(found, np.ones(PROBLEMS, dtype=int), ALL, np.array([1.0]), 5, 0.0)
    assert chosen.tolist() == [[1] * 5]


def accuracy_at(wanted, flops, accuracy):
    """The accuracy of a curve of one problem."""
    ((found,), reach) = read_at(wanted, flops[:, None], accuracy[:, None])
    return found, reach


def test_a_curve_is_read_both_ways_and_says_where_it_was_not_measured():
    flops, accuracy = np.array([1.0, 4.0, 16.0]), np.array([0.2, 0.4, 0.8])
    assert accuracy_at(2.0, flops, accuracy) == (pytest.approx(0.3), "measured")
    assert accuracy_at(8.0, flops, accuracy) == (pytest.approx(0.6), "measured")
    assert accuracy_at(64.0, flops, accuracy) == (pytest.approx(0.8), "beyond")
    assert accuracy_at(0.5, flops, accuracy) == (pytest.approx(0.2), "below")
    assert accuracy_at(0.0, np.array([0.0, 4.0]), np.array([0.0, 0.4])) == (0.0, "measured")
    assert flops_for(np.array([0.3, 0.6, 0.8, 0.1]), flops, accuracy) == pytest.approx([2.0, 8.0, 16.0, 1.0])
    assert flops_for(np.array([0.81]), flops, accuracy) == np.inf
    dented = np.array([0.2, 0.4, 0.3])
    assert accuracy_at(16.0, flops, dented)[0] == pytest.approx(0.3), "what it was, not what it might be"
    assert flops_for(np.array([0.4]), flops, dented) == pytest.approx([4.0])
    assert flops_for(np.array([0.2, 0.3]), np.array([5.0]), np.array([0.2])) == pytest.approx([5.0, np.inf])


@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=6), st.floats(0, 1))
def test_flops_for_is_the_least_that_reaches_the_accuracy(accuracy, wanted):
    y = np.maximum.accumulate(accuracy)
    flops = 4.0 ** np.arange(len(y))
    (needed,) = flops_for(np.array([wanted]), flops, y)
    if wanted > y.max() + 1e-9:
        assert needed == np.inf
    elif np.isfinite(needed):
        assert accuracy_at(needed, flops, y)[0] >= wanted - 1e-6
        if needed > flops[0] * 1.01:
            assert accuracy_at(needed * 0.99, flops, y)[0] < wanted + 1e-6


def test_a_policy_that_needs_a_quarter_saves_four_and_pays_for_its_estimate():
    baseline = outcomes([by_bin(*[0.4] * 5), by_bin(*[0.6] * 5), by_bin(*[0.8] * 5)], [40, 160, 640])
    same_at_a_quarter = outcomes(baseline.accuracy, [10, 40, 160])
    measured = cross_validate(
        same_at_a_quarter, [BINS, BINS], halves(BINS), np.array([10.0, 40.0, 160.0]), np.full(PROBLEMS, 40.0)
    )
    free, paid = compare(measured, baseline, charged=False), compare(measured, baseline)
    assert [s.factor.value for s in free.savings] == pytest.approx([4.0, 4.0, 4.0])
    assert [s.at_least for s in free.savings] == [True, False, False]
    assert [s.factor.value for s in paid.savings] == pytest.approx([40 / 50, 160 / 80, 640 / 200])
    assert [level.flops for level in paid.levels] == pytest.approx([50, 80, 200])
    assert free.levels[0].difference.value == pytest.approx(0.0), "as if best-of-N were flat below its first"
    assert free.levels[2].difference.value == pytest.approx(0.2)
    assert free.levels[1].baseline.value == pytest.approx(0.4)
    for saving in free.savings:
        assert saving.factor.low <= saving.factor.value <= saving.factor.high


def test_the_samples_of_an_estimate_are_the_first_of_best_of_n():
    baseline = outcomes([by_bin(*[0.4] * 5), by_bin(*[0.8] * 5)], [20, 640], samples=True)
    measured = cross_validate(
        baseline, [BINS, BINS], halves(BINS), np.array([20.0, 640.0]), np.full(PROBLEMS, 40.0)
    )
    assert [level.flops for level in compare(measured, baseline).levels] == pytest.approx([40, 640])


@pytest.mark.parametrize(
    ("shares", "rising"),
    [
        ((0.4, 0.6, 0.8), ["o0", "o1", "o2"]),
        ((0.5, 0.6, 0.7, 0.7), ["o0", "o1", "o2"]),
        ((0.5, 0.6, 0.7, 0.65), ["o0", "o1", "o2"]),
        ((0.5, 0.5), ["o0"]),
        ((0.0, 0.5), ["o1"]),
        ((0.0, 0.0), []),
    ],
)
def test_best_of_n_saves_nothing_against_itself_also_where_it_is_flat_or_falls(shares, rising):
    baseline = outcomes([by_bin(*[share] * 5) for share in shares], 4.0 ** np.arange(len(shares)))
    found = savings(baseline.flops, baseline.accuracy, baseline)
    assert [saving.baseline for saving in found] == rising, "a point that is no better is not shown"
    for saving in found:
        assert (saving.factor.value, saving.factor.low, saving.factor.high) == pytest.approx((1, 1, 1))


def test_a_policy_that_is_worse_or_better_is_called_so_and_one_within_the_noise_is_not():
    baseline = outcomes([by_bin(*[0.4] * 5), by_bin(*[0.6] * 5)], [1, 4])

    def level(share, flops=2.0):
        policy = outcomes([by_bin(*[share] * 5)], [flops])
        measured = cross_validate(policy, [BINS, BINS], halves(BINS), np.array([flops]), np.zeros(PROBLEMS))
        return compare(measured, baseline).levels[0]

    assert [level(share).verdict for share in (0.2, 0.5, 0.9)] == ["worse", "not decided", "better"]
    assert [level(0.5, flops).reach for flops in (0.5, 2.0, 8.0)] == ["below", "measured", "beyond"]


def test_an_average_over_splits_hangs_on_none_of_them():
    rng = np.random.default_rng(0)
    found = outcomes(rng.random((6, PROBLEMS)) < 0.6, [1, 2, 3, 4, 5, 6])

    def measured(first, count):
        splits = [
            cross_validate(
                found, [BINS, BINS], halves(BINS, seed), np.array([6.0]), np.zeros(PROBLEMS), margin=1.0
            )
            for seed in range(first, first + count)
        ]
        return Validated.mean(splits)

    one = [measured(seed, 1).accuracy.mean() for seed in range(20)]
    many = [measured(20 * start, 20).accuracy.mean() for start in range(5)]
    assert np.std(many) < np.std(one) / 2
    assert measured(0, 20).option.shape == (20, 1, PROBLEMS)


def test_a_policy_that_never_gets_there_saves_nothing():
    baseline = outcomes([by_bin(*[0.9] * 5)], [40])
    weak = cross_validate(
        outcomes([by_bin(*[0.5] * 5)], [1]), [BINS, BINS], halves(BINS), np.array([1.0]), np.zeros(PROBLEMS)
    )
    (saving,) = compare(weak, baseline).savings
    assert (saving.flops, saving.factor.value, saving.at_least) == (None, 0.0, False)
