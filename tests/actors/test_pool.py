"""Pools on a real Ray, with replicas that compute nothing: loss, retry, cancellation, failure to start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace

import pytest
import ray

from actors.deployment import connect, disconnect
from actors.messages import PoolFailed, RequestFailed
from actors.pool import Pool
from actors.spec import PoolSpec
from tests.support.echo import Echo, request
from tests.support.processes import alive, gone
from tests.support.shared_engines import CPUS

pytestmark = pytest.mark.usefixtures("shared_ray")


async def started(
    replicas: int = 2,
    probe_after: float = 30,
    start_timeout: float = 600,
    return_poll: float = 0.05,
    **options,
) -> Pool:
    times = {"probe_after": probe_after, "start_timeout": start_timeout, "return_poll": return_poll}
    spec = PoolSpec("echo", Echo, "model", replicas, options=options)
    pool = Pool(replace(spec, probe_timeout=1, **times))
    await pool.start(60)
    return pool


async def test_every_request_gets_its_own_result_and_all_replicas_work():
    pool = await started(seconds=0.01)
    try:
        results = await asyncio.gather(*(pool.run(request(i)) for i in range(200)))
        assert [result.tokens for result in results] == [(i,) for i in range(200)]
        assert {result.replica for result in results} == {"echo-0", "echo-1"}
        assert (pool.running, pool.waiting) == (0, 0)
    finally:
        await pool.close()


async def test_a_killed_replicas_requests_are_done_by_the_others_and_it_comes_back():
    pool = await started(seconds=0.2)
    try:
        work = asyncio.gather(*(pool.run(request(i)) for i in range(40)))
        await asyncio.sleep(0.3)
        os.kill(pool.infos[0].pid, signal.SIGKILL)
        results = await work
        assert [result.tokens for result in results] == [(i,) for i in range(40)]
        assert pool.stats.lost_replicas == 1
        assert pool.stats.retried > 0
        killed, deadline = pool.infos[0], time.monotonic() + 120
        while time.monotonic() < deadline:
            again = await asyncio.gather(*(pool.run(request(100 + i)) for i in range(20)))
            if killed.name in {result.replica for result in again}:
                break
        else:
            pytest.fail("the killed replica did not come back")
    finally:
        await pool.close()


async def test_work_waits_while_the_only_replica_is_away():
    pool = await started(replicas=1, seconds=0.2)
    notices: list[str] = []
    pool.on_notice = notices.append
    try:
        work = asyncio.gather(*(pool.run(request(i)) for i in range(8)))
        await asyncio.sleep(0.1)
        os.kill(pool.infos[0].pid, signal.SIGKILL)
        assert [result.tokens for result in await work] == [(i,) for i in range(8)]
        assert "no replica is left for now; 8 requests wait" in notices[1]
        assert "it needs 1 CPU and 0 GPU" in notices[1]
    finally:
        await pool.close()


async def test_a_replica_that_hangs_is_replaced_and_a_slow_one_is_not():
    pool = await started(probe_after=0.5, seconds=1.5)
    notices: list[str] = []
    pool.on_notice = notices.append
    try:
        work = asyncio.gather(*(pool.run(request(i)) for i in range(8)))
        await asyncio.sleep(0.3)
        hanging = pool.infos[0]
        os.kill(hanging.pid, signal.SIGSTOP)
        assert [result.tokens for result in await asyncio.wait_for(work, 30)] == [(i,) for i in range(8)]
        assert pool.stats.lost_replicas == 1
        assert gone([hanging.pid])
        assert f"{hanging.name} is lost (silent for" in notices[0]
        assert "no token in 1 s" in notices[0]
        deadline = time.monotonic() + 60
        while not any("is back after" in line for line in notices):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    finally:
        await pool.close()


async def test_an_idle_replica_that_hangs_is_replaced_and_nothing_waits_for_it():
    pool = await started(replicas=1, probe_after=0.5)
    try:
        hanging = pool.infos[0].pid
        os.kill(hanging, signal.SIGSTOP)
        await asyncio.wait_for(pool.forget(), 10)
        assert (await asyncio.wait_for(pool.run(request(1)), 60)).tokens == (1,)
        assert [info.pid for info in pool.up] != [hanging]
        assert gone([hanging])
    finally:
        await pool.close()


async def test_work_begins_with_the_least_replicas_and_the_next_takes_a_lost_ones_place():
    pool = Pool(PoolSpec("echo", Echo, "model", 3, num_cpus=CPUS / 2, least=2))  # there is room for two
    await pool.start(60)
    try:
        assert len(pool.infos) == 2
        results = await asyncio.gather(*(pool.run(request(i)) for i in range(40)))
        assert [result.tokens for result in results] == [(i,) for i in range(40)]
        for info in pool.infos:
            os.kill(info.pid, signal.SIGKILL)
        assert (await asyncio.wait_for(pool.run(request(99)), 60)).tokens == (99,)
    finally:
        await pool.close()


async def test_cancelled_work_is_aborted_and_its_place_is_free_again():
    pool = await started(replicas=1, capacity=4)
    try:
        stuck = [asyncio.create_task(pool.run(request(i, seed=-1))) for i in range(9)]
        await asyncio.sleep(0.2)
        assert (pool.running, pool.waiting) == (5, 4)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        result = await asyncio.wait_for(pool.run(request(50)), 10)
        assert result.tokens == (50,)
        assert (pool.running, pool.waiting) == (0, 0)
    finally:
        await pool.close()


async def test_a_request_that_kills_every_replica_fails_and_the_others_do_not():
    pool = await started(replicas=1, seconds=0.05)
    try:
        killer = asyncio.create_task(pool.run(request(0, seed=-3)))
        innocents = [asyncio.create_task(pool.run(request(i))) for i in range(100, 120)]
        with pytest.raises(RequestFailed, match="in flight at 5 replicas when they were lost"):
            await killer
        assert [result.tokens for result in await asyncio.gather(*innocents)] == [
            (i,) for i in range(100, 120)
        ]
        assert pool.stats.lost_replicas == 5
        assert (await pool.run(request(1))).tokens == (1,)
        with pytest.raises(ValueError, match="already in flight"):
            await asyncio.gather(pool.run(request(2, seed=2)), pool.run(request(2, seed=2)))
    finally:
        await pool.close()


async def test_a_refused_request_fails_alone():
    pool = await started(replicas=1)
    try:
        good, bad = await asyncio.gather(
            pool.run(request(1)), pool.run(request(2, seed=-2)), return_exceptions=True
        )
        assert good.tokens == (1,)
        assert isinstance(bad, RequestFailed)
        assert "prompt too long" in str(bad)
    finally:
        await pool.close()


async def test_a_replica_that_cannot_start_is_said_in_one_line():
    pool = Pool(PoolSpec("echo", Echo, "broken", 2))
    with pytest.raises(PoolFailed, match=r"echo-\d: does not start: ValueError: the model does not load"):
        await pool.start(60)
    await pool.close()


async def test_a_replica_whose_restart_fails_is_made_anew_and_at_last_given_up(tmp_path):
    blocker = tmp_path / "memory is still held"
    # Its attempts must not all be over before the blocker is away.
    pool = await started(replicas=2, return_poll=0.5, blocker=str(blocker))
    notices: list[str] = []
    pool.on_notice = notices.append

    async def until(found) -> None:
        deadline = time.monotonic() + 90
        while not found():
            assert time.monotonic() < deadline, notices
            await asyncio.sleep(0.05)

    try:
        blocker.touch()
        os.kill(pool.up[0].pid, signal.SIGKILL)
        await until(lambda: len(pool.up) == 1)
        await asyncio.sleep(1)
        blocker.unlink()
        await until(lambda: len(pool.up) == 2)

        blocker.touch()
        first = pool.up[0]
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: any("given up after 3 attempts" in line for line in notices))
        assert (await pool.run(request(1))).tokens == (1,)
        waiting = asyncio.create_task(pool.run(request(2, seed=-1)))
        await asyncio.sleep(0.2)
        os.kill(pool.up[0].pid, signal.SIGKILL)
        with pytest.raises(PoolFailed, match=r"no replica is left: .*the model does not load"):
            await asyncio.wait_for(waiting, 90)
    finally:
        await pool.close()


async def test_a_replica_that_hangs_while_it_restarts_is_made_anew(tmp_path):
    hang = tmp_path / "the model's files do not answer"
    pool = await started(replicas=2, start_timeout=15, hang=str(hang))
    notices: list[str] = []
    pool.on_notice = notices.append
    try:
        hang.touch()
        killed = pool.infos[0]
        os.kill(killed.pid, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while not (hanging := hang.read_text().split()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        hang.unlink()
        while not any(line.startswith(f"{killed.name} is back after") for line in notices):
            assert time.monotonic() < deadline, notices
            await asyncio.sleep(0.1)
        assert f"{killed.name} is not up after 15 s; made anew" in notices
        assert gone(list(map(int, hanging)))
    finally:
        await pool.close()


async def test_replicas_that_find_no_place_are_said_with_what_they_need_and_what_there_is():
    pool = Pool(PoolSpec("echo", Echo, "model", 1, num_cpus=1, num_gpus=8))
    with pytest.raises(
        PoolFailed,
        match=rf"not up after 2 s \(each needs 1 CPU and 8 GPU; free: .* of {CPUS} CPU and 0 of 0 GPU on",
    ):
        await pool.start(2)
    await pool.close()


async def test_no_process_outlives_its_pool():
    pool = await started()
    pids = [info.pid for info in pool.infos]
    assert all(map(alive, pids))
    await pool.close()
    assert gone(pids)


def test_a_ray_that_runs_in_this_process_is_used_and_left_running():
    ran = ray.get_runtime_context().get_job_id()
    for _ in range(2):
        connect(None, [])
        connect(None, [PoolSpec("echo", Echo, "model")])
        disconnect()
        disconnect()
        assert ray.get_runtime_context().get_job_id() == ran
