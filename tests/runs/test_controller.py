"""Many searches under one budget: equal leases, isolation of failures, results by problem."""

from __future__ import annotations

import gc
import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from actors.messages import PoolFailed, RequestFailed
from orchestrator.budget.ledger import Lease
from orchestrator.durability.journal import JournalFailed
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import COLLECTIONS, Controller
from orchestrator.runs.results import digest, flips, summarise
from orchestrator.search.selection import rules
from orchestrator.strategies.registry import find
from tests.support.scripted import (
    CODEC,
    EOS,
    GENERATOR,
    VERIFIER,
    ScriptedEngine,
    flops_budget,
    letters,
    setting,
)

PROBLEMS = [Problem(f"p{i}", f"{i}+1?", "aaa\nbbb\nccc") for i in range(6)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]
BEAM = partial(find("beam_search").search, n=8, width=2)


def controller(engine: ScriptedEngine, *, budget: int = 10**9, at_once: int = 128) -> Controller:
    return Controller(setting(engine), grader("exact"), Lease(budget), searches_at_once=at_once)


async def run(engine: ScriptedEngine, **options):
    return await controller(engine, **options).run(PROBLEMS, PROMPTS, BEAM)


async def test_searches_leave_no_cycles_so_that_the_collector_may_rest_and_is_itself_again_afterwards():
    control, usual, seen = controller(ScriptedEngine(letters(3))), gc.get_threshold(), []
    control.on_result = lambda result: seen.append(gc.get_threshold())
    problems = [Problem(f"p{i}", "1+?", "aaa") for i in range(100)]
    gc.collect()
    gc.disable()
    try:
        await control.run(problems, PROMPTS[:1] * 100, BEAM)
        # Fewer than one a search: the libraries and threads of this process may leave some of their own.
        assert gc.collect() < len(problems)
    finally:
        gc.enable()
    assert set(seen) == {COLLECTIONS}
    assert (gc.get_threshold(), gc.get_freeze_count()) == (usual, 0)


async def test_the_collector_does_not_stop_the_searches_of_many_live_nodes():
    problems = [Problem(f"p{i}", "1+?", "aaa") for i in range(100)]
    control, seen = controller(ScriptedEngine(letters(3))), set()
    control.searches_at_once = 20  # so that some end while others have yet to begin
    control.on_result = lambda result: seen.add(sum(each["collections"] for each in gc.get_stats()))
    await control.run(problems, PROMPTS[:1] * 100, BEAM)
    assert len(seen) == 1


async def test_the_same_solutions_whatever_the_timing_and_the_number_of_searches_at_once():
    expected = await run(ScriptedEngine(letters(3)))
    assert [result.problem.id for result in expected] == [problem.id for problem in PROBLEMS]
    for at_once in (1, 3):
        again = await run(ScriptedEngine(letters(3), jitter=random.Random(at_once)), at_once=at_once)
        assert digest(again) == digest(expected)


async def test_a_searchs_seconds_are_its_own_and_not_its_wait_for_a_slot(monkeypatch):
    engine = ScriptedEngine(letters(3))
    clock = SimpleNamespace(monotonic=lambda: len(engine.samples) + len(engine.scores))
    monkeypatch.setattr("orchestrator.runs.controller.time", clock)  # a request is a second
    results = await run(engine, at_once=1)
    assert all(result.seconds > 0 for result in results)
    assert sum(result.seconds for result in results) == clock.monotonic()


async def test_the_digest_tells_different_solutions_apart():
    results = [await run(ScriptedEngine(letters(steps))) for steps in (2, 3)]
    assert digest(results[0]) != digest(results[1])


async def test_a_budget_far_too_small_ends_cleanly_is_not_exceeded_and_says_what_it_covered():
    control = controller(ScriptedEngine(letters(3)), budget=6 * 400_000)
    results = await control.run(PROBLEMS, PROMPTS, BEAM)
    assert all(result.exhausted for result in results)
    assert control.budget.settled == control.usage.flops <= 6 * 400_000
    assert control.budget.reserved == 0
    summary = summarise(
        "r",
        results,
        control.usage,
        budget=flops_budget(6 * 400_000, 6),
        seconds=1,
        startup_seconds=0,
        utilisation={},
    )
    assert (summary.problems, summary.exhausted) == (6, 6)
    assert summary.flops.spent <= summary.flops.budget


async def test_an_orms_one_score_of_an_attempt_selects_within_and_across_chains():
    """Attempts get better, and an ORM sees how many came before."""

    def write(request, text, rng):
        return ("c" if text.count("#") == 2 else "ab"[text.count("#")]) + EOS

    engine = ScriptedEngine(write, judge=lambda text: 0.9 if text.endswith("#0+1?b" + EOS) else 0.1)
    orm = replace(setting(engine), verifier_kind="orm")
    control = Controller(orm, grader("exact"), Lease(10**9), rules=rules(scored=True, chains=True))
    chains = partial(find("revisions").search, n=6, length=3)
    (result,) = await control.run([Problem("p", "0+1?", "b")], [CODEC.encode("0+1?")], chains)
    assert [solution.answer for solution in result.solutions] == ["a", "b", "c"] * 2
    assert [solution.score for solution in result.solutions] == [0.1, 0.9, 0.1] * 2
    assert result.selected == dict.fromkeys(("best", "weighted", "hierarchical"), "b") | {"majority": "a"}


async def test_a_search_cut_short_answers_with_what_it_finished():
    worst = GENERATOR.sample(4, 32) + VERIFIER.score(4, 36)
    control = controller(ScriptedEngine(letters(3)), budget=6 * 3 * worst)
    results = await control.run(PROBLEMS, PROMPTS, partial(find("best_of_n").search, n=50))
    for result in results:
        assert result.exhausted
        assert [solution.path for solution in result.solutions] == [
            str(i) for i in range(len(result.solutions))
        ]
        assert len(result.solutions) >= 3
        assert result.selected["majority"] is not None


async def test_searches_at_once_are_bounded_and_earlier_problems_go_first():
    class Watching(ScriptedEngine):
        def __init__(self, write):
            super().__init__(write)
            self.open, self.most, self.priorities = set(), 0, {}

        async def sample(self, request):
            self.open.add(request.affinity)
            self.most = max(self.most, len(self.open))
            self.priorities[request.affinity] = request.priority
            return await super().sample(request)

    engine = Watching(letters(2))
    control = controller(engine, at_once=2)
    control.on_result = lambda result: engine.open.discard(result.problem.id)
    await control.run(PROBLEMS, PROMPTS, BEAM)
    assert engine.most == 2
    assert engine.priorities == {f"p{i}": i for i in range(6)}


async def test_a_search_without_any_score_fails_and_costs_the_others_nothing():
    class Refusing(ScriptedEngine):
        async def score(self, request):
            if request.affinity == "p2":
                raise RequestFailed("verifier-0, request p2: the score of step 1 is nan")
            return await super().score(request)

    results = await run(Refusing(letters(3)))
    assert [result.error is not None for result in results] == [i == 2 for i in range(6)]
    assert "nan" in results[2].error
    assert results[2].usage.unscored > 0
    others = await run(ScriptedEngine(letters(3)))
    assert digest([r for r in results if not r.error]) == digest([r for r in others if r.problem.id != "p2"])


async def test_a_score_that_is_none_costs_one_path_and_is_counted():
    class Refusing(ScriptedEngine):
        async def score(self, request):
            if request.id == "p2/score/1":
                raise RequestFailed("verifier-0, request p2/score/1: the score of step 1 is nan")
            return await super().score(request)

    best = partial(find("best_of_n").search, n=4)
    found = await controller(Refusing(letters(3))).run(PROBLEMS, PROMPTS, best)
    expected = await controller(ScriptedEngine(letters(3))).run(PROBLEMS, PROMPTS, best)
    assert digest(found) == digest(expected)
    assert [result.error for result in found] == [None] * 6
    assert [result.usage.unscored for result in found] == [0, 0, 1, 0, 0, 0]
    assert [solution.score is None for solution in found[2].solutions] == [False, True, False, False]
    assert found[2].selected["weighted"] is not None


@pytest.mark.parametrize(
    "error", [PoolFailed("no replica is left"), JournalFailed("journal.sqlite: disk is full")]
)
async def test_an_error_after_which_nothing_can_be_kept_or_computed_ends_the_run(error):
    class Broken(ScriptedEngine):
        async def sample(self, request):
            raise error

    with pytest.raises(type(error), match=str(error)):
        await run(Broken())


async def test_selection_votes_only_with_finished_answers():
    def write(request, text, rng):
        return "aaa\nbbb\nccc$" if rng.random() < 0.5 else "x" * 99

    control = controller(ScriptedEngine(write))
    results = await control.run(PROBLEMS, PROMPTS, partial(find("best_of_n").search, n=8))
    for result in results:
        cut = [solution for solution in result.solutions if solution.finish == "length"]
        assert cut
        assert all(solution.answer is None and not solution.correct for solution in cut)
        assert result.selected["majority"] == "aaa\nbbb\nccc"
        assert result.correct["majority"]
        assert result.covered


async def test_flips_count_correct_attempts_whose_revision_is_wrong():
    def write(request, text, rng):
        return ("bbb$", "aaa\nbbb\nccc$")[text.count("#") % 2 == 0]

    control = controller(ScriptedEngine(write))
    results = await control.run(PROBLEMS, PROMPTS, partial(find("revisions").search, n=8, length=4))
    # right, wrong, right, wrong: both right ones flip, and a wrong one that is mended is no flip
    assert flips(results) == 1.0
    assert flips(await run(ScriptedEngine(letters(3)))) is None
