"""Leases that grow in rounds: the same grants whatever the timing, never more than the budget, no stall."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from actors.messages import PoolFailed, RequestFailed
from orchestrator.allocation.rounds import Asking, Rounds
from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import Price
from orchestrator.durability.journal import Journal
from orchestrator.grading.exact import Exact
from orchestrator.grading.grader import Grader, grader
from orchestrator.grading.pool import AnswersFailed
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import digest
from orchestrator.strategies.registry import find
from tests.support.asked import ask
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting

PROBLEMS = [Problem(f"p{i}", f"{i}+1?", "aaa\nbbb\nccc") for i in range(6)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]
BEST_OF_50 = partial(find("best_of_n").search, n=50)
BUDGET = 6 * 4_000_000


def best_score(one: Asking) -> float:
    return max((candidate.score or 0.0 for candidate in one.candidates), default=0.0)


def two_each_until(good: float):
    """Two more solutions for each problem, in order, while they can be paid; a good one ends."""

    def policy(asking, left):
        grants = []
        for one in asking:
            cost = one.first + one.each
            pays = best_score(one) < good and cost <= left
            left -= cost if pays else 0
            grants.append(2 if pays else None if best_score(one) >= good else 0)
        return grants

    return policy


async def run(engine: ScriptedEngine, policy=None, *, search=BEST_OF_50, budget=BUDGET, journal=None):
    control = Controller(
        setting(engine, journal=journal),
        grader("exact"),
        Lease(budget),
        allocator=policy or two_each_until(0.45),
    )
    return control, await control.run(PROBLEMS, PROMPTS, search)


async def test_the_same_grants_and_solutions_whatever_the_timing():
    control, expected = await run(ScriptedEngine(letters(3)))
    counts = [len(result.solutions) for result in expected]
    assert len(set(counts)) > 1  # the policy did tell the problems apart
    assert control.moved.held > 2
    good = {i for i, r in enumerate(expected) if any((s.score or 0) >= 0.45 for s in r.solutions)}
    assert control.moved.solved == good
    assert not any(expected[i].exhausted for i in good)
    for seed in range(5):
        _, again = await run(ScriptedEngine(letters(3), jitter=random.Random(seed)))
        assert digest(again) == digest(expected)


@pytest.mark.parametrize("budget", [1, 10**5, 10**6, BUDGET, 10**9])
@pytest.mark.parametrize("name", ["best_of_n", "beam_search", "mcts"])
async def test_the_budget_is_kept_and_every_search_ends(budget, name):
    search = partial(find(name).search, n=8)
    control, results = await run(
        ScriptedEngine(letters(3)), two_each_until(2.0), search=search, budget=budget
    )
    assert control.budget.settled == control.usage.flops <= budget
    assert control.budget.reserved == 0
    assert len(results) == 6
    assert any(result.exhausted for result in results) == (budget < BUDGET)
    assert all(result.error is None for result in results)


async def test_what_one_problem_does_not_need_others_get():
    many = partial(find("best_of_n").search, n=200)

    def gives_all_to_the_last(asking, left):
        return [0] * (len(asking) - 1) + [int(asking[-1].first <= left)]

    _, results = await run(ScriptedEngine(letters(3)), gives_all_to_the_last, search=many, budget=10**7)
    assert [len(result.solutions) > 0 for result in results] == [False] * 5 + [True]
    _, equal = await run(ScriptedEngine(letters(3)), two_each_until(2.0), search=many, budget=10**7)
    assert len(results[-1].solutions) > 3 * len(equal[-1].solutions)


async def test_a_policy_sees_solutions_in_the_strategys_order_and_what_was_spent():
    seen: list[Asking] = []

    def watching(asking, left):
        seen.append(asking[0])
        return two_each_until(2.0)(asking, left)

    _, results = await run(ScriptedEngine(letters(3), jitter=random.Random(1)), watching)
    solutions = results[0].solutions
    assert [len(one.candidates) for one in seen[:3]] == [0, 2, 4]
    assert seen[0].spent == 0 < seen[1].spent < seen[2].spent
    for one in seen:
        known = [(candidate.answer, candidate.score) for candidate in one.candidates]
        assert known == [(s.answer, s.score) for s in solutions[: len(known)]]


async def test_a_resumed_run_makes_the_same_grants_from_the_journal(tmp_path: Path):
    _, expected = await run(ScriptedEngine(letters(3)))

    class Dying(ScriptedEngine):
        async def sample(self, request):
            if len(self.samples) >= 25:
                raise PoolFailed("no replica is left")
            return await super().sample(request)

    journal = Journal(tmp_path / "journal")
    with pytest.raises(PoolFailed):
        await run(Dying(letters(3)), journal=journal)
    journal.close()
    journal = Journal(tmp_path / "journal")
    engine = ScriptedEngine(letters(3), jitter=random.Random(2))
    control, results = await run(engine, journal=journal)
    journal.close()
    assert digest(results) == digest(expected)
    assert control.usage.replayed > 0
    assert len(engine.samples) < sum(len(result.solutions) for result in expected)


async def test_a_search_that_fails_stalls_no_round():
    class Refusing(ScriptedEngine):
        async def sample(self, request):
            if request.affinity == "p2" and request.id.endswith("/3"):
                raise RequestFailed("generator-0, request p2: it cannot be answered")
            return await super().sample(request)

    engines = [Refusing(letters(3), jitter=random.Random(seed)) for seed in range(4)]
    runs = [(await run(engine))[1] for engine in engines]
    for results in runs:
        assert [result.error is not None for result in results] == [i == 2 for i in range(6)]
        assert digest(results) == digest(runs[0])


class Held:
    """Two problems that have run dry, and a round whose reading of answers goes on until ``go_on``."""

    def __init__(self) -> None:
        self.asked: list[list[Asking]] = []
        self.reading, self.go_on = asyncio.Event(), threading.Event()
        self.loop, self.threads = asyncio.get_running_loop(), set[int]()
        self.rounds = Rounds(Lease(10_000), self.allocate, self.candidates)
        self.leases = [self.rounds.open(name, Price(0, 10)) for name in "ab"]
        self.requests = [ask(lease, 10) for lease in self.leases]

    def candidates(self, index: int) -> Callable[[], list]:
        self.threads.add(threading.get_ident())

        def read() -> list:
            self.loop.call_soon_threadsafe(self.reading.set)
            assert self.go_on.wait(10)
            return []

        return read

    def allocate(self, asking, left):
        self.asked.append(list(asking))
        return [1] * len(asking)

    async def changed_meanwhile(self, change: Callable[[], None]) -> None:
        running = asyncio.create_task(self.rounds.run())
        await asyncio.wait_for(self.reading.wait(), 10)
        change()
        self.go_on.set()
        for _ in range(3):
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_problem_that_closes_while_answers_are_read_has_no_part_in_the_round():
    held = Held()

    def close() -> None:
        held.requests[0].cancel()
        held.rounds.close(0)

    await held.changed_meanwhile(close)
    assert [len(asking) for asking in held.asked] == [1]
    assert held.requests[1].done()
    assert held.leases[0].limit == 0
    assert held.rounds.held == 1


async def test_a_problem_that_withdraws_its_request_while_answers_are_read_puts_the_round_off():
    held = Held()
    await held.changed_meanwhile(held.requests[0].cancel)
    assert held.asked == []
    assert not held.requests[1].done()


async def test_a_round_grants_what_is_asked_for_when_it_decides():
    held = Held()

    def change() -> None:
        held.requests[0].cancel()
        held.requests[0] = ask(held.leases[0], 500)

    await held.changed_meanwhile(change)
    assert [one.first for one in held.asked[0]] == [500, 10]
    assert all(request.done() for request in held.requests)
    assert held.threads == {threading.get_ident()}, "what searches change is read in their own thread"


async def test_a_search_that_ends_while_a_round_reads_answers_does_not_end_the_run():
    reading, ended = asyncio.Event(), asyncio.Event()

    class Slow(Grader):
        """Reads its first answers, which a round asks for, until a search has ended."""

        async def read(self, texts):
            if texts and not reading.is_set():
                reading.set()
                await asyncio.wait_for(ended.wait(), 10)
            return await super().read(texts)

    async def search(ops):
        nodes = await ops.sample(ops.root, 1, until="end")
        more = asyncio.create_task(ops.sample(ops.root, 1, until="end"))
        if ops.problem.id == "p1":
            await reading.wait()
            more.cancel()
            await asyncio.gather(more, return_exceptions=True)
            return []
        return [*nodes, *await more]

    control = Controller(
        setting(ScriptedEngine(letters(3))),
        Slow(Exact()),
        Lease(BUDGET),
        allocator=lambda asking, left: [1] * len(asking),
        on_result=lambda result: ended.set(),
    )
    results = await control.run(PROBLEMS[:2], PROMPTS[:2], search)
    assert [(len(result.solutions), result.error) for result in results] == [(2, None), (0, None)]


async def test_answers_that_cannot_be_read_in_a_round_end_the_run():
    class Broken(Grader):
        async def read(self, texts):
            raise AnswersFailed("no process")

    engine = ScriptedEngine(letters(3))
    control = Controller(
        setting(engine), Broken(Exact()), Lease(BUDGET), allocator=lambda asking, left: [1] * len(asking)
    )
    with pytest.raises(AnswersFailed, match="no process"):
        await asyncio.wait_for(control.run(PROBLEMS, PROMPTS, partial(find("best_of_n").search, n=4)), 20)
