"""Replicas on nodes that are to end, and say so before: links in this process, no Ray."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from actors import leaving
from actors.handle import Gone, Lost
from actors.messages import ReplicaInfo
from actors.pool import Pool
from tests.support.links import Scripted, request, started, until


async def relieved(**values: Any) -> tuple[Pool, list[Scripted], asyncio.Event, list[str]]:
    """A pool of one replica, whose node is to end, and of its successor, which is up with the event."""
    pool, links = await started(return_poll=0.01, **values)
    up, notices = asyncio.Event(), list[str]()
    pool.on_notice = notices.append
    connect = pool._connect

    def held(spec: Any, name: str) -> Any:
        link = connect(spec, name)
        link.before = lambda method, _: up.wait() if method == "info" else None
        return link

    pool._connect = held
    pool.replace_on({"another"})
    assert not notices
    for _ in range(2):  # it is seen again at the next look
        pool.replace_on({"node"})
    await until(lambda: len(links) == 2 and links[1].called("info"))
    assert notices == ["scripted-0 gets a successor: its node is to end"]
    return pool, links, up, notices


async def test_a_replica_whose_node_is_to_end_serves_until_its_successor_is_up():
    pool, links, up, notices = await relieved()
    try:
        assert (await pool.run(request("a", 1))).tokens == (1,)
        unanswered = asyncio.create_task(pool.run(request("b", -1)))
        await until(lambda: links[0].running)
        assert not links[1].called("submit")
        up.set()
        await until(lambda: links[1].running)
        assert links[0].called("kill")
        assert (await pool.run(request("c", 2))).tokens == (2,)
        assert [len(link.called("submit")) for link in links] == [2, 2]
        assert "its node is to end, and its successor is up); its 1 requests are done again" in notices[1]
        assert notices[-1].startswith("scripted-0 is back after")
        unanswered.cancel()
    finally:
        await pool.close()


async def test_a_successor_takes_the_place_of_a_replica_that_is_lost_before_it_is_up():
    pool, links, up, _ = await relieved()
    try:

        def out_of_reach(method: str, _: Any) -> None:
            raise Lost("no route")

        links[0].before = out_of_reach
        work = asyncio.create_task(pool.run(request("a", 1)))
        await until(lambda: links[0].called("kill"))
        up.set()
        assert (await work).tokens == (1,)
        assert len(links) == 2
    finally:
        await pool.close()
    assert links[1].called("kill")


async def test_a_replica_whose_successor_does_not_start_serves_on():
    pool, links, up, _ = await relieved()

    async def dead(_: None) -> ReplicaInfo:
        raise Gone("no memory")

    links[1].info = dead  # type: ignore[method-assign]
    try:
        up.set()
        await until(lambda: links[1].called("kill"))
        assert (await pool.run(request("a", 1))).tokens == (1,)
        assert links[0].called("submit")
        assert len(links) == 2
    finally:
        await pool.close()


async def test_a_pool_that_closes_ends_a_successor_that_is_not_up():
    pool, links, _, _ = await relieved()
    await pool.close()
    assert links[1].called("kill")


async def test_a_look_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch):
    answers = iter([grpc.RpcError("away"), OSError("away"), {"n1"}])

    def look() -> set[str]:
        answer = next(answers, set())
        if isinstance(answer, Exception):
            raise answer
        return answer

    seen: list[set[str]] = []
    pool: Any = SimpleNamespace(replace_on=seen.append)
    monkeypatch.setattr(leaving, "leaving", look)
    monkeypatch.setattr(leaving, "LOOK_SECONDS", 0.001)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await leaving.replace_leaving([pool])
    assert seen[:2] == [{"n1"}, set()]
