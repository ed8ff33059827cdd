"""The head of a cluster is looked at while a run lasts."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile

import pytest

from actors import head
from actors.head import VARIABLE, Head, outlive_the_head, watched
from actors.messages import PoolFailed


@pytest.fixture
def clean(monkeypatch):
    """An environment without the variables, to which it is put back."""
    for name in (VARIABLE, f"TTC_{VARIABLE}"):
        monkeypatch.setenv(name, "1")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(head, "Config", type("Config", (), {"initialize": staticmethod(lambda text: None)}))
    return monkeypatch


def looking(monkeypatch, answers: list[bool]) -> asyncio.Event:
    """The head answers so, one look after the other, and then always; the event is set with that."""
    left, looked, loop = iter(answers), asyncio.Event(), asyncio.get_running_loop()

    def look(address: str) -> bool:
        assert address == "h:1"
        answer = next(left, None)
        if answer is None:
            loop.call_soon_threadsafe(looked.set)
        return answer is not False

    monkeypatch.setattr(head, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(head, "answers", look)
    monkeypatch.setattr(head, "listens", lambda path: True)
    return looked


async def test_a_head_that_is_away_for_a_while_is_told_and_the_run_goes_on(monkeypatch):
    looked, told = looking(monkeypatch, [True, False, False, True, False]), []
    async with watched(Head("h:1", 60), told.append):
        await looked.wait()
    away = "the head of the Ray cluster at h:1 does not answer; it is awaited for 60 s"
    back = "the head of the Ray cluster at h:1 is back"
    assert told == [away, back, away, back][: len(told)]
    assert len(told) >= 3


async def test_a_head_that_stays_away_ends_what_is_done_meanwhile(monkeypatch):
    looking(monkeypatch, [False] * 100_000)
    with pytest.raises(PoolFailed, match=r"h:1 has not answered for \d+ s"):
        async with watched(Head("h:1", 0.05), lambda line: None):
            await asyncio.sleep(30)


async def test_a_node_of_this_machine_that_has_ended_ends_it_once_the_head_answers(monkeypatch):
    told: list[str] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as raylet:
        path = f"{short}/raylet"
        raylet.bind(path)
        raylet.listen()
        assert head.listens(path)
        raylet.close()
        assert not head.listens(path)
        listens = head.listens
        looking(monkeypatch, [False, False, True])
        monkeypatch.setattr(head, "listens", listens)
        with pytest.raises(PoolFailed, match="the Ray node of this machine has ended"):
            async with watched(Head("h:1", 60, path), told.append):
                await asyncio.sleep(30)
    assert told == ["the head of the Ray cluster at h:1 does not answer; it is awaited for 60 s"]


async def test_an_interrupt_is_still_one(monkeypatch):
    looking(monkeypatch, [])

    async def work() -> None:
        async with watched(Head("h:1", 0.05), lambda line: None):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_this_process_waits_for_longer_than_the_nodes_as_often_as_it_joins(clean):
    assert outlive_the_head() == 60
    assert os.environ[VARIABLE] == "660"
    assert outlive_the_head() == 60, "a second cluster, in the same process"
    clean.delenv(f"TTC_{VARIABLE}")
    clean.setenv(VARIABLE, "300")
    assert outlive_the_head() == 300
    assert os.environ[VARIABLE] == "900"


def test_a_variable_that_is_no_number_is_one_line(clean):
    clean.setenv(VARIABLE, "soon")
    with pytest.raises(ConnectionError, match=f"{VARIABLE}: 'soon' is not usable; allowed: seconds"):
        outlive_the_head()
