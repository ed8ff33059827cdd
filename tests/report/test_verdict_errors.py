"""How often a verdict is wrong on data whose truth is known: at most in 5 of 100 experiments.

Where every problem has one outcome the chance is computed and not simulated. Simulations have a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import binom

from orchestrator.analysis.cross_validation import Outcomes, Validated
from orchestrator.analysis.estimators import (
    Estimate,
    independent_difference,
    mean_difference,
    share_over_problems,
)
from orchestrator.analysis.savings import Saving, compare
from orchestrator.report.verdicts import SAME, SLACK, Part, above, at_least, near, no_more

PROBLEMS = (13, 32, 200, 1000)
RATES = (0.0, 0.05, 0.5, 0.95)
"""Accuracies of two strategies that are as good as each other; at 0 all problems are ties."""
ALLOWED = 0.05
TRIALS = 400


def simulated(wrong: float, trials: int = TRIALS) -> bool:
    """True where a simulated share of errors is in keeping with 5 %, to within three standard errors."""
    return wrong <= ALLOWED + 3 * np.sqrt(ALLOWED * (1 - ALLOWED) / trials)


@pytest.mark.parametrize("problems", PROBLEMS)
def test_an_interval_leaves_0_out_only_where_mcnemars_exact_test_does(problems):
    most = min(problems, 40)
    for better in range(most + 1):
        for worse in range(min(better, most - better) + 1):
            values = np.repeat([1.0, -1.0, 0.0], [better, worse, problems - better - worse])
            p = min(1.0, 2 * binom.cdf(worse, better + worse, 0.5)) if better + worse else 1.0
            assert p < 0.054 or mean_difference(values).low <= 0, (better, worse)


TESTS: list[tuple[Callable[[Estimate], Part], float]] = [
    (partial(above, "x"), 0.0),
    (partial(at_least, "x"), -SLACK),
    (partial(no_more, "x"), SLACK),
    (partial(near, "x"), SAME),
    (partial(near, "x"), -SAME),
]


@pytest.mark.parametrize("problems", PROBLEMS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("test", "bound"), TESTS, ids=["above", "at_least", "no_more", "near", "near_below"])
def test_on_its_bound_a_verdict_is_given_by_chance_in_at_most_5_of_100_experiments(
    test, bound, rate, problems
):
    """The chance over all outcomes of two strategies whose true difference is the bound itself, so that no
    verdict is due."""
    apart = rate * (1 - rate)  # how often the one is right where the other is wrong
    up, down = apart + max(bound, 0), apart + max(-bound, 0)
    given = 0.0
    for better, worse, chance in likely(problems, up, down):
        values = np.repeat([1.0, -1.0, 0.0], [better, worse, problems - better - worse])
        given += chance * (test(mean_difference(values)).verdict != "not decided")
    assert given <= ALLOWED


def likely(problems: int, up: float, down: float, least: float = 1e-6) -> list[tuple[int, int, float]]:
    """The numbers of problems that are better and worse, with their chance, where it is not negligible."""
    better, worse = np.meshgrid(np.arange(problems + 1), np.arange(problems + 1), indexing="ij")
    even = problems - better - worse
    possible = even >= 0
    log = gammaln(problems + 1.0) - gammaln(better + 1.0) - gammaln(worse + 1.0)
    log = np.where(possible, log - gammaln(np.maximum(even, 0) + 1.0), -np.inf)
    for count, share in ((better, up), (worse, down), (even, 1 - up - down)):
        with np.errstate(divide="ignore", invalid="ignore"):
            log = log + np.where(count > 0, count * np.log(share), 0.0)
    chance = np.where(possible, np.exp(log), 0.0)
    seen = np.argwhere(chance > least)
    return [(int(b), int(w), float(chance[b, w])) for b, w in seen]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("problems", PROBLEMS)
def test_means_over_three_seeds_of_strategies_that_are_equal_are_seldom_told_apart(problems, rate):
    rng = np.random.default_rng(problems)
    hard = (
        rng.beta(0.5 + rate, 1.5 - rate, (TRIALS, problems)) if 0 < rate < 1 else np.full((TRIALS, 1), rate)
    )
    chances = np.broadcast_to(hard, (TRIALS, problems))
    one, other = (rng.binomial(3, chances) / 3 for _ in range(2))
    given = [above("x", mean_difference(values)).verdict != "not decided" for values in one - other]
    assert simulated(np.mean(given))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("problems", PROBLEMS)
def test_a_gain_that_is_equal_on_easy_and_hard_problems_is_seldom_called_different(problems, rate):
    rng = np.random.default_rng(problems)
    gains = rng.binomial(1, rate, (2, TRIALS, 2, problems)).astype(float)
    gains = gains[:, :, 0] - gains[:, :, 1]
    given = [
        above("x", independent_difference(mean_difference(easy), mean_difference(hard))).verdict
        for easy, hard in zip(*gains, strict=True)
    ]
    assert simulated(np.mean([verdict != "not decided" for verdict in given]))


@pytest.mark.parametrize("share", [0.28, 0.48])
@pytest.mark.parametrize("problems", PROBLEMS)
def test_a_share_of_cases_at_its_margin_is_seldom_decided(problems, share):
    """Problems have up to three cases, which flip together half of the time."""
    rng = np.random.default_rng(problems)
    given = []
    for _ in range(TRIALS):
        cases = rng.integers(0, 4, problems)
        together = rng.random(problems) < 0.5
        flipped = np.where(together, cases * (rng.random(problems) < share), rng.binomial(cases, share))
        estimate = share_over_problems(flipped, cases)
        given.append(near("x", estimate, 0.38, 0.10, points=False).verdict != "not decided")
    assert simulated(np.mean(given))


@pytest.mark.parametrize("problems", [13, 32, 200])
def test_a_second_sample_of_best_of_n_itself_seldom_saves_half_of_its_flops(problems):
    """It rises, then is flat: on the flat part the FLOPs that reach an accuracy are chance."""
    rng = np.random.default_rng(problems)
    trials, shares = 80, np.array([0.5, 0.6, 0.66, 0.66])[:, None]
    flops = np.broadcast_to(4.0 ** np.arange(4)[:, None], (4, problems))
    option = np.zeros((1, 4, problems), dtype=np.int16)
    wrong, near_best = [], []
    for _ in range(trials):
        one, other = ((rng.random((4, problems)) < shares).astype(float) for _ in range(2))
        baseline = Outcomes([f"n={i}" for i in range(4)], flops[:, 0], other, flops, np.ones(4, dtype=bool))
        found = compare(Validated(flops[:, 0], one, flops, flops, option), baseline)
        wrong.append(np.mean([saves_half(saving) for saving in found.savings]))
        near_best.append(saves_half(found.near_best))
    assert simulated(np.mean(wrong), trials)
    assert simulated(np.mean(near_best), trials)


def saves_half(saving: Saving) -> bool:
    return above("x", saving.factor, 2.0, points=False).verdict == "holds"


@pytest.mark.parametrize(("problems", "effect"), [(200, 0.15), (1000, 0.08)])
def test_a_true_effect_is_found_in_most_experiments(problems, effect):
    rng = np.random.default_rng(0)
    one = rng.random((TRIALS, problems)) < 0.5 + effect
    other = rng.random((TRIALS, problems)) < 0.5
    found = [above("x", mean_difference(values)).verdict for values in one.astype(float) - other]
    assert np.mean([verdict == "holds" for verdict in found]) > 0.8
    assert "does not hold" not in found


def test_one_problem_of_a_thousand_decides_nothing():
    one_worse, three_better = np.zeros(1000), np.zeros(1000)
    one_worse[0], three_better[:3] = -1.0, 1.0
    assert above("x", mean_difference(one_worse)).verdict == "not decided"
    assert above("x", mean_difference(three_better)).verdict == "not decided"
    assert above("x", mean_difference([-1.0] + [0.0] * 12)).verdict == "not decided"
    assert above("x", Estimate(-0.1, -0.2, 0.0)).verdict == "not decided", "an end on its bound"
