"""What an operation is charged, named, seeded, recorded, and how a search ends when its lease does."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from actors.messages import PoolFailed, RequestFailed, ScoreResult
from orchestrator.budget.ledger import BudgetExhausted, Lease
from orchestrator.durability.journal import Journal
from orchestrator.problems.problem import Problem
from orchestrator.search.operations import Operations
from orchestrator.search.planning import seed_of
from orchestrator.search.tree import Node
from orchestrator.strategies.registry import REGISTRY, find
from tests.support.scripted import (
    CODEC,
    GENERATOR,
    SMALL,
    VERIFIER,
    ScriptedEngine,
    letters,
    operations,
    setting,
)

PROMPT = 4


async def test_a_tree_is_charged_the_prompt_once_and_each_edge_once_pruned_ones_included():
    ops = operations(ScriptedEngine(letters(3)))
    first = await ops.sample(ops.root, 3)
    await ops.sample(first[0], 2)
    ends = [(PROMPT, 4)] * 3 + [(8, 4)] * 2
    assert ops.usage.generator_flops == GENERATOR.prefill(PROMPT) + sum(GENERATOR.sample(*e) for e in ends)
    assert ops.usage.verifier_flops == VERIFIER.prefill(PROMPT) + sum(
        VERIFIER.score(c, c + n) for c, n in ends
    )
    assert ops.usage.generator_tokens == PROMPT + 5 * 4
    assert ops._lease.settled == ops.usage.flops
    assert ops._lease.reserved == 0


async def test_a_verifier_that_comes_late_is_charged_for_what_it_has_not_seen():
    ops = operations(ScriptedEngine(letters(3)))
    (one,) = await ops.sample(ops.root, 1, score=False)
    (two,) = await ops.sample(one, 1, score=False)
    assert ops.usage.verifier_flops == 0
    (scored,) = await ops.score([two])
    assert len(scored.scores) == 2
    assert ops.usage.verifier_flops == VERIFIER.prefill(PROMPT) + VERIFIER.score(PROMPT, 12)


async def test_a_path_carries_the_score_of_each_step_and_whole_solutions_are_split_into_steps():
    engine = ScriptedEngine(letters(3))
    ops = operations(engine)
    (whole,) = await ops.sample(ops.root, 1, until="end")
    assert whole.finished
    assert whole.step_ends == (8, 12, 16)
    assert whole.scores == tuple(
        engine.judge("".join(map(chr, whole.tokens[:end]))) for end in whole.step_ends
    )


async def test_children_are_numbered_across_calls_and_seeds_depend_on_the_path_alone():
    engine = ScriptedEngine(letters(3))
    ops = operations(engine)
    one = await ops.sample(ops.root, 2)
    two = await ops.sample(ops.root, 1)
    assert [node.path for node in (*one, *two)] == [(0,), (1,), (2,)]
    assert [r.seed for r in engine.samples] == [seed_of(0, "p", str(i)) for i in range(3)]
    assert (
        len(
            {
                seed_of(0, "p", "1.2"),
                seed_of(0, "p", "12"),
                seed_of(1, "p", "1.2"),
                seed_of(0, "q", "1.2"),
            }
        )
        == 4
    )


async def test_equal_child_indices_under_other_parents_have_other_seeds():
    engine = ScriptedEngine(letters(4))
    ops = operations(engine)
    parents = await ops.sample(ops.root, 3)
    await ops.sample(parents, 2)
    assert len({request.seed for request in engine.samples}) == 9


@pytest.mark.parametrize(("aggregation", "value"), [("last", 0.5), ("min", 0.25), ("prod", 0.0625)])
async def test_a_paths_value_is_under_the_configured_aggregation(aggregation, value):
    ops = operations(ScriptedEngine(), aggregation=aggregation)
    assert ops.value(Node("0", (1,), (1,), (0.5, 0.25, 0.5), judged=1)) == value


def history_reader(engine: ScriptedEngine, **options) -> Operations:
    return operations(engine, verifier_kind="orm", **options)


async def test_an_orm_reads_the_attempts_before_and_is_charged_for_them_and_gives_one_score():
    engine = ScriptedEngine(letters(2))
    ops = history_reader(engine)
    (first,) = await ops.revise([[]])
    (second,) = await ops.revise([[first]])
    texts = ["".join(map(chr, node.tokens[PROMPT:])) for node in (first, second)]
    read = ["".join(map(chr, request.tokens)) for request in engine.scores]
    assert read == [f"1+1?{texts[0]}", f"{texts[0].rstrip('$')}#1+1?{texts[1]}"]
    assert [request.step_ends for request in engine.scores] == [(len(text),) for text in read]
    assert ops.usage.verifier_flops == sum(VERIFIER.score(0, len(text)) for text in read), "and no prompt"
    assert ops.usage.verifier_tokens == sum(map(len, read))
    assert [node.scores for node in (first, second)] == [(engine.judge(text),) for text in read]
    assert ops._lease.settled == ops.usage.flops
    assert ops._lease.reserved == 0
    assert await ops.score([first, second]) == [first, second]
    assert [ops.value(node) for node in (first, second)] == [engine.judge(text) for text in read]


async def test_an_orm_reads_a_sample_after_the_prompt():
    engine = ScriptedEngine(letters(3))
    ops = history_reader(engine)
    (node,) = await ops.sample(ops.root, 1, until="end")
    assert engine.scores[0].tokens == node.tokens
    assert node.scored
    assert len(node.scores) == 1 < len(node.step_ends)


async def test_a_node_is_scored_once_its_last_step_is():
    ops = operations(ScriptedEngine(letters(3)))
    (one,) = await ops.sample(ops.root, 1)
    (two,) = await ops.sample(one, 1, score=False)
    assert (ops.root.scored, one.scored, two.scored) == (False, True, False)
    (three,) = await ops.score([two])
    assert three.scored
    assert ops.usage.verifier_flops == VERIFIER.prefill(PROMPT) + VERIFIER.score(PROMPT, 8) + VERIFIER.score(
        8, 12
    )


async def test_scoring_again_or_twice_at_once_runs_and_charges_once():
    engine = ScriptedEngine(letters(3))
    ops = operations(engine)
    (fresh,) = await ops.sample(ops.root, 1, score=False)
    first = await ops.score([fresh, fresh])
    assert first[0].scores == first[1].scores != ()
    assert await ops.score(first) == first
    assert len(engine.scores) == 1
    assert ops.usage.operations == 2


async def test_a_verifier_that_had_to_run_a_path_twice_is_counted_and_not_an_error():
    class Forgetful(ScriptedEngine):
        async def score(self, request):
            result = await super().score(request)
            return structs.replace(result, computed_tokens=len(request.tokens) + 3)

    ops = operations(Forgetful(letters(3)))
    (node,) = await ops.sample(ops.root, 1)
    end = len(node.tokens)
    sampled = GENERATOR.body(0, end - 1) + GENERATOR.head(4)
    assert ops.usage.computed_flops - sampled == VERIFIER.score(0, end) + VERIFIER.score(end - 3, end)


async def test_a_generator_that_had_to_compute_again_is_counted_and_not_an_error():
    class Preempted(ScriptedEngine):
        async def sample(self, request):
            result = await super().sample(request)
            fed = len(request.prompt) + len(result.tokens) - 1
            return structs.replace(result, computed_tokens=2 * fed + 1)

    ops = operations(Preempted(letters(3)))
    (node,) = await ops.sample(ops.root, 1, score=False)
    fed = len(node.tokens) - 1
    twice_and_one = 2 * GENERATOR.body(0, fed) + GENERATOR.body(fed - 1, fed)
    assert ops.usage.computed_flops == twice_and_one + GENERATOR.head(len(node.tokens) - len(ops.prompt))


async def test_what_a_strategy_leaves_running_is_waited_for_and_paid():
    ops = operations(ScriptedEngine(letters(3), jitter=random.Random(3)))
    left = asyncio.ensure_future(ops.sample(ops.root, 4))
    await asyncio.sleep(0)
    await ops.drain()
    ops._lease.close()
    assert len(await left) == 4
    assert ops._lease.settled == ops.usage.flops > 0
    with pytest.raises(RuntimeError, match="closed"):
        await ops.sample(ops.root, 1)


async def test_a_search_cancelled_at_once_gives_its_funds_back():
    ops = operations(ScriptedEngine(letters(3)))
    search = asyncio.ensure_future(ops.sample(ops.root, 4))
    for _ in range(3):
        search.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(search, return_exceptions=True)
    assert ops._lease.reserved == 0


async def test_a_step_cut_at_its_length_goes_on_and_a_solution_cut_at_its_length_is_finished():
    ops = operations(ScriptedEngine(lambda request, text, rng: "x" * 99))
    (node,) = await ops.sample(ops.root, 1)
    while not node.finished:
        assert len(node.tokens) == PROMPT + 8 * len(node.path)
        (node,) = await ops.sample(node, 1)
    assert len(node.tokens) == PROMPT + 32
    assert node.finish == "length"
    with pytest.raises(ValueError, match="cannot be continued"):
        await ops.sample(node, 1)
    assert await ops.sample([node, ops.root], [0, 0]) == []  # what is not asked to go on need not


async def test_what_a_refused_request_left_running_is_finished_and_kept():
    worst = GENERATOR.sample(PROMPT, 32) + VERIFIER.score(PROMPT, PROMPT + 32)
    prompt = GENERATOR.prefill(PROMPT) + VERIFIER.prefill(PROMPT)
    ops = operations(ScriptedEngine(letters(3)), budget=prompt + 2 * worst)
    with pytest.raises(BudgetExhausted):
        await ops.sample(ops.root, 50, until="end")
    assert len(ops.finished) > 2, "what the first ones did not use pays for more"
    left = ops._lease.limit - ops._lease.settled
    assert left < worst
    assert ops._lease.reserved == 0


@settings(max_examples=60)
@given(
    budget=st.integers(0, 3_000_000),
    jitter=st.integers(0, 10**6),
    name=st.sampled_from(sorted(REGISTRY)),
)
async def test_what_a_budget_buys_does_not_depend_on_timing(budget, jitter, name):
    async def search(timing: random.Random | None) -> tuple[list[tuple[int, ...]], int]:
        ops = operations(ScriptedEngine(letters(4), jitter=timing), budget=budget)
        with contextlib.suppress(BudgetExhausted):
            await find(name)(ops, **SMALL.get(name, {"n": 8}))
        assert ops._lease.settled <= budget
        assert ops._lease.reserved == 0
        return [node.path + node.tokens for node in ops.finished], ops._lease.settled

    assert await search(None) == await search(random.Random(jitter))


async def test_a_search_run_again_from_its_journal_asks_the_engines_for_nothing(tmp_path: Path):
    async def search() -> tuple[ScriptedEngine, Operations, list]:
        journal, engine = Journal(tmp_path / "j"), ScriptedEngine(letters(4), jitter=random.Random(1))
        ops = operations(engine, journal=journal)
        nodes = await find("beam_search")(ops, n=8, width=2)
        journal.close()
        return engine, ops, [(n.path, n.tokens, n.scores) for n in nodes]

    first, ops, nodes = await search()
    assert len(first.samples) == ops.usage.operations - len(first.scores) == 32
    again, replayed, same = await search()
    assert (again.samples, again.scores) == ([], [])
    assert same == nodes
    assert replayed.usage.replayed == replayed.usage.operations
    assert (replayed.usage.flops, replayed.usage.computed_flops) == (
        ops.usage.flops,
        ops.usage.computed_flops,
    )


async def test_a_search_cut_anywhere_and_resumed_finds_the_same_and_runs_nothing_twice(tmp_path: Path):
    class Killed(Exception):
        pass

    class Dying(ScriptedEngine):
        async def sample(self, request):
            if len(self.samples) == 20:
                raise Killed
            return await super().sample(request)

    async def search(engine: ScriptedEngine, path: Path) -> list:
        journal = Journal(path)
        try:
            nodes = await find("beam_search")(operations(engine, journal=journal), n=8, width=2)
        finally:
            journal.close()
        return [(n.path, n.tokens, n.scores) for n in nodes]

    undisturbed = ScriptedEngine(letters(4))
    expected = await search(undisturbed, tmp_path / "undisturbed")
    dying, resumed = Dying(letters(4)), ScriptedEngine(letters(4))
    with pytest.raises(Killed):
        await search(dying, tmp_path / "cut")
    with closing(Journal(tmp_path / "cut")) as journal:
        done = len(journal)
    assert await search(resumed, tmp_path / "cut") == expected
    assert len(resumed.samples) + len(resumed.scores) == 64 - done


class Refusing(ScriptedEngine):
    """Refuses to sample the paths ``refused``."""

    refused = ("1", "3")

    async def sample(self, request):
        if request.id.rpartition("/")[2] in self.refused:
            raise RequestFailed(f"generator-0, request {request.id}: no")
        return await super().sample(request)


@pytest.mark.parametrize("jitter", range(5))
async def test_a_request_that_fails_leaves_its_siblings_to_end_whichever_is_first(jitter):
    ops = operations(Refusing(letters(3), jitter=random.Random(jitter)))
    with pytest.raises(RequestFailed, match="request p/sample/1: no"):
        await ops.sample(ops.root, 8, until="end")
    assert [node.key for node in ops.finished] == ["0", "2", "4", "5", "6", "7"]
    assert ops._lease.reserved == 0
    assert ops._lease.settled == ops.usage.flops


async def test_a_request_that_fails_does_not_keep_the_funds_that_others_wait_for():
    prompts = GENERATOR.prefill(PROMPT) + VERIFIER.prefill(PROMPT)
    worst = GENERATOR.sample(PROMPT, 32) + VERIFIER.score(PROMPT, PROMPT + 32)
    ops = operations(Refusing(letters(8)), budget=prompts + 2 * worst)
    with pytest.raises(RequestFailed):
        await ops.sample(ops.root, 3, until="end")
    assert [node.key for node in ops.finished] == ["0", "2"]


async def test_an_error_after_which_nothing_can_end_well_ends_the_call_at_once():
    class Broken(ScriptedEngine):
        async def sample(self, request):
            if request.id.endswith("/2"):
                raise PoolFailed("no replica is left")
            await asyncio.Event().wait()

    ops = operations(Broken())
    with pytest.raises(PoolFailed):
        await asyncio.wait_for(ops.sample(ops.root, 8), 5)
    assert ops._lease.reserved == 0


@pytest.mark.parametrize(
    "scores", [(), (0.5,), (0.5, 0.5, 0.5), (0.5, math.nan), (math.inf, 0.5), (0.5, -0.1), (0.5, 1.1)]
)
async def test_a_path_with_other_than_a_score_a_step_is_unscored_and_its_scores_are_not_recorded(
    tmp_path, scores
):
    class Judge(ScriptedEngine):
        async def score(self, request):
            result = await super().score(request)
            if len(request.step_ends) != 2:
                return result
            return ScoreResult(result.id, scores, result.computed_tokens, result.replica)

    with closing(Journal(tmp_path / "j")) as journal:
        ops = operations(Judge(letters(3)), journal=journal)
        (node,) = await ops.sample(ops.root, 1)
        (child,) = await ops.sample(node, 1)
        assert (child.scored, ops.usage.unscored) == (False, 1)
        assert "request p/score/0.0: the scores of 2 steps are" in str(ops.score_error)
        assert ops._lease.reserved == 0
        journal.flush()
        assert [key for key in journal.results("p") if "score" in key] == ["p/score/0"]


async def test_two_calls_that_score_one_node_at_once_run_and_charge_it_once(tmp_path):
    engine = ScriptedEngine(letters(2))
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        ops = operations(engine, journal=journal)
        nodes = await ops.sample(ops.root, 2, until="end", score=False)
        first, second = await asyncio.gather(ops.score(nodes), ops.score(nodes[::-1]))
        assert first == second[::-1]
        assert len(engine.scores) == 2
        assert ops.usage.verifier_flops == VERIFIER.prefill(4) + 2 * VERIFIER.score(4, len(nodes[0].tokens))
    Journal(tmp_path / "journal.sqlite").close()  # not damaged by a result that is there twice


@pytest.mark.parametrize("turns", range(8))
async def test_a_call_that_is_cancelled_in_any_turn_leaves_nothing_reserved(turns):
    budget = Lease(10**12)
    lease = budget.lease(0, "p", on_dry=lambda: None)
    ops = Operations(
        Problem("p", "1+1?", ""), CODEC.encode("1+1?"), lease, setting(ScriptedEngine(letters(2)))
    )
    call = asyncio.create_task(ops.sample(ops.root, 1))
    await asyncio.sleep(0)
    lease.extend(10**9)
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await ops.drain()
    assert lease.reserved == 0
    lease.end_growth()
    lease.close()
