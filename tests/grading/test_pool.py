"""Calls in processes of their own: what hangs or dies costs itself alone, and is remembered."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from orchestrator.grading.pool import DIED, REFUSED, TIMED_OUT, AnswersFailed, Outcome, Pool


@pytest.fixture
def pool():
    made = Pool(2, seconds=3.0)
    yield made
    made.close()


def twice(number: int) -> int:
    return 2 * number


def wait_if(number: int) -> int:
    if number == 7:
        time.sleep(120)
    return number


def die_if(number: int) -> int:
    if number == 3:
        os._exit(4)
    return number


def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(3)
    return "answered"


def where(number: int) -> int:
    time.sleep(0.2)
    return os.getpid()


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


def leave(number: int) -> None:
    raise SystemExit(number)


def test_outcomes_are_in_the_order_of_the_calls(pool):
    outcomes = pool.submit(twice, [(i,) for i in range(200)]).result(60)
    assert outcomes == [Outcome(2 * i) for i in range(200)]
    assert pool.submit(twice, []).result(1) == []


def test_a_call_that_hangs_is_given_up_and_never_made_again(pool, caplog):
    outcomes = pool.submit(wait_if, [(i,) for i in range(20)]).result(60)
    assert [outcome.value for outcome in outcomes] == [i if i != 7 else None for i in range(20)]
    assert outcomes[7].failure == TIMED_OUT
    assert "(7,)" in caplog.text
    began = time.monotonic()
    assert pool.submit(wait_if, [(7,), (8,)]).result(60) == [Outcome(failure=REFUSED), Outcome(8)]
    assert time.monotonic() - began < 1.0


def test_a_call_that_ends_its_process_costs_itself_alone(pool, caplog):
    outcomes = pool.submit(die_if, [(i,) for i in range(10)]).result(60)
    assert [outcome.value for outcome in outcomes] == [i if i != 3 else None for i in range(10)]
    assert outcomes[3].failure == DIED
    assert "exit status 4" in caplog.text
    assert pool.submit(die_if, [(3,)]).result(60)[0].failure == REFUSED


def test_a_process_that_dies_is_replaced_and_the_call_made_again(pool, tmp_path):
    assert pool.submit(die_once, [(str(tmp_path / "mark"),)]).result(60) == [Outcome("answered")]


def test_an_error_is_told_with_its_place_and_exit_is_an_error_too(pool):
    (failed, left) = (pool.submit(call, [(5,)]).result(60)[0].failure for call in (fail, leave))
    assert "ValueError: no 5" in failed
    assert "test_pool.py" in failed
    assert "SystemExit" in left


def test_a_large_backlog_has_all_processes(pool):
    assert len({outcome.value for outcome in pool.submit(where, [(i,) for i in range(8)]).result(60)}) == 2


def test_processes_start_when_there_is_work_and_end_with_the_pool():
    pool = Pool(2)
    assert pool._workers == []
    (outcome,) = pool.submit(where, [(0,)]).result(60)
    assert len(pool._workers) == 1, "one call needs one process"
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(outcome.value, 0)


async def test_the_event_loop_goes_on_meanwhile(pool):
    pool.submit(twice, [(1,)]).result(60)  # it is up
    calls = asyncio.wrap_future(pool.submit(where, [(i,) for i in range(8)]))
    turns = 0
    while not calls.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10


def test_a_process_that_cannot_start_is_an_error_and_never_no_answer(tmp_path, monkeypatch):
    (tmp_path / "mpmath.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    pool = Pool(1)
    with pytest.raises(AnswersFailed, match=r"does not start .ImportError: a broken installation"):
        pool.submit(twice, [(1,), (2,)]).result(60)
    pool.close()
