"""No operation of a problem runs before its prompt is paid, whichever of two calls at once pays it."""

from __future__ import annotations

import asyncio

from orchestrator.budget.ledger import BudgetExhausted
from tests.support.asked import ask
from tests.support.scripted import GENERATOR, VERIFIER, ScriptedEngine, letters, operations

LONG = "1+1?" * 20


async def two_calls_while_funds_are_held(*, fits: bool) -> tuple[ScriptedEngine, list[object], int, int]:
    """Two calls at once ask for one step each, while another request holds all funds; then ``fits`` says
    whether it leaves enough for the prompt. Returns the engine, the outcomes, the FLOPs charged and the most
    that a step costs."""
    prompt, step = GENERATOR.prefill(len(LONG)), GENERATOR.sample(len(LONG), 8)
    assert 2 * step < prompt, "else a refused prompt leaves nothing for a step"
    engine = ScriptedEngine(letters(3))
    ops = operations(engine, budget=prompt + 2 * step, prompt=LONG)
    held = await ask(ops._lease, prompt + 2 * step)
    calls = [asyncio.create_task(ops.sample(ops.root, 1, score=False)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not engine.samples
    held.settle(0 if fits else 2 * step + 1)
    held.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return engine, outcomes, ops.usage.flops, step


async def test_where_the_prompt_is_refused_no_call_samples():
    engine, outcomes, charged, _ = await two_calls_while_funds_are_held(fits=False)
    assert [type(outcome) for outcome in outcomes] == [BudgetExhausted] * 2
    assert (engine.samples, charged) == ([], 0)


async def test_where_it_is_granted_it_is_charged_once_and_both_sample():
    engine, outcomes, charged, step = await two_calls_while_funds_are_held(fits=True)
    assert [len(nodes) for nodes in outcomes] == [1, 1]
    assert len(engine.samples) == 2
    prompt = GENERATOR.prefill(len(LONG))
    assert prompt < charged <= prompt + 2 * step


async def test_a_call_that_is_cancelled_before_the_grant_leaves_the_prompt_to_the_next():
    engine = ScriptedEngine(letters(3))
    ops = operations(engine, budget=10**9, prompt=LONG)
    held = await ask(ops._lease, 10**9)
    first, second = (asyncio.create_task(ops.sample(ops.root, 1, score=False)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    held.close()
    (node,) = await second
    prompt = GENERATOR.prefill(len(LONG))
    assert ops.usage.flops == prompt + GENERATOR.sample(len(LONG), len(node.tokens) - len(LONG))


async def test_a_prompt_without_a_first_sample_is_not_charged():
    prompts = GENERATOR.prefill(len(LONG)) + VERIFIER.prefill(len(LONG))
    first = GENERATOR.sample(len(LONG), 8) + VERIFIER.score(len(LONG), len(LONG) + 8)
    for budget, charged in ((prompts + first - 1, False), (prompts + first, True)):
        engine = ScriptedEngine(letters(3))
        ops = operations(engine, budget=budget, prompt=LONG)
        outcome = await asyncio.gather(ops.sample(ops.root, 1), return_exceptions=True)
        assert isinstance(outcome[0], BudgetExhausted) is not charged
        assert bool(engine.samples) is bool(ops.usage.flops) is bool(ops._lease.settled) is charged


async def test_a_call_that_asks_for_nothing_charges_nothing():
    ops = operations(ScriptedEngine(letters(3)))
    assert await ops.sample(ops.root, 0) == await ops.score([]) == await ops.revise([]) == []
    assert ops.usage.flops == ops._lease.settled == 0
