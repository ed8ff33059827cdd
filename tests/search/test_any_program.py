"""Whatever a strategy asks of its operations, no budget is overdrawn and a resume gives the same."""

from __future__ import annotations

import asyncio
import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import SampleRequest
from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.errors import BadInput
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from tests.support.scripted import ScriptedEngine, letters, operations

KINDS = ["sample", "sample", "distinct", "distinct", "score", "revise", "write", "answers", "wrong"]
KINDS += ["gather", "cancel"]
STEP = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 7),
    st.integers(0, 4),
    st.sampled_from(["step", "end", "thought"]),
)
WRONG: list[Any] = [-1, 1.5, "2", None, True, math.nan, [1, 2, 3], [[]], 1j, b"1"]


def few_letters(request: SampleRequest, text: str, rng: random.Random) -> str:
    """Steps of one letter of two, so that many are equal."""
    return letters(3, length=1)(request, text, rng).translate({ord("c"): "a", ord("d"): "b"})


class Results:
    """A journal in memory: what is recorded, and how often."""

    def __init__(self, held: dict[str, Any] | None = None) -> None:
        self.held = dict(held or {})
        self.new: list[str] = []

    def results(self, problem: str) -> dict[str, Any]:
        return dict(self.held)

    def record(self, problem: str, key: str, result: Any, flops: int) -> None:
        assert key not in self.held, f"{key} is recorded twice"
        self.held[key] = (result, flops)
        self.new.append(key)


async def follow(program: list[Any], ops: Operations) -> None:
    nodes = [ops.root]

    async def act(kind: str, which: int, n: int, until: Any) -> list[Node]:
        node = nodes[which % len(nodes)]
        found = []
        if kind in ("sample", "distinct"):
            distinct = kind == "distinct"
            found = await ops.sample(
                [node] * (which % 3), n, until=until, score=bool(which % 2), distinct=distinct
            )
        elif kind == "score":
            found = await ops.score(nodes[which % len(nodes) :][:3])
        elif kind == "answers":  # what it asks for next depends on them
            votes = await ops.answers(nodes[which % len(nodes) :][:3])
            found = await ops.sample(ops.root, sum(vote is not None for vote in votes), until=until)
        elif kind == "revise":
            found = await ops.revise([[], [one for one in nodes[1:3] if one.finished]])
        elif kind == "write":

            async def author(draft):
                await draft.sample("step", limit=6 + n)
                if draft.node.finish != "end" and draft.give("ab", limit=20):
                    await draft.sample("end", limit=24)

            found = await ops.write(n, author, suppressed=which % 3)
        elif kind == "wrong":
            await ops.sample(node, WRONG[(which + n) % len(WRONG)])
        return found

    for kind, which, n, until in program:
        try:
            if kind == "gather":
                acts = (act(("sample", "distinct")[which % 2], which + i // 2, n, until) for i in range(3))
                for found in await asyncio.gather(*acts, return_exceptions=True):
                    nodes.extend(found if isinstance(found, list) else [])
            elif kind == "cancel":
                task = asyncio.create_task(act(("sample", "distinct")[which % 2], which, n, until))
                for _ in range(n):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            else:
                nodes.extend(await act(kind, which, n, until))
        except (BudgetExhausted, BadInput, ValueError):
            continue


def searched(program: list[Any], budget: int, journal: Results, jitter: int) -> tuple[Any, ...]:
    async def search() -> tuple[Any, ...]:
        engine = ScriptedEngine(write=few_letters, jitter=random.Random(jitter))
        ops = operations(engine, budget=budget, journal=journal)
        lease, lows = ops._lease, [budget]
        watching = asyncio.create_task(watch(lease, lows))
        await follow(program, ops)
        await ops.drain()
        watching.cancel()
        assert min(lows) >= 0
        charged = ops.usage.generator_flops + ops.usage.verifier_flops
        assert charged + lease.left <= budget, "what is charged is taken from the lease"
        found = [(node.key, node.tokens, node.scores) for node in ops.finished]
        return found, charged, lease.left, ops.paths

    return asyncio.run(search())


async def watch(lease: Any, lows: list[int]) -> None:
    while True:
        lows.append(lease.left)
        await asyncio.sleep(0)


@given(st.lists(STEP, max_size=7), st.integers(0, 60_000), st.integers(0, 3))
@settings(max_examples=60)
def test_no_program_overdraws_its_budget_and_its_journal_replays_it_in_any_order(program, budget, jitter):
    first = Results()
    found = searched(program, budget, first, jitter)
    if any(kind == "cancel" for kind, *_ in program):  # when it takes effect is the strategy's own affair
        return
    assert searched(program, budget, Results(), jitter + 7) == found, "another order of the engines"
    again = Results(first.held)
    assert searched(program, budget, again, jitter + 1) == found
    assert again.new == [], "nothing is computed twice"
    half = Results(dict(list(first.held.items())[: len(first.held) // 2]))
    assert searched(program, budget, half, jitter + 2) == found, "a run that was cut short"


@pytest.mark.parametrize("temperature", [10**400, -(10**400), math.nan, math.inf, 1j, "1", True])
async def test_a_temperature_that_no_engine_takes_is_bad_input(temperature):
    ops = operations(ScriptedEngine())
    with pytest.raises(BadInput, match="temperature"):
        await ops.sample(ops.root, 1, temperature=temperature)


async def test_an_engine_is_asked_for_a_temperature_that_is_a_float():
    engine = ScriptedEngine()
    ops = operations(engine)
    await ops.sample(ops.root, 1, temperature=Fraction(1, 2))
    assert [(type(one.temperature), one.temperature) for one in engine.samples] == [(float, 0.5)]
