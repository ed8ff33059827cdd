"""Ray is started beside the event loop: a start that hangs, or is interrupted, ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time

import pytest

from actors.messages import PoolFailed
from orchestrator.config.schema import ClusterConfig
from orchestrator.runs import session


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, int]]:
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(session, "disconnect", lambda: made.append(("disconnect", threading.get_ident())))
    return made


def connecting(monkeypatch, calls, work=lambda: None) -> None:
    def connect(address, specs) -> None:
        work()
        calls.append(("connect", threading.get_ident()))

    monkeypatch.setattr(session, "connect", connect)


async def test_ray_is_started_and_stopped_by_one_thread_that_lives_meanwhile(monkeypatch, calls):
    connecting(monkeypatch, calls)
    async with session._ray(ClusterConfig(), []):
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "ray")
    assert [name for name, _ in calls] == ["connect", "disconnect"]
    assert {ident for _, ident in calls} == {thread.ident}


async def test_the_event_loop_goes_on_while_ray_starts(monkeypatch, calls):
    connecting(monkeypatch, calls, lambda: time.sleep(0.1))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    async with session._ray(ClusterConfig(), []):
        turning.cancel()
    assert turns >= 3


async def test_what_answers_and_is_no_head_of_a_cluster_is_given_up(monkeypatch, calls):
    hanging = threading.Event()
    connecting(monkeypatch, calls, lambda: hanging.wait(5))
    monkeypatch.setattr(session, "JOIN_SECONDS", 0.05)
    with pytest.raises(PoolFailed, match=r"cluster.address=h:1: no head of a Ray cluster has answered there"):
        async with session._ray(ClusterConfig(address="h:1"), []):
            pytest.fail("it is not up")
    hanging.set()


async def test_an_interrupt_while_ray_starts_stops_what_was_started(monkeypatch, calls):
    connecting(monkeypatch, calls, lambda: time.sleep(0.05))

    async def work() -> None:
        async with session._ray(ClusterConfig(), []):
            pytest.fail("it is interrupted")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [name for name, _ in calls] == ["connect", "disconnect"]


async def test_why_ray_does_not_start_reaches_the_caller(monkeypatch, calls):
    def fails() -> None:
        raise PoolFailed("no room")

    connecting(monkeypatch, calls, fails)
    with pytest.raises(PoolFailed, match="no room"):
        async with session._ray(ClusterConfig(), []):
            pytest.fail("it is not up")
    assert calls == []


async def test_signals_are_heard_again_once_ray_has_started(monkeypatch, calls):
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    libc = ctypes.CDLL(None)
    connecting(monkeypatch, calls, lambda: libc.signal(signal.SIGTERM, 1))  # ignored, behind Python's back
    try:
        async with session._ray(ClusterConfig(), []):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


class Told:
    """A session's observer that keeps its notices."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def starting(self, names) -> None: ...

    def ready(self, info) -> None: ...

    def notice(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(
    ("answers", "count"), [([True] * 9, 0), ([True, False, False], 1), ([False, True] * 5, 0)]
)
async def test_a_head_that_is_lost_is_told_with_what_is_kept(monkeypatch, answers, count):
    told, asked, left = Told(), asyncio.Event(), iter(answers)
    loop = asyncio.get_running_loop()

    def head_answers() -> bool:
        answer = next(left, None)
        if answer is None or told.lines:
            loop.call_soon_threadsafe(asked.set)
        return answer is not False

    monkeypatch.setattr(session, "HEAD_SECONDS", 0.001)
    monkeypatch.setattr(session, "head_answers", head_answers)
    told.notice = lambda line: (told.lines.append(line), asked.set())  # type: ignore[method-assign]
    async with session._watched(told), asyncio.timeout(30):
        await asked.wait()
    assert len(told.lines) == count
    assert all("what was computed is kept, and ttc resume goes on with it" in line for line in told.lines)


async def test_a_start_of_ray_that_does_not_end_is_abandoned_by_an_interrupt(monkeypatch, calls):
    hanging = threading.Event()
    connecting(monkeypatch, calls, lambda: hanging.wait(5))
    monkeypatch.setattr(session, "STOP_SECONDS", 0.02)
    monkeypatch.setattr(session, "abandon", lambda: calls.append(("abandon", 0)))
    task = asyncio.create_task(session._ray(ClusterConfig(), []).__aenter__())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == [("abandon", 0)]
    hanging.set()
