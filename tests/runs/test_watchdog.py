"""A strategy that lets nothing else work, or gets no further, is named with its file and line."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs import watchdog
from orchestrator.runs.at_work import AtWork
from orchestrator.runs.controller import Controller
from orchestrator.runs.watchdog import Patience, Watchdog
from orchestrator.strategies.registry import resolve
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting

STRATEGIES = """
import asyncio, time

async def spin_hard(ops):
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    return []


async def spin(ops):
    while True:
        await asyncio.sleep(0)


async def swallow(ops):
    while True:
        try:
            await ops.sample(ops.root, 2, until="end")
        except Exception:
            pass


async def works(ops):
    for _ in range(40):
        await asyncio.sleep(0.01)
        await ops.sample(ops.root, 1)
    return []
"""


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Runs a strategy for a while under an impatient watchdog; returns what is said of it."""
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.02)
    path = tmp_path / "bad.py"
    path.write_text(STRATEGIES)

    async def run(
        name: str, *, budget: int = 10**12, busy: bool = False, blocked: int = 10**6, idle: int = 10**6
    ) -> list[str]:
        monkeypatch.setattr(watchdog, "BLOCKED_LOOKS", blocked)
        monkeypatch.setattr(watchdog, "IDLE_LOOKS", idle)
        lines: list[str] = []
        at_work = AtWork()
        search = at_work.noting(resolve({"name": f"{path}:{name}"}))
        control = Controller(setting(ScriptedEngine(letters(2))), grader("exact"), Lease(budget))
        problems = [Problem(f"p{i}", "1+1?", "2") for i in range(3)]
        with Watchdog(name, at_work, lambda: busy, lines.append):
            try:
                async with asyncio.timeout(0.6):
                    await control.run(problems, [CODEC.encode("1+1?")] * 3, search)
            except TimeoutError:
                pass
        return [line.replace(str(path), "bad.py") for line in lines]

    return run


async def test_one_that_never_yields_is_named_while_it_computes(said):
    lines = await said("spin_hard", blocked=5)
    assert lines
    assert lines[0].startswith("strategy spin_hard computes for 0 s without an await: bad.py:")
    assert " in spin_hard; all other searches wait for it" in lines[0]
    assert int(lines[0].partition("bad.py:")[2].split()[0]) in (6, 7)


async def test_one_that_asks_for_nothing_is_named_and_its_problems_are_counted(said):
    lines = await said("spin", idle=5)
    assert lines[0].startswith("strategy spin has no operation under way for 0 s: bad.py:13 in spin")
    assert lines[0].endswith("(problem p0 and 2 more)")
    assert len(lines) <= 4, "again at times, each after twice as long"


async def test_one_that_goes_on_after_the_budgets_end_is_named(said):
    lines = await said("swallow", budget=10**6, idle=5)
    assert "has no operation under way" in lines[0]
    assert "bad.py:19 in swallow" in lines[0]


async def test_one_that_works_or_waits_for_engines_is_not(said):
    assert await said("works", idle=20) == []
    assert await said("spin", busy=True, idle=5) == []


def test_patience_doubles_and_begins_anew_with_progress():
    patience = Patience(2)
    assert [patience.look(0) for _ in range(9)] == [0, 0, 2, 0, 4, 0, 0, 0, 8]
    assert [patience.look(1) for _ in range(4)] == [0, 0, 2, 0]
