"""Ray is started beside the event loop: a start that hangs, or is interrupted, ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time

import pytest

from actors import head
from actors.head import Head
from actors.messages import PoolFailed
from orchestrator.config.schema import ClusterConfig
from orchestrator.runs import session


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, int]]:
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(session, "disconnect", lambda: made.append(("disconnect", threading.get_ident())))
    return made


def ended(thread: threading.Thread) -> None:
    """Waits for the thread that has started Ray: after the test it would stop the one that all share."""
    thread.join(30)
    assert not thread.is_alive()


def ray_thread() -> threading.Thread:
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "ray")
    return thread


def connecting(monkeypatch, calls, work=lambda: None) -> None:
    def connect(address, specs) -> Head | None:
        work()
        calls.append(("connect", threading.get_ident()))
        return None if address is None else Head(address, 0.02)

    monkeypatch.setattr(session, "connect", connect)


async def test_ray_is_started_and_stopped_by_one_thread_that_lives_meanwhile(monkeypatch, calls):
    connecting(monkeypatch, calls)
    async with session._ray(ClusterConfig(), [], print):
        thread = ray_thread()
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
    async with session._ray(ClusterConfig(), [], print):
        turning.cancel()
    assert turns >= 3


async def test_what_answers_and_is_no_head_of_a_cluster_is_given_up(monkeypatch, calls):
    hanging = threading.Event()
    connecting(monkeypatch, calls, lambda: hanging.wait(30))
    monkeypatch.setattr(session, "JOIN_SECONDS", 0.05)
    with pytest.raises(PoolFailed, match=r"cluster.address=h:1: no head of a Ray cluster has answered there"):
        async with session._ray(ClusterConfig(address="h:1"), [], print):
            pytest.fail("it is not up")
    thread = ray_thread()
    hanging.set()
    ended(thread)
    assert [name for name, _ in calls] == ["connect", "disconnect"], "what joins later leaves at once"


async def test_an_interrupt_while_ray_starts_stops_what_was_started(monkeypatch, calls):
    connecting(monkeypatch, calls, lambda: time.sleep(0.05))

    async def work() -> None:
        async with session._ray(ClusterConfig(), [], print):
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
        async with session._ray(ClusterConfig(), [], print):
            pytest.fail("it is not up")
    assert calls == []


async def test_signals_are_heard_again_once_ray_has_started(monkeypatch, calls):
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    libc = ctypes.CDLL(None)
    connecting(monkeypatch, calls, lambda: libc.signal(signal.SIGTERM, 1))  # ignored, behind Python's back
    try:
        async with session._ray(ClusterConfig(), [], print):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


async def test_a_cluster_whose_head_is_lost_is_left_and_the_run_ends(monkeypatch, calls):
    connecting(monkeypatch, calls)
    monkeypatch.setattr(head, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(head, "answers", lambda address: False)
    with pytest.raises(PoolFailed, match="the head of the Ray cluster at h:1 has not answered for"):
        async with session._ray(ClusterConfig(address="h:1"), [], print):
            await asyncio.sleep(30)
    assert [name for name, _ in calls] == ["connect", "disconnect"]


async def test_a_start_of_ray_that_does_not_end_is_abandoned_by_an_interrupt(monkeypatch, calls):
    hanging = threading.Event()
    connecting(monkeypatch, calls, lambda: hanging.wait(30))
    monkeypatch.setattr(session, "STOP_SECONDS", 0.02)
    monkeypatch.setattr(session, "abandon", lambda: calls.append(("abandon", 0)))
    task = asyncio.create_task(session._ray(ClusterConfig(), [], print).__aenter__())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == [("abandon", 0)]
    thread = ray_thread()
    hanging.set()
    ended(thread)
    assert [name for name, _ in calls] == ["abandon", "connect", "disconnect"]
