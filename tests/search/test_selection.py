"""Majority, best, weighted, against their definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.selection import (
    AGGREGATIONS,
    Candidate,
    best,
    hierarchical,
    majority,
    rules,
    weighted,
)

candidates = st.lists(
    st.builds(Candidate, st.sampled_from(["a", "b", "c", None]), st.floats(0, 1, width=16)), max_size=12
)


@given(candidates)
def test_majority_is_an_answer_that_no_other_outnumbers(candidates):
    votes = [c.answer for c in candidates if c.answer is not None]
    chosen = majority(candidates)
    assert (chosen is None) == (not votes)
    assert all(votes.count(chosen) >= votes.count(other) for other in votes)


@given(candidates)
def test_best_answers_as_the_highest_score_does(candidates):
    scored = [c for c in candidates if c.answer is not None]
    chosen = best(candidates)
    assert (chosen is None) == (not scored)
    assert not scored or any(c.answer == chosen and c.score == max(s.score for s in scored) for c in scored)


@given(candidates)
def test_weighted_maximises_the_sum_of_scores(candidates):
    def total(answer):
        return sum(c.score for c in candidates if c.answer == answer)

    chosen = weighted(candidates)
    assert all(total(chosen) >= total(c.answer) for c in candidates if c.answer is not None)


@given(st.lists(st.sampled_from(["a", "b"]), max_size=9))
def test_equal_scores_make_weighted_the_majority(answers):
    voters = [Candidate(answer, 0.5) for answer in answers]
    assert weighted(voters) == majority(voters)


def test_the_rules_differ_where_they_should():
    voters = (
        [Candidate("a", 0.2)] * 3 + [Candidate("b", 0.5)] * 2 + [Candidate("c", 0.9), Candidate(None, 1.0)]
    )
    assert (majority(voters), weighted(voters), best(voters)) == ("a", "b", "c")


def test_hierarchical_lets_each_chain_speak_once():
    # One chain repeats a wrong answer; two others agree on another.
    long_chain = [Candidate("wrong", 0.5, "0")] * 6
    others = [Candidate("right", 0.6, "1"), Candidate("x", 0.1, "1"), Candidate("right", 0.4, "2")]
    assert weighted([*long_chain, *others]) == "wrong"
    assert hierarchical([*long_chain, *others]) == "right"
    assert hierarchical([]) is None
    assert hierarchical([Candidate(None, 0.9, "0"), Candidate("a", 0.1, "1")]) == "a"


@given(candidates)
def test_hierarchical_over_chains_of_one_is_weighted(candidates):
    alone = [Candidate(c.answer, c.score, str(i)) for i, c in enumerate(candidates)]
    assert hierarchical(alone) == weighted(candidates)


def test_without_scores_only_majority_answers():
    voters = [Candidate("a", None), Candidate("a", None), Candidate("b", None)]
    assert (majority(voters), weighted(voters), best(voters)) == ("a", None, None)


def test_aggregations():
    scores = (0.5, 0.25, 0.5)
    assert {name: rule(scores) for name, rule in AGGREGATIONS.items()} == {
        "last": 0.5,
        "min": 0.25,
        "prod": 0.0625,
    }


def test_only_rules_that_apply_are_asked():
    assert list(rules(scored=False, chains=True)) == ["majority"]
    assert list(rules(scored=True, chains=False)) == ["majority", "best", "weighted"]
    assert list(rules(scored=True, chains=True)) == ["majority", "best", "weighted", "hierarchical"]
