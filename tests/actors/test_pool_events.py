"""Pools whose replicas fail at a chosen moment: links in this process, no Ray."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayError

from actors.faults import last_frame, reason, told
from actors.handle import Broken, Gone, Lost
from actors.messages import PoolFailed, ReplicaInfo, RequestFailed, SampleRequest, SampleResult
from actors.pool import Pool
from actors.printed import PRINTED, Printed
from actors.replica import Replica
from actors.spec import PoolSpec


class Scripted:
    """A replica of ``capacity`` that answers with the seed, at once; never if the seed is -1. Calls are kept
    in ``calls``; ``before(method, argument)`` may wait, or raise what the link then raises."""

    id = ""

    def __init__(self, name: str, capacity: int = 4) -> None:
        self.name, self.capacity, self.pid = name, capacity, 1
        self.calls: list[tuple[str, Any]] = []
        self.before: Callable[[str, Any], Any] | None = None
        self.running: set[str] = set()
        self.ready: asyncio.Queue[SampleResult] = asyncio.Queue()

    async def call(self, method: str, argument: Any = None) -> Any:
        self.calls.append((method, argument))
        if self.before is not None and (waiting := self.before(method, argument)) is not None:
            await waiting
        return await getattr(self, method)(argument)

    def restart(self) -> None:
        self.calls.append(("restart", None))
        self.running.clear()

    def kill(self) -> None:
        self.calls.append(("kill", None))

    async def info(self, _: None) -> ReplicaInfo:
        return ReplicaInfo(self.name, "node", self.pid, 100, self.capacity, 1000, 0.0)

    async def submit(self, requests: list[SampleRequest]) -> None:
        for request in requests:
            if request.id in self.running:  # as a replica does
                continue
            self.running.add(request.id)
            if request.seed != -1:
                self.ready.put_nowait(SampleResult(request.id, (request.seed,), "step", 1, self.name))

    async def collect(self, _: None) -> list[SampleResult]:
        result = await self.ready.get()
        self.running.discard(result.id)
        return [result]

    async def abort(self, ids: list[str]) -> None:
        self.running.difference_update(ids)

    async def ping(self, _: None) -> float:
        return 0.0

    async def shutdown(self, _: None) -> None: ...

    def called(self, method: str) -> list[Any]:
        return [argument for name, argument in self.calls if name == method]


async def started(replicas: int = 1, **values: Any) -> tuple[Pool[SampleResult], list[Scripted]]:
    """A pool, and its replicas' links in the order of their making."""
    links: list[Scripted] = []

    def connect(_: PoolSpec, name: str) -> Scripted:
        links.append(Scripted(name))
        return links[-1]

    pool: Pool[SampleResult] = Pool(PoolSpec("scripted", Replica, "model", replicas, **values), connect)
    await pool.start(10)
    return pool, links


def request(id: str, seed: int) -> SampleRequest:
    return SampleRequest(id, (1,), seed, 1)


async def until(found: Callable[[], Any]) -> None:
    for _ in range(2000):
        if found():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in 20 s")


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


def test_the_last_frame_is_not_rays_and_its_path_is_that_of_its_package():
    vllm = '  File "/v/lib/python3.13/site-packages/vllm/config/model.py", line 7, in check\n'
    ray = '  File "/v/lib/python3.13/site-packages/ray/worker.py", line 9, in get\n'
    assert last_frame(TRACEBACK + vllm + ray) == "vllm/config/model.py:7 in check"
    assert last_frame("no traceback") == ""


PYDANTIC = """ValidationError: 2 validation errors for SchedulerConfig
max_num_seqs
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]
    For further information visit https://errors.pydantic.dev/2.12/v/greater_than_equal
policy
  Value error, no such policy [type=value_error, input_value='no', input_type=str]
    For further information visit https://errors.pydantic.dev/2.12/v/value_error"""

PARALLEL = """pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig
  Value error, World size (2) is larger than the number of available GPUs (1) in this node. If this is \
intentional and you are using:
- ray, set '--distributed-executor-backend ray'.
- multiprocessing, set '--nnodes' appropriately. [type=value_error, input_value=ArgsKwargs(()), \
input_type=ArgsKwargs]"""


def test_each_field_that_pydantic_refuses_is_told_with_its_reason_and_no_header():
    expected = (
        "SchedulerConfig.max_num_seqs: Input should be greater than or equal to 1 (it is 0); "
        "SchedulerConfig.policy: no such policy (it is 'no')"
    )
    assert told(PYDANTIC.splitlines()) == expected
    assert reason(RayError(f"The actor died\n  File x\n{PYDANTIC}")) == expected
    whole = "1 validation error for ModelConfig\n  Value error, too long [type=value_error, input_value="
    whole = f"{whole}{'x' * 99}, input_type=ArgsKwargs]"
    assert told(whole.splitlines()) == "ModelConfig: too long"
    assert told(["ValueError: one line", "another"]) == "ValueError: one line"


def test_a_refusal_of_several_lines_is_told_whole():
    assert reason(RayError(f"The actor died\n  File x\n{PARALLEL}")) == (
        "ParallelConfig: World size (2) is larger than the number of available GPUs (1) in this node. If "
        "this is intentional and you are using: - ray, set '--distributed-executor-backend ray'. "
        "- multiprocessing, set '--nnodes' appropriately."
    )


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


def test_what_tells_something_is_taken_of_what_was_printed():
    printed = Printed()
    printed.add(
        "a",
        [
            "(EngineCore pid=7) ERROR 11-30 04:00:00 [core.py:93] RuntimeError: no kernel image",
            '  File "x.py", line 1, in f',
            "",
            "\x1b[36mFatal Python error: Segmentation fault\x1b[0m",
            "Extension modules: numpy",
        ],
    )
    printed.add("b", ["one", "two", "three", "four"])
    assert printed.take("a") == "RuntimeError: no kernel image | Fatal Python error: Segmentation fault"
    assert printed.take("a") == ""
    assert printed.take("b") == "two | three | four"
