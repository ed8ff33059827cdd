"""What a call asks for and its lease does not pay is never made: a search costs by what it does."""

from __future__ import annotations

import asyncio
import random
import tracemalloc

import pytest

from orchestrator.budget.ledger import BudgetExhausted, Lease
from orchestrator.problems.problem import Problem
from orchestrator.search.operations import Operations
from tests.support.scripted import CODEC, GENERATOR, VERIFIER, ScriptedEngine, letters, operations, setting

PROMPT = 4


@pytest.mark.parametrize(
    "ask",
    [
        lambda ops, n: ops.sample(ops.root, n, until="end"),
        lambda ops, n: ops.revise([[]] * n),
        lambda ops, n: ops.write(n, lambda draft: draft.sample("end")),
    ],
)
@pytest.mark.parametrize("grows", [False, True])
async def test_what_a_call_asks_for_beyond_its_funds_is_never_made(ask, grows, monkeypatch):
    prompts = GENERATOR.prefill(PROMPT) + VERIFIER.prefill(PROMPT)
    worst = GENERATOR.sample(PROMPT, 32) + VERIFIER.score(PROMPT, PROMPT + 32)
    run, made = Lease(10**12), []
    fixed = run.lease(prompts + 2 * worst, "p")
    lease = run.lease(0, "q", on_dry=lambda: None) if grows else fixed
    ops = Operations(
        Problem("p", "1+1?", ""), CODEC.encode("1+1?"), lease, setting(ScriptedEngine(letters(8)))
    )
    monkeypatch.setattr("orchestrator.search.planning._child", lambda parent, i: made.append(i) or str(i))
    tracemalloc.start()
    call = asyncio.create_task(ask(ops, 10**5))
    await asyncio.sleep(0)
    if grows:
        assert lease.needed == prompts + worst, "one request waits"
        lease.extend(prompts + 2 * worst)
        lease.end_growth()
    with pytest.raises(BudgetExhausted):
        await call
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2 <= len(ops.finished) <= len(made) < 10
    assert most < 2_000_000


async def test_children_that_were_refused_keep_their_numbers():
    prompts = GENERATOR.prefill(PROMPT) + VERIFIER.prefill(PROMPT)
    worst = GENERATOR.sample(PROMPT, 32) + VERIFIER.score(PROMPT, PROMPT + 32)
    ops = operations(ScriptedEngine(letters(2)), budget=prompts + worst)
    with pytest.raises(BudgetExhausted):
        await ops.sample(ops.root, 50, until="end")
    (step,) = await ops.sample(ops.root, 1)
    assert step.key == "50"


@pytest.mark.parametrize("jitter", range(6))
async def test_what_calls_at_once_have_finished_is_in_the_order_of_the_calls_whichever_ends_first(jitter):
    ops = operations(ScriptedEngine(letters(2), jitter=random.Random(jitter)))
    first = await ops.sample(ops.root, 1, until="end")
    calls = [ops.sample(ops.root, n, until="end") for n in (3, 1, 2)]
    found = await asyncio.gather(*calls)
    assert ops.finished == [*first, *(node for nodes in found for node in nodes)]
    ops.finished = ops.finished[:2]
    (last,) = await ops.sample(ops.root, 1, until="end")
    assert [node.key for node in ops.finished] == ["0", "1", last.key]


async def test_a_prompt_whose_charge_was_never_granted_is_charged_by_the_next_call():
    engine = ScriptedEngine(letters(2))
    budget = Lease(10**12)
    lease = budget.lease(0, "p", on_dry=lambda: None)
    ops = Operations(Problem("p", "1+1?", ""), CODEC.encode("1+1?"), lease, setting(engine))
    waiting = asyncio.create_task(ops.sample(ops.root, 1))
    second = asyncio.create_task(ops.sample(ops.root, 1))
    await asyncio.sleep(0.01)
    assert not engine.samples, "nothing runs before the prompt is paid"
    waiting.cancel()
    await asyncio.sleep(0.01)
    lease.extend(10**9)
    (node,) = await second
    prompts = GENERATOR.prefill(4) + VERIFIER.prefill(4)
    assert ops.usage.flops == prompts + GENERATOR.sample(4, 4) + VERIFIER.score(4, 8)
    assert lease.settled == ops.usage.flops
    assert node.scored


async def test_a_path_that_is_scored_later_is_one_solution_and_not_two():
    ops = operations(ScriptedEngine(letters(2)))
    fresh = await ops.sample(ops.root, 3, until="end", score=False)
    scored = await ops.score(fresh[1:])
    assert [node.key for node in ops.finished] == ["0", "1", "2"]
    assert ops.finished == [fresh[0], *scored]
    assert all(map(ops.is_solution, [*fresh, *scored]))
