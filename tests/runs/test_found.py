"""A strategy may be anyone's code: what it does wrong ends its own search alone, and loses nothing paid."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from actors.messages import PoolFailed, RequestFailed
from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.search.operations import Operations
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting

PROBLEMS = [Problem(f"p{i}", f"{i}+1?", "aaa\nbbb\nccc") for i in range(3)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]


async def searched(
    search, *, budget: int = 10**9, engine: ScriptedEngine | None = None
) -> list[SearchResult]:
    """The results of a strategy of a user's own on three problems."""
    control = Controller(setting(engine or ScriptedEngine(letters(3))), grader("exact"), Lease(budget))
    results = await control.run(PROBLEMS, PROMPTS, search)
    assert control.budget.reserved == 0
    assert control.budget.settled == control.usage.flops
    return results


def paths(result: SearchResult) -> list[str]:
    return [solution.path for solution in result.solutions]


def on_p1(harm: Callable[[Operations], object]):
    """A strategy that samples two solutions, does harm on problem p1, and samples two more."""

    async def own(ops: Operations):
        await ops.sample(ops.root, 2, until="end")
        if ops.problem.id == "p1":
            done = harm(ops)
            if asyncio.iscoroutine(done):
                await done
        return [*ops.finished, *await ops.sample(ops.root, 2, until="end")]

    return own


class OfNoKind(BaseException):
    pass


def raises(error: BaseException) -> Callable[[Operations], object]:
    def harm(ops: Operations) -> None:
        raise error

    return harm


async def in_a_task(ops: Operations) -> None:
    async def helper() -> None:
        sys.exit(3)

    await asyncio.gather(helper(), asyncio.sleep(0))


async def in_a_draft(ops: Operations) -> None:
    async def author(draft) -> None:
        sys.exit(3)

    await ops.write(1, author)


async def cancels_itself(ops: Operations) -> None:
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def awaits_what_it_cancels(ops: Operations) -> None:
    task = asyncio.create_task(asyncio.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await task


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (raises(ValueError("boom")), "ValueError: boom"),
        (raises(SystemExit(0)), "SystemExit: 0"),
        (raises(asyncio.CancelledError()), "CancelledError"),
        (raises(OfNoKind("odd")), "OfNoKind: odd"),
        (raises(sqlite3.OperationalError("no such table: mine")), "OperationalError: no such table: mine"),
        (raises(RequestFailed("generator-0: no")), "RequestFailed: generator-0: no"),
        (lambda ops: sys.exit("bye"), "SystemExit: bye"),
        (in_a_task, "SystemExit: 3"),
        (in_a_draft, "SystemExit: 3"),
        (cancels_itself, "CancelledError"),
        (awaits_what_it_cancels, "CancelledError"),
        (lambda ops: ops.sample(ops.root, 1, until="typo"), "until: 'typo' is not usable; allowed: step"),
    ],
)
async def test_what_ends_a_strategy_late_is_its_searchs_error_and_it_answers_with_what_it_has(harm, error):
    results = await searched(on_p1(harm))
    assert [result.error is None for result in results] == [True, False, True]
    assert error in results[1].error
    assert "test_found.py:" in results[1].error
    assert [paths(result) for result in results] == [["0", "1", "2", "3"], ["0", "1"], ["0", "1", "2", "3"]]
    assert results[1].selected["weighted"] is not None
    assert not any(result.exhausted for result in results)


def test_a_strategy_that_raises_keyboard_interrupt_interrupts_the_run():
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(searched(on_p1(raises(KeyboardInterrupt()))))


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_run_that_is_cancelled_is_cancelled_whatever_its_strategies_make_of_it(swallows):
    begun = asyncio.Event()

    async def own(ops: Operations):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not swallows:
                raise
        return []

    task = asyncio.create_task(searched(own))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


def returns(change: Callable[[Operations, Sequence], object]):
    async def own(ops: Operations):
        return change(ops, await ops.sample(ops.root, 2, until="end"))

    return own


OTHERS: list = []


def others(ops: Operations, found: Sequence):
    OTHERS[:] = [*OTHERS, *found][:2]
    return list(OTHERS)


@pytest.mark.parametrize(
    ("search", "error", "kept"),
    [
        (returns(lambda ops, s: None), "the strategy returned NoneType; allowed: a list", 2),
        (returns(lambda ops, s: (x for x in s)), "the strategy returned generator", 2),
        (returns(lambda ops, s: "hello"), "the strategy returned str", 2),
        (returns(lambda ops, s: [1, 2]), "an object of type int; allowed: finished nodes", 2),
        (returns(lambda ops, s: [*s[:1], None]), "an object of type NoneType", 1),
        (returns(lambda ops, s: [*s, ops.root]), "returned the root", 2),
        (returns(lambda ops, s: s * 100_000), "returned 200,000 nodes, and it has asked for 2", 2),
        (
            returns(lambda ops, s: [structs.replace(n, scores=(math.nan,) * len(n.scores)) for n in s]),
            "path 0, which is a copy, or another problem's",
            2,
        ),
    ],
)
async def test_what_a_strategy_returns_is_checked_and_the_good_is_kept(search, error, kept):
    results = await asyncio.wait_for(searched(search), 5)
    for result in results:
        assert error in result.error
        assert paths(result) == ["0", "1"][:kept]
        assert result.selected["weighted"] is not None


async def test_a_list_that_is_empty_is_an_answer_and_paths_may_be_there_as_often_as_they_were_drawn():
    for change, expected in ((lambda ops, s: [], []), (lambda ops, s: [s[1], s[1]], ["1", "1"])):
        for result in await searched(returns(change)):
            assert (result.error, paths(result)) == (None, expected)


async def test_a_strategy_that_pays_for_solutions_and_returns_none_is_counted(caplog):
    async def forgets(ops: Operations):
        await ops.sample(ops.root, 2, until="end")
        return []

    async def finds_none(ops: Operations):
        return []

    results = await searched(forgets)
    assert [result.dropped for result in results] == [2, 2, 2]
    assert "problem p0: the strategy returned no solution, and had paid for 2 finished ones" in caplog.text
    assert [result.dropped for result in await searched(finds_none)] == [0, 0, 0]


async def test_an_unfinished_path_is_no_solution():
    async def own(ops: Operations):
        return await ops.sample(ops.root, 4)

    for result in await searched(own):
        assert "the strategy returned path 0, which is not finished" in result.error
        assert result.solutions == ()


async def test_another_problems_node_is_refused_where_it_is_returned_and_where_it_is_continued():
    results = await searched(returns(others))
    assert [result.error is None for result in results] == [True, False, False]
    assert "another problem's" in results[2].error
    assert [paths(result) for result in results] == [["0", "1"]] * 3

    first: list = []

    async def own(ops: Operations):
        first.extend(await ops.sample(ops.root, 1))
        return await ops.sample(first[0], 1, until="end")

    errors = [result.error for result in await searched(own)]
    assert errors[0] is None
    assert all("path '0' is no node of this problem's tree" in error for error in errors[1:])


async def test_what_a_strategy_puts_into_finished_is_checked_where_the_budget_ends_it():
    async def own(ops: Operations):
        found = await ops.sample(ops.root, 2, until="end")
        ops.finished = [found[0], None]
        return await ops.sample(ops.root, 10**6, until="end", keep="never")

    for result in await searched(own, budget=3 * 2_000_000):
        assert "the strategy has put into ops.finished an object of type NoneType" in result.error
        assert result.exhausted
        assert paths(result) == ["0"]


async def test_a_format_that_exits_while_a_path_is_scored_fails_that_search():
    class Exits:
        whole, overhead = False, 0

        def opening(self, question: str) -> tuple[int, ...]:
            return ()

        def inputs(self, question: str, steps: Sequence[str], first: int) -> list:
            return sys.exit(4) if steps else []

    format = Exits()
    changed = replace(setting(ScriptedEngine(letters(2))), verifier_format=format)
    control = Controller(changed, grader("exact"), Lease(10**9))
    results = await control.run(PROBLEMS, PROMPTS, returns(lambda ops, s: s))
    assert ["SystemExit: 4" in result.error for result in results] == [True] * 3
    assert control.budget.reserved == 0


@pytest.mark.parametrize("ends", [False, True])
async def test_a_strategy_that_swallows_an_error_after_which_nothing_works_does_not_outlive_it(ends):
    class Broken(ScriptedEngine):
        async def sample(self, request):
            raise PoolFailed("no replica is left")

    async def own(ops: Operations):
        while True:
            try:
                await ops.sample(ops.root, 2, until="end")
            except Exception:
                if ends:
                    return []

    with pytest.raises(PoolFailed, match="no replica is left"):
        await asyncio.wait_for(searched(own, engine=Broken()), 5)


@pytest.mark.parametrize("n", [0, 2])
async def test_a_strategy_that_asks_for_ever_for_what_it_cannot_have_lets_others_go_on(n):
    async def own(ops: Operations):
        found = await ops.sample(ops.root, 1, until="end")
        while ops.problem.id == "p0":
            with contextlib.suppress(Exception):
                await ops.sample(ops.root, n, until="end")
        return found

    ended, both = list[str](), asyncio.Event()

    def on_result(result: SearchResult) -> None:
        ended.append(result.problem.id)
        if ended == ["p1", "p2"]:
            both.set()

    control = Controller(setting(ScriptedEngine(letters(3))), grader("exact"), Lease(3 * 10**6))
    control.on_result = on_result
    run = asyncio.create_task(control.run(PROBLEMS, PROMPTS, own))
    async with asyncio.timeout(10):
        await both.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 5)
