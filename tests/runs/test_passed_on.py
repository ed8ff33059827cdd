"""What problems leave of their shares goes to those after them, and depends on nothing but the problems."""

from __future__ import annotations

import asyncio
import random
from contextlib import closing, suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import PoolFailed, RequestFailed
from orchestrator.allocation.adaptive import Adaptive
from orchestrator.budget.ledger import BudgetExhausted, Lease
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import digest
from orchestrator.strategies.registry import find
from tests.search.test_any_program import STEP, follow
from tests.support.scripted import CODEC, GENERATOR, VERIFIER, ScriptedEngine, letters, setting

SOLUTION = GENERATOR.sample(4, 32) + VERIFIER.score(4, 36)
"""The most FLOPs of a solution, beside its prompt."""
PROMPT = GENERATOR.prefill(4) + VERIFIER.prefill(4)
BEST = partial(find("best_of_n").search, n=50)


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", f"{i}+1?", "aaa\nbbb\nccc") for i in range(count)]


async def run(search, count=6, *, share=PROMPT + 2 * SOLUTION, engine=None, journal=None, **options):
    """Runs the search on ``count`` problems; returns the controller and the results."""
    context = setting(engine or ScriptedEngine(letters(3)), journal=journal)
    control = Controller(context, grader("exact"), Lease(share * count), **options)
    asked = problems(count)
    prompts = [CODEC.encode(problem.prompt) for problem in asked]
    results = await asyncio.wait_for(control.run(asked, prompts, search), 60)
    assert control.budget.settled == control.usage.flops <= control.budget.limit
    assert control.budget.reserved == 0
    return control, results


def easy_first(easy: int):
    """One solution for the first problems, as many as can be for the others."""

    async def search(ops):
        if int(ops.problem.id[1:]) < easy:
            return await ops.sample(ops.root, 1, until="end")
        return await BEST(ops)

    return search


async def test_a_problem_spends_more_where_those_before_it_were_easy():
    _, alone = await run(easy_first(1), pass_on=False)
    control, results = await run(easy_first(1))
    costs, before = ([result.usage.flops for result in each] for each in (results, alone))
    assert costs[0] == before[0]
    assert costs[1] > PROMPT + 2 * SOLUTION >= before[1]
    assert len(results[1].solutions) > len(alone[1].solutions)
    assert [result.exhausted for result in results] == [False] + [True] * 5
    beyond = sum(max(0, cost - (PROMPT + 2 * SOLUTION)) for cost in costs)
    assert control.moved.to_dict() == {"passed_on": beyond}
    assert beyond > 0


async def test_without_passing_on_nothing_is_passed_on_and_nothing_said_of_it():
    control, results = await run(easy_first(3), pass_on=False)
    assert control.moved is None
    assert max(result.usage.flops for result in results) <= PROMPT + 2 * SOLUTION


@pytest.mark.parametrize("at_once", [1, 2, 128])
@pytest.mark.parametrize("jitter", range(3))
async def test_the_same_whatever_the_timing_and_however_many_searches_at_once(at_once, jitter):
    _, expected = await run(easy_first(2), 12)
    engine = ScriptedEngine(letters(3), jitter=random.Random(jitter))
    _, again = await run(easy_first(2), 12, engine=engine, searches_at_once=at_once)
    assert digest(again) == digest(expected)
    assert [each.usage.flops for each in again] == [each.usage.flops for each in expected]


PROGRAMS = st.lists(
    st.lists(STEP.filter(lambda step: step[0] != "cancel"), max_size=4), min_size=1, max_size=4
)


@settings(max_examples=60)
@given(
    programs=PROGRAMS,
    share=st.integers(0, PROMPT + 3 * SOLUTION),
    at_once=st.integers(1, 4),
    jitter=st.integers(0, 9),
)
def test_whatever_the_strategies_do(programs, share, at_once, jitter):
    async def search(ops):
        await follow(programs[int(ops.problem.id[1:])], ops)
        return ops.finished

    async def both():
        _, expected = await run(search, len(programs), share=share)
        engine = ScriptedEngine(letters(3), jitter=random.Random(jitter))
        _, found = await run(search, len(programs), share=share, engine=engine, searches_at_once=at_once)
        assert digest(found) == digest(expected)
        assert [each.usage.flops for each in found] == [each.usage.flops for each in expected]

    asyncio.run(both())


async def test_a_run_that_was_killed_and_goes_on_passes_on_the_same(tmp_path):
    _, expected = await run(easy_first(3))

    class Dying(ScriptedEngine):
        async def sample(self, request):
            if len(self.samples) == 7:
                raise PoolFailed("no replica is left")
            return await super().sample(request)

    with closing(Journal(tmp_path / "journal.sqlite")) as journal, pytest.raises(PoolFailed):
        await run(easy_first(3), engine=Dying(letters(3)), journal=journal)
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        control, again = await run(easy_first(3), journal=journal)
    assert digest(again) == digest(expected)
    assert 0 < control.usage.replayed < control.usage.operations


async def test_what_a_search_that_broke_has_left_is_still_there_when_it_is_done_again(tmp_path):
    broken = []

    async def search(ops):
        found = await easy_first(1)(ops)
        if ops.problem.id == "p0" and broken:
            raise RequestFailed("generator-0 was lost too often")
        return found

    async def leg():
        with closing(Journal(tmp_path / "journal.sqlite")) as journal:
            done = await run(search, journal=journal)
            journal.flush()
            recorded = sum(flops for p in problems(6) for _, flops in journal.results(p.id).values())
        return *done, recorded

    _, expected = await run(search)
    broken.append(True)
    control, first, _ = await leg()
    assert first[0].error is not None
    assert first[1].usage.flops <= PROMPT + 2 * SOLUTION < expected[1].usage.flops
    broken.clear()
    control, again, recorded = await leg()
    assert digest(again) == digest(expected)
    assert recorded + 6 * PROMPT == control.usage.flops, "all that was ever computed is charged"


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), asyncio.CancelledError(), RequestFailed("generator-0: no")], ids=type
)
@pytest.mark.parametrize("bad", [3, 5])
async def test_nothing_waits_for_a_search_that_fails_or_is_cancelled_or_goes_on_after_a_refusal(bad, error):
    async def search(ops):
        number = int(ops.problem.id[1:])
        if number == 0:
            return []
        if number == bad:
            raise error
        if number == 2:
            await ops.sample(ops.root, 1, until="end", score=False)
            for _ in range(3):
                with suppress(BudgetExhausted):
                    await ops.sample(ops.root, 50, until="end")
            return ops.finished
        return await BEST(ops)

    for at_once in (1, 128):
        _, results = await run(search, searches_at_once=at_once)
        assert [result.error is not None for result in results] == [i == bad for i in range(6)]
        more = [result.usage.flops > PROMPT + 2 * SOLUTION for result in results]
        assert any(more[:bad])
        assert not any(more[bad:]), "what they get is not known before it is searched again"


async def test_an_interrupt_ends_the_searches_that_wait_for_their_turn():
    engine = ScriptedEngine(letters(3))

    async def search(ops):
        if ops.problem.id == "p0":
            await asyncio.Event().wait()
        return await BEST(ops)

    running = asyncio.create_task(run(search, engine=engine))
    seen = None
    while seen != len(engine.samples) or not seen:
        seen = len(engine.samples)
        for _ in range(50):
            await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)


@pytest.mark.parametrize("allocator", [None, Adaptive()], ids=["shares", "rounds"])
async def test_a_call_that_a_strategy_has_left_waiting_for_more_is_refused_and_costs_the_others_nothing(
    allocator,
):
    left = []

    async def search(ops):
        number = int(ops.problem.id[1:])
        if number in (1, 2):
            found = await ops.sample(ops.root, 1, until="end")
            left.append(asyncio.create_task(ops.sample(ops.root, 50, until="end")))
            await asyncio.sleep(0)
            return found
        return await BEST(ops)

    _, results = await run(search, allocator=allocator)
    ends = await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 10)
    assert [type(end) for end in ends] == [BudgetExhausted] * 2
    assert [result.error for result in results] == [None] * 6
    assert all(result.solutions for result in results)
