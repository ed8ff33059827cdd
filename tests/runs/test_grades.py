"""Searches whose answers are mathematics: equal ones vote together, and are shown as they are written."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import distinct_answers, summarise
from orchestrator.search.selection import RULES, Candidate, hierarchical, majority
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, EOS, ScriptedEngine, flops_budget, setting

WRITTEN = ["0.5", "1/2", "7", "7", "0.50", "1/2"]


async def test_equal_answers_win_together_and_are_shown_as_they_are_written():
    def write(request, text, rng):
        return WRITTEN[int(request.id.rpartition("/")[2]) % len(WRITTEN)] + EOS

    control = Controller(setting(ScriptedEngine(write)), grader("math"), Lease(10**9))
    problem = Problem("p", "0+1?", "3", also=("50\\%",))
    search = partial(find("best_of_n").search, n=len(WRITTEN))
    results = await control.run([problem], [CODEC.encode("0+1?")], search)
    (result,) = results
    assert sorted(solution.answer for solution in result.solutions) == sorted(WRITTEN)
    assert result.selected["majority"] == "1/2"
    assert result.correct["majority"]
    assert sum(solution.correct for solution in result.solutions) == 4
    assert distinct_answers(result.solutions) == 2
    made = summarise(
        "r", results, control.usage, budget=flops_budget(1), seconds=1, startup_seconds=1, utilisation={}
    )
    assert made.accuracy["majority"] == 1.0
    assert made.ungraded == {}


def candidates(unscored: bool) -> st.SearchStrategy[list[Candidate]]:
    spelled = st.sampled_from(
        [("0.5", "h"), ("1/2", "h"), ("2/4", "h"), ("7", "7"), ("07", "7"), (None, None)]
    )
    score = st.none() if unscored else st.floats(0, 1)
    one = st.builds(
        lambda s, score, chain: Candidate(s[0], score, str(chain), s[1]), spelled, score, st.integers(0, 2)
    )
    numbered = st.lists(one, max_size=9).map(
        lambda some: [
            Candidate(c.answer, c.score, c.chain, c.key, f"{c.chain}.{i}") for i, c in enumerate(some)
        ]
    )
    return st.one_of(st.lists(one, max_size=9), numbered)


@given(st.booleans().flatmap(candidates), st.randoms())
def test_what_is_selected_does_not_depend_on_the_order_of_the_candidates(some, rng):
    shuffled = rng.sample(some, len(some))
    for rule in (*RULES.values(), hierarchical):
        assert rule(some) == rule(shuffled)


def test_of_answers_that_tie_the_first_path_wins():
    assert majority([Candidate("b", None, path="10"), Candidate("a", None, path="2")]) == "a"
    assert majority([Candidate("b", None, path="1"), Candidate("a", None, path="2")]) == "b"


def test_of_the_ways_to_write_an_answer_the_most_frequent_is_shown_then_the_shortest():
    ways = [Candidate(answer, None, key="h") for answer in ("1/2", "0.5", "0.50", "0.50")]
    assert majority(ways) == "0.50"
    assert majority(ways[:3]) == "0.5"
