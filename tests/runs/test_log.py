"""A failure keeps its traceback in the log, and its last frame in the line that is shown."""

from __future__ import annotations

import logging

import pytest

from orchestrator.budget.ledger import Lease
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.log import FILE, logged
from orchestrator.strategies.registry import resolve
from tests.support.scripted import CODEC, GENERATOR, VERIFIER, ScriptedEngine, letters, setting

BREAKS = """
async def search(ops):
    await ops.sample(ops.root, 1)
    return helper(ops)


def helper(ops):
    return 1 / 0
"""


async def test_a_strategy_that_breaks_is_in_the_log_and_its_line_is_shown(tmp_path):
    path = tmp_path / "breaks.py"
    path.write_text(BREAKS)
    problems = [Problem("p", "1+1?", "2")]
    control = Controller(setting(ScriptedEngine(letters(2))), grader("exact"), Lease(10**12))
    with logged(tmp_path, "info"):
        (result,) = await control.run(problems, [CODEC.encode("1+1?")], resolve({"name": f"{path}:search"}))
    assert result.error == f"ZeroDivisionError: division by zero ({path}:8 in helper)"
    log = (tmp_path / FILE).read_text()
    assert "ERROR orchestrator.runs.controller: the search of problem p failed" in log
    assert f'File "{path}", line 4, in search' in log
    assert "ZeroDivisionError" in log


async def test_an_error_in_the_project_itself_is_placed_in_the_users_file(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("async def search(ops):\n    return await ops.sample(ops.root, 'many')\n")
    control = Controller(setting(ScriptedEngine(letters(2))), grader("exact"), Lease(10**12))
    (result,) = await control.run(
        [Problem("p", "1+1?", "2")], [CODEC.encode("1+1?")], resolve({"name": f"{path}:search"})
    )
    assert f"{path}:2 in search" in result.error


def test_a_log_has_the_level_that_is_asked_for_and_is_continued(tmp_path):
    log = logging.getLogger("orchestrator.runs.run")
    before = logging.getLogger("orchestrator").level
    for level in ("warning", "debug"):
        with logged(tmp_path, level):
            log.debug("small %s", level)
            log.warning("large %s", level)
    lines = [line.partition("run: ")[2] for line in (tmp_path / FILE).read_text().splitlines()]
    assert lines == ["large warning", "small debug", "large debug"]
    assert logging.getLogger("orchestrator").level == before


BODIES = {
    "exits": "raise SystemExit(3)",
    "base": "raise Odd()",
    "group": "async with asyncio.TaskGroup() as group:\n        group.create_task(bad())",
    "mute": "raise Mute()",
    "root": "return [ops.root]",
    "none": "return None",
}
HEAD = """
import asyncio

class Odd(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

async def bad():
    raise KeyError("inner")

"""


@pytest.mark.parametrize("body", BODIES)
async def test_whatever_a_strategy_does_costs_its_own_problem_alone(tmp_path, body):
    path = tmp_path / f"{body}.py"
    path.write_text(
        f"{HEAD}async def search(ops):\n    if ops.problem.id == 'good':\n"
        f"        return await ops.sample(ops.root, 1, until='end')\n    {BODIES[body]}\n"
    )
    problems = [Problem("bad", "1+1?", "2"), Problem("good", "1+1?", "2")]
    lease = Lease(10**12)
    control = Controller(setting(ScriptedEngine(letters(2))), grader("exact"), lease)
    with logged(tmp_path, "info"):
        bad, good = await control.run(
            problems, [CODEC.encode("1+1?")] * 2, resolve({"name": f"{path}:search"})
        )
    assert bad.error
    assert "\n" not in bad.error
    assert (good.error, len(good.solutions)) == (None, 1)
    assert lease.settled == control.usage.flops
    assert "the search of problem bad failed" in (tmp_path / FILE).read_text()
    if body == "group":
        assert bad.error.startswith("KeyError: 'inner'")


async def test_a_task_group_that_meets_the_budgets_end_is_a_search_cut_short(tmp_path):
    path = tmp_path / "grouped.py"
    path.write_text(
        "import asyncio\nasync def search(ops):\n    while True:\n"
        "        async with asyncio.TaskGroup() as group:\n            for _ in range(3):\n"
        "                group.create_task(ops.sample(ops.root, 1, until='end'))\n"
    )
    budget = (
        GENERATOR.prefill(4) + VERIFIER.prefill(4) + 8 * (GENERATOR.sample(4, 32) + VERIFIER.score(4, 36))
    )
    control = Controller(setting(ScriptedEngine(letters(2))), grader("exact"), Lease(budget))
    search = resolve({"name": f"{path}:search"})
    (result,) = await control.run([Problem("p", "1+1?", "2")], [CODEC.encode("1+1?")], search)
    assert (result.error, result.exhausted) == (None, True)
    assert len(result.solutions) >= 8


def test_a_full_disk_costs_the_log_a_record_and_prints_no_traceback(tmp_path, capsys, monkeypatch):
    def full(stream, text: str) -> None:
        raise OSError(28, "No space left on device")

    with logged(tmp_path, "info"):
        (handler,) = (
            h for h in logging.getLogger("orchestrator").handlers if isinstance(h, logging.FileHandler)
        )
        monkeypatch.setattr(
            handler, "stream", type("Full", (), {"write": full, "flush": str, "close": str})()
        )
        logging.getLogger("orchestrator.runs").error("lost")
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_closed_on_a_full_disk_leaves_the_runs_own_error(tmp_path, capsys):
    (tmp_path / FILE).symlink_to("/dev/full")

    def fail() -> None:
        logging.getLogger("orchestrator.runs").error("one record")
        raise ValueError("the run's own")

    with pytest.raises(ValueError, match="the run's own"), logged(tmp_path, "info"):
        fail()
    assert "Traceback" not in capsys.readouterr().err
