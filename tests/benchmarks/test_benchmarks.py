"""The benchmarks measure what they say: the same work on each side."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from orchestrator.allocation.adaptive import Adaptive
from orchestrator.benchmarks.allocation import Samples, replay
from orchestrator.benchmarks.allocation import accuracy as allocated_accuracy
from orchestrator.benchmarks.controller import Case, apart, measure, sharded
from orchestrator.benchmarks.lockstep import Lockstep
from orchestrator.benchmarks.pipelines import Case as Pipelines
from orchestrator.benchmarks.pipelines import on_engines
from orchestrator.benchmarks.pipelines import run as run_pipelines
from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results import digest
from orchestrator.search.selection import Candidate
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting


class Counting(ScriptedEngine):
    """Knows whether requests of two kinds were ever in flight together."""

    def __init__(self, *args, **values) -> None:
        super().__init__(*args, **values)
        self.running: list[str] = []
        self.mixed = False

    async def sample(self, request):
        return await self.counted("sample", super().sample(request))

    async def score(self, request):
        return await self.counted("score", super().score(request))

    async def counted(self, kind, work):
        self.running.append(kind)
        await asyncio.sleep(0.001 * (len(self.running) % 5))
        self.mixed |= len(set(self.running)) > 1
        result = await work
        self.running.remove(kind)
        return result


async def test_lockstep_finds_the_same_and_never_samples_while_it_scores():
    problems = [Problem(f"p{i}", f"{'ab'[i % 2]}?", "aaa") for i in range(6)]
    prompts = [CODEC.encode(problem.prompt) for problem in problems]

    async def run(engine) -> str:
        control = Controller(setting(engine), grader("exact"), Lease(10**12))
        search = partial(find("beam_search").search, n=8, width=4)
        return digest(await control.run(problems, prompts, search))

    free, held = Counting(letters(4)), Counting(letters(4))
    lockstep = Lockstep(held)
    try:
        assert await run(lockstep) == await run(free)
    finally:
        await lockstep.close()
    assert not held.mixed
    assert free.mixed


async def test_the_controller_is_measured_over_the_operations_of_its_searches(tmp_path):
    found = await measure(Case(4, 5, 5, 0.001, n=8, depth=3), tmp_path / "beam")
    assert found["operations"] == 5 * 8 * 3 * 2  # each step sampled and scored
    assert found["rate"] > 0
    assert found["p50_ms"] <= found["p99_ms"]
    whole = await measure(Case(4, 7, 7, 0.001, n=1, whole=True), tmp_path / "one")
    assert whole["operations"] == 7 * 2


async def test_searches_that_begin_by_chance_are_measured_where_the_load_is_steady(tmp_path):
    found = await measure(Case(4, 40, seconds=0.001, n=4, depth=2, a_second=100), tmp_path / "beam")
    assert found["operations"] == 40 * 4 * 2 * 2
    assert found["ended"] - found["began"] > 0.25  # 40 arrivals at 100 a second
    assert "held" not in found  # there never were all in flight
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_replicas_that_cannot_hold_what_comes_are_not_asked_at_half_the_rate():
    assert Case(64, seconds=0.3, a_second=8000 / 192).holds
    # 2 verifiers of 256 places, and 3,500 scores a second of 0.3 s each
    assert not Case(8, seconds=0.3, a_second=7000 / 192).holds


@pytest.mark.cluster
def test_operations_on_ray_actors_take_longer_than_these_say_that_they_did():
    found = apart(Case(2, 4, 4, 0.01, n=4, depth=2, ray=True))
    assert found["operations"] == 4 * 4 * 2 * 2
    assert 0 < found["p50_ms"] < 1000  # both processes have the same clock
    assert found["engines_us"] == 0


@pytest.mark.server
def test_two_controller_processes_share_the_problems_and_one_budget_and_tell_the_memory_of_an_operation():
    found = sharded(Case(8, 50, 50, 1.0, n=16, whole=True), 2)
    assert found["operations"] == 50 * 16 * 2
    assert found["rate"] > 0
    # In bytes, while all are in flight; 16 tasks of a search, each with its coroutines and request.
    assert 1000 < found["held"] < 8000


def test_modelled_pipelines_are_a_function_of_their_numbers_and_short_of_memory_they_compute_again():
    ample = run_pipelines(Pipelines(6, problems=4))
    assert ample == run_pipelines(Pipelines(6, problems=4))
    assert (ample["twice"], ample["preemptions"], ample["limits"]["generator"]) == (0, 0, 20)
    for name in ("generator", "verifier"):
        assert sum(ample["series"][name]) / len(ample["series"][name]) == pytest.approx(ample[name], abs=0.01)
        assert 0 < ample[name] <= 1
    fixed, adaptive = (run_pipelines(Pipelines(6, 1200, on, problems=16)) for on in (False, True))
    assert fixed["twice"] > adaptive["twice"] > 0
    assert fixed["limits"]["generator"] == 20 > adaptive["limits"]["generator"]


@pytest.mark.engine
@pytest.mark.usefixtures("shared_ray")
async def test_a_real_engine_short_of_memory_computes_again_and_finds_the_same_under_any_limit():
    found = await on_engines(40, 1)  # raises where a search fails or finds something else
    assert {name: len(rows) for name, rows in found.items()} == {"fixed": 1, "adaptive": 1}
    assert all(row["preemptions"] > 0 and row["computed"] > 1 for rows in found.values() for row in rows)


def test_modelled_searches_in_lockstep_do_the_same_work_in_more_time():
    free, batch, single = (run_pipelines(Pipelines(5, problems=4, lockstep=at_once)) for at_once in (0, 4, 1))
    assert free["computed"] == batch["computed"] == single["computed"] > 0
    assert 1.2 * free["seconds"] < batch["seconds"] < single["seconds"]


def test_a_replayed_allocation_spends_no_more_than_its_budget_and_stops_what_is_solved():
    easy = Samples([Candidate("a", 0.99)] * 16, "a")
    hard = Samples([Candidate(f"w{i}", 0.01) for i in range(15)] + [Candidate("a", 0.99)], "a")
    problems = [easy, hard] * 8
    for budget in (0, 1, 40, 1000):
        given = replay(Adaptive(parallel=1, min_gain=0.0), problems, budget)
        assert sum(given) <= budget
        assert all(count <= 16 for count in given)
    assert given == [2, 16] * 8 or given == [1, 16] * 8
    assert allocated_accuracy(problems, given) == 1.0
    assert allocated_accuracy(problems, [1] * 16) == 0.5
    assert [problem.chance for problem in problems[:2]] == [1.0, 1 / 16]
