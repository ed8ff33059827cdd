"""Pools whose replicas fail at a chosen moment: links in this process, no Ray."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from actors.handle import Broken, Gone, Lost
from actors.messages import PoolFailed, ReplicaInfo, RequestFailed, SampleResult
from actors.pool import Pool
from actors.replica import Replica
from actors.spec import PoolSpec
from tests.support.links import Scripted, request, started, until


async def test_a_request_is_told_of_as_it_is_taken_to_a_replica_and_not_while_it_waits():
    pool, (link,) = await started()
    taken: list[tuple[str, str]] = []
    pool.on_taken = lambda replica, requests: taken.extend((replica, each.id) for each in requests)
    running = [asyncio.create_task(pool.run(request(f"r{i}", -1))) for i in range(50)]
    try:
        await until(lambda: link.running)
        room = len(link.running)
        assert room < 50
        assert taken == [(pool.infos[0].name, f"r{i}") for i in range(room)]
        assert pool.waiting == 50 - room
        running[0].cancel()
        await until(lambda: taken[room:] == [(pool.infos[0].name, f"r{room}")])
    finally:
        for each in running:
            each.cancel()
        await pool.close()


async def test_an_abort_that_did_not_arrive_is_sent_when_the_replica_is_back():
    pool, (link,) = await started()
    try:
        unwanted = asyncio.create_task(pool.run(request("x", -1)))
        await until(lambda: link.running)

        def out_of_reach(method: str, _: Any) -> None:
            if method in ("abort", "collect"):
                link.before = None
                raise Lost("no route")

        link.before = out_of_reach
        unwanted.cancel()
        await until(lambda: len(link.called("info")) == 2)
        await until(lambda: pool.up)
        assert link.called("abort") == [["x"], ["x"]]
        assert not link.running
    finally:
        await pool.close()


async def test_a_replica_that_was_restarted_unseen_gets_its_requests_again():
    pool, (link,) = await started(probe_after=0.05)
    try:
        asked = asyncio.create_task(pool.run(request("x", -1)))
        await until(lambda: link.running)
        link.running.clear()
        link.pid = 2  # another process, which answers pings
        await until(lambda: len(link.called("submit")) == 2)
        assert pool.stats.lost_replicas == 1
        asked.cancel()
    finally:
        await pool.close()


async def test_an_id_that_comes_again_is_submitted_after_the_abort_of_the_one_before():
    pool, (link,) = await started()
    try:
        first = {id: asyncio.create_task(pool.run(request(id, -1))) for id in "xy"}
        await until(lambda: len(link.running) == 2)
        release = asyncio.Event()
        link.before = lambda method, _: release.wait() if method == "abort" else None
        first["y"].cancel()
        await until(lambda: link.called("abort"))
        first["x"].cancel()  # while the abort of y is on its way
        await asyncio.wait([first["x"]])
        again = asyncio.create_task(pool.run(request("x", 2)))
        await asyncio.sleep(0)
        release.set()
        assert (await asyncio.wait_for(again, 10)).tokens == (2,)
    finally:
        await pool.close()


async def test_what_travels_with_a_request_that_kills_its_replicas_is_done():
    pool, (link,) = await started(return_poll=0.01)

    def die(method: str, requests: Any) -> None:
        if method == "submit" and any(request.id == "killer" for request in requests):
            link.running.clear()
            raise Lost("it died")

    link.before = die
    try:
        ids = ["killer", *map(str, range(20))]
        work = [pool.run(request(id, seed)) for seed, id in enumerate(ids)]
        killer, *others = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 20)
        assert isinstance(killer, RequestFailed)
        assert [result.tokens for result in others] == [(seed,) for seed in range(1, 21)]
        assert pool.stats.lost_replicas == 5
    finally:
        await pool.close()


async def test_a_replica_whose_restart_hangs_is_made_anew_as_often_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
):
    pool, links = await started(start_timeout=0.1)
    notices: list[str] = []
    pool.on_notice = notices.append

    def die(method: str, _: Any) -> None:
        if method == "collect":
            raise Lost("it died")

    try:
        monkeypatch.setattr(Scripted, "info", lambda *_: asyncio.sleep(3600))
        links[0].before = die
        links[0].ready.put_nowait(SampleResult("nobody's", (), "step", 1, ""))  # ends the call under way
        await until(lambda: len(links) == 3)
        monkeypatch.undo()
        assert (await asyncio.wait_for(pool.run(request("x", 1)), 10)).tokens == (1,)
        assert [len(link.called("kill")) for link in links[-2:]] == [1, 0]
        late = [line for line in notices if "not up" in line]
        assert late == ["scripted-0 is not up after 0.1 s; made anew"] * (len(links) - 1)
    finally:
        await pool.close()


@pytest.mark.parametrize("method", ["submit", "collect"])
async def test_an_exception_in_a_replica_restarts_it_and_the_others_go_on(method: str):
    pool, links = await started(2)

    def once(called: str, _: Any) -> None:
        if called == method:
            links[0].before = None
            raise Broken("MemoryError")

    links[0].before = once
    try:
        work = (pool.run(request(str(seed), seed)) for seed in range(40))
        results = await asyncio.wait_for(asyncio.gather(*work), 20)
        assert [result.tokens for result in results] == [(seed,) for seed in range(40)]
        await until(lambda: len(pool.up) == 2)
        assert [len(link.called("restart")) for link in links] == [1, 0]
    finally:
        await pool.close()


async def test_a_replica_that_only_raises_is_given_up_and_without_another_its_pool_fails():
    pool, links = await started(2)
    notices: list[str] = []
    pool.on_notice = notices.append

    def always(called: str, _: Any) -> None:
        if called in ("submit", "collect"):
            raise Broken("MemoryError")

    async def all_done() -> None:
        await asyncio.wait_for(asyncio.gather(*(pool.run(request(str(i), i)) for i in range(20))), 20)

    def once(called: str, argument: Any) -> None:
        links[0].before = None if called == "collect" else once
        always(called, argument)

    try:
        for _ in range(4):  # with results in between it goes on
            links[0].before = once
            await all_done()
            await until(lambda: len(pool.up) == 2)
            await all_done()  # each replica has its share
        assert len(links[0].called("restart")) >= 3
        links[0].before = always
        links[0].ready.put_nowait(SampleResult("nobody's", (), "step", 1, ""))  # ends the call under way
        await until(lambda: any("given up" in line for line in notices))
        assert notices[-1] == "scripted-0 is given up after 3 errors without a result: MemoryError"
        await all_done()
        links[1].before = always
        links[1].ready.put_nowait(SampleResult("nobody's", (), "step", 1, ""))
        with pytest.raises(PoolFailed, match=r"no replica is left: .*3 errors without a result: MemoryError"):
            await asyncio.wait_for(pool.run(request("stuck", -1)), 20)
    finally:
        await pool.close()


TRACEBACK = """The actor died because of an error raised in its creation task, ray::Generator.__init__()
  File "/somewhere/ttc/actors/replica.py", line 64, in __init__
    engine_options(model, dtype=dtype, seed=seed, options=options), self._on_outcomes
  File "/somewhere/ttc/actors/engine.py", line 118, in engine_options
    raise ValueError(f"engine.{name}: not an option")
ValueError: engine.x: not an option"""
FRAME = "actors/engine.py:118 in engine_options"


async def test_a_replica_that_does_not_start_leaves_its_traceback(caplog: pytest.LogCaptureFixture):
    class Failing(Scripted):
        async def info(self, _: None) -> ReplicaInfo:
            raise Gone("ValueError: engine.x: not an option", TRACEBACK)

    pool: Pool[SampleResult] = Pool(PoolSpec("scripted", Replica, "model"), lambda _, name: Failing(name))
    with caplog.at_level(logging.WARNING, "actors.pool"):
        with pytest.raises(PoolFailed) as failed:
            await pool.start(10)
        await pool.close()
    assert str(failed.value) == f"scripted-0: does not start: ValueError: engine.x: not an option ({FRAME})"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"scripted-0 does not start\n{TRACEBACK}"


@pytest.mark.parametrize(("kind", "method"), [(Lost, "collect"), (Gone, "submit"), (Broken, "submit")])
async def test_a_lost_replica_leaves_the_traceback_of_its_loss(
    kind: type[Lost | Gone | Broken], method: str, caplog: pytest.LogCaptureFixture
):
    pool, (link,) = await started()
    notices: list[str] = []
    pool.on_notice = notices.append

    def once(called: str, _: Any) -> None:
        if called == method:
            link.before = None
            link.running.clear()
            raise kind("ValueError: engine.x: not an option", TRACEBACK)

    link.before = once
    try:
        with caplog.at_level(logging.WARNING, "actors.pool"):
            work = asyncio.gather(*(pool.run(request(str(seed), seed)) for seed in range(2)))
            await asyncio.wait_for(work, 20)
    finally:
        await pool.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("scripted-0 is lost: ")
    assert TRACEBACK in record.getMessage()
    assert f"is lost (ValueError: engine.x: not an option ({FRAME})); its" in notices[0]


async def test_an_exception_in_the_pool_itself_fails_it_and_leaves_its_traceback(
    caplog: pytest.LogCaptureFixture,
):
    pool: Pool[SampleResult] = Pool(PoolSpec("scripted", Replica, "model"), lambda _, name: Scripted(name))

    def no_screen(info: ReplicaInfo) -> None:
        raise OSError("no screen")

    with caplog.at_level(logging.WARNING, "actors.pool"):
        with pytest.raises(PoolFailed) as failed:
            await pool.start(10, on_ready=no_screen)
        await pool.close()
    line = str(failed.value)
    assert line.startswith("scripted: scripted-0: OSError: no screen (actors/test_pool_events.py:")
    assert line.endswith(" in no_screen)")
    (record,) = caplog.records
    assert 'raise OSError("no screen")' in record.getMessage()
