"""The orchestrator's own work is linear in what is searched: counted in function calls, not in seconds."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import pytest

from orchestrator.allocation.adaptive import Adaptive
from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting

SLACK = 1.25
"""An operation of a run four times as large may take so many times the calls: logarithms, and start and end.
With a loop over all problems, paths or leases in each operation it would be far more."""


class Calls:
    """How many functions, also built in, this thread has called inside a ``with``."""

    count = 0

    def __enter__(self) -> Calls:
        def seen(frame: object, event: str, argument: object) -> None:
            self.count += event in ("call", "c_call")

        sys.setprofile(seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


async def calls_an_operation(
    problems: int, n: int, steps: int = 3, strategy: str = "beam_search", policy: Adaptive | None = None
) -> float:
    engine = ScriptedEngine(letters(steps, length=1))
    params = {"width": 4} if strategy == "beam_search" else {}
    control = Controller(
        setting(engine), grader("exact"), Lease(10**12), searches_at_once=problems, allocator=policy
    )
    asked = [Problem(f"p{i}", f"{i}?", "aaa") for i in range(problems)]
    search = partial(find(strategy).search, n=n, **params)
    with Calls() as calls:
        await control.run(asked, [CODEC.encode(p.prompt) for p in asked], search)
    return calls.count / control.usage.operations


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ({"problems": 40, "n": 8}, {"problems": 160, "n": 8}),
        ({"problems": 4, "n": 32}, {"problems": 4, "n": 128}),
        ({"problems": 8, "n": 8, "steps": 4}, {"problems": 8, "n": 8, "steps": 16}),
        (
            {"problems": 20, "n": 8, "strategy": "best_of_n", "policy": Adaptive()},
            {"problems": 80, "n": 8, "strategy": "best_of_n", "policy": Adaptive()},
        ),
    ],
    ids=["problems", "paths", "depth", "problems that are compared"],
)
async def test_an_operation_takes_no_more_of_the_controller_in_a_larger_search(small, large):
    assert await calls_an_operation(**large) < SLACK * await calls_an_operation(**small)


async def test_the_count_sees_what_is_not_linear():
    """The tests above could not fail if this did not."""

    async def worse(problems: int) -> float:
        with Calls() as calls:
            for _ in range(problems):
                await asyncio.sleep(0)
                for other in range(problems):
                    abs(other)
        return calls.count / problems

    assert await worse(400) > 2 * await worse(100)
