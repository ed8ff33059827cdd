"""Replicas that do not start: what is tried again, and what is said."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from actors.handle import Gone, Lost
from actors.messages import PoolFailed, ReplicaInfo, SampleResult
from actors.pool import Pool
from actors.printed import PRINTED
from actors.replica import Replica
from actors.spec import PoolSpec
from tests.support.links import Scripted


def starting(fail: Exception, tries: list[str], good: int = 99) -> Callable[[PoolSpec, str], Scripted]:
    """Makes links of which the first ``good`` fail as they start."""

    class Dying(Scripted):
        async def info(self, _: None) -> ReplicaInfo:
            tries.append(self.name)
            if len(tries) <= good:
                raise fail
            return await super().info(None)

    return lambda _, name: Dying(name)


SPEC = PoolSpec("scripted", Replica, "model", return_poll=0.01)


async def test_a_replica_that_dies_as_it_starts_is_tried_twice_and_said_with_what_it_printed():
    tries: list[str] = []
    pool: Pool[SampleResult] = Pool(SPEC, starting(Lost("ActorUnavailableError: away"), tries))
    notices: list[str] = []

    def noticed(line: str) -> None:
        notices.append(line)
        PRINTED.add("scripted-0", ["  File x", "CUDA error: no kernel image"])

    pool.on_notice = noticed
    with pytest.raises(PoolFailed) as failed:
        await asyncio.wait_for(pool.start(600), 10)
    await pool.close()
    assert len(tries) == 2
    assert notices == [
        "scripted-0 does not start (ActorUnavailableError: away); it is tried once more",
    ]
    assert str(failed.value) == (
        "scripted-0: does not start (tried 2 times): ActorUnavailableError: away; it printed: CUDA error: no "
        "kernel image"
    )


@pytest.mark.parametrize(
    ("why", "times"),
    [
        ("ModelConfig: User-specified max_model_len (9) is greater than the derived one", 1),
        ("ValueError: engine.x: not an option", 1),
        ("FirstPassError: the model's first pass failed: RuntimeError: head_dim=16", 2),
        ("ValueError: Free memory on device cuda:0 (1/24 GiB) on startup is less than desired", 2),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 2),
    ],
)
async def test_a_start_that_raises_is_tried_again_only_where_that_may_help(why: str, times: int):
    tries: list[str] = []
    pool: Pool[SampleResult] = Pool(SPEC, starting(Gone(why), tries))
    with pytest.raises(PoolFailed, match=re.escape(why)):
        await asyncio.wait_for(pool.start(600), 10)
    await pool.close()
    assert len(tries) == times


async def test_a_second_start_that_succeeds_is_all_that_is_needed():
    tries: list[str] = []
    pool: Pool[SampleResult] = Pool(SPEC, starting(Lost("it died"), tries, good=1))
    await asyncio.wait_for(pool.start(600), 10)
    assert len(tries) == 2
    assert [info.name for info in pool.up] == ["scripted-0"]
    await pool.close()
