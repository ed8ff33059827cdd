"""Generative selection: what is asked, what a reply decides, what it costs, and that it happens once."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import RequestFailed, SampleRequest, SampleResult
from orchestrator.budget.ledger import Lease
from orchestrator.commands.display import summary_table
from orchestrator.config.selection import PreparedSelection
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.choosing import Chooser
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.metrics import metrics
from orchestrator.runs.results import Summary, summarise
from orchestrator.search.selection import rules
from orchestrator.strategies.registry import resolve
from tests.support.scripted import CODEC, EOS, GENERATOR, VERIFIER, ScriptedEngine, flops_budget, setting

TEMPLATE = "{problem}|{solutions}|{count}"
ROOM = 32
"""Tokens of a solution, and of a reply."""
LONGEST = GENERATOR.sample(5, ROOM) + VERIFIER.score(5, 5 + ROOM)
"""FLOPs that a solution reserves."""


def selection(**changes: Any) -> PreparedSelection:
    given: dict[str, Any] = {"share": 0.5, "group": 3, "candidates": 16, "writes": ROOM, "limit": None}
    return PreparedSelection(CODEC, GENERATOR, TEMPLATE, **given | changes)


class Picking(ScriptedEngine):
    """Its i-th solution is the i-th of ``answers``; of what it reads it picks the last of the alphabet, or it
    replies as it is told."""

    def __init__(self, answers: str, reply: str | None = None) -> None:
        super().__init__(self._write, jitter=random.Random(len(answers)))
        self._answers, self._reply = answers, reply
        self.questions: list[list[str]] = []

    def _write(self, request: SampleRequest, text: str, rng: random.Random) -> str:
        if "/select/" not in request.id:
            return self._answers[int(request.id.rpartition("/")[2]) % len(self._answers)] + EOS
        shown = re.findall(r"Solution \d+:\n(\w*)", text)
        self.questions.append(shown)
        best = f"hm\nChoice: {shown.index(max(shown)) + 1}"
        return f"{best if self._reply is None else self._reply}{EOS}"


async def chosen(
    engine: ScriptedEngine,
    *,
    n: int,
    budget: int = 10**9,
    journal: Journal | None = None,
    problems: int = 1,
    **changes: Any,
) -> tuple[list[SearchResult], Controller]:
    context = setting(engine, journal=journal)
    control = Controller(
        context,
        grader("exact"),
        Lease(budget),
        rules=rules(scored=True, chains=False),
        chooser=Chooser(selection(**changes), context),
    )
    asked = [Problem(f"p{i}", f"{i}+1?", "z") for i in range(problems)]
    search = resolve({"name": "best_of_n", "n": n})
    return await control.run(asked, [CODEC.encode(each.prompt) for each in asked], search), control


async def test_one_solution_of_each_answer_is_read_and_the_pick_is_the_answer():
    engine = Picking("aaazab")
    (result,), _ = await chosen(engine, n=6)
    (question,) = engine.questions
    assert sorted(question) == ["a", "b", "z"]
    assert result.selected["generative"] == "z" != result.selected["majority"] == "a"
    assert result.correct["generative"]
    assert result.usage.choices == 1


async def test_where_all_agree_nothing_is_asked_and_nothing_charged():
    engine = Picking("a")
    (result,), _ = await chosen(engine, n=6)
    assert (result.selected["generative"], engine.questions) == ("a", [])
    assert result.usage.selection_flops == result.usage.choices == 0


async def test_winners_of_groups_meet_again_until_one_is_left():
    engine = Picking("abcdefgz")
    (result,), _ = await chosen(engine, n=8)
    assert sorted(map(len, engine.questions)) == [2, 3, 3, 3], "3, 3 and 2; then their winners"
    assert result.selected["generative"] == "z"
    ids = [request.id for request in engine.samples if "/select/" in request.id]
    assert ids == ["p0/select/0.0", "p0/select/0.1", "p0/select/0.2", "p0/select/1.0"]


async def test_a_group_of_one_passes_without_a_question():
    engine = Picking("abcz")
    (result,), _ = await chosen(engine, n=4)
    assert sorted(map(len, engine.questions)) == [2, 3]
    assert result.selected["generative"] == "z"


async def test_only_the_most_frequent_answers_take_part():
    engine = Picking("aabbz")
    (result,), _ = await chosen(engine, n=5, candidates=2)
    assert [sorted(question) for question in engine.questions] == [["a", "b"]]
    assert result.selected["generative"] == "b"


@pytest.mark.parametrize(
    "reply",
    ["", "2", "Choice: 0", "Choice: 3", "Choice: 1 or 2", "Choice: 1\nor not", "Choice: 99999999", "x" * 99],
)
async def test_a_reply_that_names_none_is_counted_and_the_most_frequent_answer_stands(reply):
    (result,), _ = await chosen(Picking("aab", reply), n=3)
    assert result.selected["generative"] == "a"
    assert (result.usage.choices, result.usage.unread_choices) == (1, 1)
    assert result.usage.selection_flops > 0, "it was written all the same"


@pytest.mark.parametrize("reply", ["Choice: 2", "choice:2", "**Choice: 2**", "so\n\nChoice: (2).\n"])
async def test_a_choice_may_be_written_in_these_ways(reply):
    engine = Picking("aab", reply)
    (result,), _ = await chosen(engine, n=3)
    assert result.selected["generative"] == engine.questions[0][1]
    assert result.usage.unread_choices == 0


def test_a_reply_is_read_after_its_thinking_and_up_to_a_stop():
    found = selection()
    assert found.choice(tuple(map(ord, "Choice: 1</t>Choice: 2$")), 2) == 1
    assert found.shown("Choice: 1</t> it is 7 ") == "it is 7"


async def test_what_it_costs_is_the_whole_question_and_the_reply():
    engine = Picking("aab")
    (result,), control = await chosen(engine, n=3)
    (request,) = (each for each in engine.samples if "/select/" in each.id)
    written = len("hm\nChoice: 1") + 1
    cost = GENERATOR.prefill(len(request.prompt)) + GENERATOR.sample(len(request.prompt), written)
    assert result.usage.selection_flops == cost
    alone = ScriptedEngine(engine.write)
    (without,) = await Controller(setting(alone), grader("exact"), Lease(10**9)).run(
        [result.problem], [CODEC.encode(result.problem.prompt)], resolve({"name": "best_of_n", "n": 3})
    )
    assert result.usage.flops == without.usage.flops + cost
    assert result.usage.generator_flops == without.usage.generator_flops + cost
    assert control.budget.settled == result.usage.flops
    assert control.budget.reserved == 0


async def test_its_share_is_kept_from_the_search_and_what_the_search_leaves_pays_too():
    # The search alone would take all that there is: half of it is kept.
    (result,), control = await chosen(Picking("abz"), n=999, budget=4 * LONGEST)
    assert result.exhausted
    assert LONGEST < result.usage.flops - result.usage.selection_flops <= 2 * LONGEST
    assert (result.selected["generative"], result.usage.choices) == ("z", 1)
    assert control.budget.settled <= 4 * LONGEST
    # A share that pays for nothing, and a search that leaves much.
    (result,), _ = await chosen(Picking("abz"), n=3, budget=4 * LONGEST, share=1e-9)
    assert (result.selected["generative"], result.usage.choices) == ("z", 1)


async def test_what_cannot_be_paid_is_not_asked_and_is_counted():
    engine = Picking("aabz")
    (result,), control = await chosen(engine, n=999, budget=3 * LONGEST // 2, share=1e-9)
    assert result.exhausted
    assert engine.questions == []
    assert (result.selected["generative"], result.usage.unmade_choices) == ("a", 1)
    assert control.budget.settled <= 3 * LONGEST // 2


async def test_a_question_longer_than_the_context_is_not_asked_and_is_counted():
    engine = Picking("aab")
    (result,), _ = await chosen(engine, n=3, limit=50)
    assert (result.selected["generative"], result.usage.unmade_choices, engine.questions) == ("a", 1, [])


async def test_a_choice_that_fails_costs_the_group_its_choice_and_no_more():
    class Refusing(Picking):
        async def sample(self, request: SampleRequest) -> SampleResult:
            if "/select/" in request.id:
                raise RequestFailed("generator-0: no")
            return await super().sample(request)

    (result,), control = await chosen(Refusing("aab"), n=3)
    assert (result.selected["generative"], result.error, result.usage.unmade_choices) == ("a", None, 1)
    assert control.budget.reserved == 0


async def test_an_error_in_choosing_leaves_the_other_rules_their_answers():
    class Broken(Picking):
        async def sample(self, request: SampleRequest) -> SampleResult:
            if "/select/" in request.id:
                raise ZeroDivisionError("no such thing")
            return await super().sample(request)

    (result,), control = await chosen(Broken("aab"), n=3)
    assert (result.selected["majority"], result.selected["generative"], result.error) == ("a", None, None)
    assert result.usage.unmade_choices == 1
    assert control.budget.reserved == 0


async def test_each_problem_has_its_own_part_for_a_choice_while_shares_are_passed_on():
    (first, second), control = await chosen(Picking("ab"), n=999, budget=6 * LONGEST, problems=2, share=0.5)
    assert first.exhausted
    assert second.exhausted
    assert second.usage.choices == first.usage.choices == 1, "its own part was kept"
    assert control.budget.settled <= 6 * LONGEST


def told(results: Sequence[SearchResult]) -> list[Any]:
    return [(dict(r.selected), r.usage.flops, r.usage.selection_flops, r.usage.choices) for r in results]


async def test_a_run_that_goes_on_asks_nothing_twice_and_chooses_the_same(tmp_path):
    engines, found = [], []
    for _ in range(2):
        journal = Journal(tmp_path / "journal.sqlite")
        engines.append(Picking("abcdefgz"))
        results, control = await chosen(engines[-1], n=8, journal=journal, problems=3)
        journal.close()
        found.append((told(results), control.budget.settled))
    assert found[0] == found[1]
    assert engines[0].samples
    assert not engines[1].samples


async def test_the_order_in_which_things_end_changes_nothing():
    expected, _ = await chosen(Picking("abcdefgz"), n=8, problems=4)
    for seed in range(4):
        engine = Picking("abcdefgz")
        engine.jitter = random.Random(seed)
        results, _ = await chosen(engine, n=8, problems=4)
        assert told(results) == told(expected)


async def test_the_summary_has_its_accuracy_its_flops_and_its_counts():
    results, control = await chosen(Picking("aabz"), n=4, problems=2)
    summary: Summary = summarise(
        "r",
        results,
        control.usage,
        budget=flops_budget(10**9, 2),
        seconds=1,
        startup_seconds=0,
        utilisation={},
    )
    assert (summary.accuracy["generative"], summary.accuracy["majority"]) == (1.0, 0.0)
    assert set(summary.intervals) >= {"generative"}
    assert summary.flops.selection == sum(result.usage.selection_flops for result in results) > 0
    assert summary.choices == {"asked": 2, "unread": 0, "unmade": 0}
    assert Summary.from_dict(summary.to_dict()).choices == summary.choices
    logged = metrics(summary)
    assert (logged["choices/asked"], logged["flops/selection"]) == (2.0, float(summary.flops.selection))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({}, None),
        ({"asked": 3, "unread": 0, "unmade": 0}, "50 FLOPs of the generator's, 3 choices"),
        (
            {"asked": 3, "unread": 1, "unmade": 2},
            "50 FLOPs of the generator's, 3 choices, 1 of them unreadable, "
            "2 not made for want of budget or context (run.log)",
        ),
    ],
)
async def test_the_table_says_what_became_of_the_choices(choices, words):
    results, control = await chosen(Picking("a"), n=2)
    summary = summarise(
        "r",
        results,
        replace(control.usage, selection_flops=50),
        budget=flops_budget(10**9),
        seconds=1,
        startup_seconds=0,
        utilisation={},
    )
    table = summary_table(replace(summary, choices=choices))
    rows = dict(zip(*(column.cells for column in table.columns), strict=True))
    assert rows.get("  selection") == words
    assert "accuracy, generative" in rows


@settings(max_examples=25)
@given(
    budget=st.integers(1, 12 * LONGEST),
    share=st.floats(0.01, 0.99),
    answers=st.text("abcdz", min_size=1, max_size=8),
    group=st.integers(2, 4),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
async def test_no_budget_is_overdrawn_and_who_is_fastest_decides_nothing(
    budget, share, answers, group, seeds
):
    found = []
    for seed in seeds:
        engine = Picking(answers)
        engine.jitter = random.Random(seed)
        results, control = await chosen(
            engine, n=8, budget=budget, problems=2, share=share, group=group, candidates=6
        )
        assert control.budget.settled == sum(result.usage.flops for result in results) <= budget
        assert control.budget.reserved == 0
        for result in results:
            assert (result.selected["generative"] is None) == (result.selected["majority"] is None)
        found.append(told(results))
    assert found[0] == found[1]
