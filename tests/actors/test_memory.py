"""A replica that takes more memory than its node has: Ray's memory monitor ends it, and its pool goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from actors.messages import SampleRequest
from actors.pool import Pool
from actors.spec import PoolSpec
from tests.support.echo import Echo, request
from tests.support.processes import gone

pytestmark = pytest.mark.cluster

ROOM = 3 * 2**30
"""Bytes beside those in use now that may be used before the monitor kills: more than what else this machine
runs takes meanwhile, and no more than a virtual machine with untouched memory hands out in time."""
SPARE = 2 * 2**30
"""Bytes that a replica leaves free: if nobody stops it, the test fails and not the machine."""
GREEDY = -4


class Hog(Echo):
    """Takes memory until it is stopped, at the first request whose seed is GREEDY that any replica gets."""

    def __init__(self, name: str, model: str, *, first: str, **options) -> None:
        super().__init__(name, model, **options)
        self.first = Path(first)
        self.held: list[bytes] = []

    async def answer(self, request: SampleRequest) -> None:
        if request.seed == GREEDY:
            try:
                self.first.touch(exist_ok=False)
            except FileExistsError:
                pass  # it has killed one already
            else:
                # Whatever else this machine runs may end meanwhile and free memory: it takes that too.
                while psutil.virtual_memory().available > SPARE:
                    self.held.append(b"1" * 2**27)
                    await asyncio.sleep(0.02)
                await asyncio.sleep(3600)
        await super().answer(request)


@pytest.fixture
def threshold() -> Iterator[float]:
    """The share of this machine's memory above which the monitor of a Ray kills: ROOM more than is in use."""
    memory = psutil.virtual_memory()
    if memory.available < ROOM + SPARE:
        pytest.skip(f"too little memory to spare: {memory.available / 2**30:.1f} GB")
    used = (memory.total - memory.available + ROOM) / memory.total
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        _system_config={"memory_usage_threshold": used, "memory_monitor_refresh_ms": 100},
    )
    yield used
    ray.shutdown()


async def test_a_replica_out_of_memory_is_replaced_and_its_requests_are_done_again(
    threshold: float, tmp_path: Path
):
    pool = Pool(PoolSpec("hog", Hog, "model", 2, options={"seconds": 0.05, "first": str(tmp_path / "first")}))
    notices: list[str] = []
    pool.on_notice = notices.append
    await pool.start(60)
    try:
        before = {info.name: info.pid for info in pool.infos}
        seeds = [GREEDY if i == 20 else i for i in range(100)]
        work = (pool.run(request(i, seed=seed)) for i, seed in enumerate(seeds))
        results = await asyncio.wait_for(asyncio.gather(*work), 300)
        assert [result.tokens for result in results] == [(seed,) for seed in seeds]
        assert pool.stats.lost_replicas >= 1  # Ray may end others first, newer ones or larger
        for _ in range(300):
            if len(pool.up) == 2:
                break
            await asyncio.sleep(0.1)
        if len(pool.up) < 2 and psutil.virtual_memory().percent / 100 > threshold:
            pytest.skip("what else this machine runs has taken the memory: a new replica is ended at once")
        now = {info.name: info.pid for info in pool.up}
        assert now.keys() == before.keys()
        assert any(" is back after " in line for line in notices)
        assert gone([before[name] for name in before if now[name] != before[name]])
    finally:
        await pool.close()
