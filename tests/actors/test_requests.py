"""A pool's requests: who awaits them, which replica has them, for how long a replica is busy. No replica."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import requests as requests_module
from actors.messages import Failure, RequestFailed, SampleResult
from actors.requests import MAX_LOSSES, Requests
from tests.support.links import request


class Told(Requests):
    """Requests that keep what their pool is asked to tell replicas."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.aborted: list[tuple[str, str]] = []
        super().__init__(self.woken.append, lambda replica, id: self.aborted.append((replica, id)))

    async def begin(self, *ids: str) -> list[asyncio.Task[Any]]:
        """Has callers await these requests."""
        callers = [asyncio.create_task(self.answer(request(id, 1))) for id in ids]
        await asyncio.sleep(0)
        return callers


def result(id: str, *tokens: int) -> SampleResult:
    return SampleResult(id, tokens, "step", 1, "")


async def test_a_result_goes_to_its_caller_and_the_tokens_are_counted():
    requests = Told()
    requests.join("a", 2)
    first, second, third = await requests.begin("1", "2", "3")
    assert requests.woken.count("a") >= 1
    assert [each.id for each in requests.take("a")] == ["1", "2"]
    assert (requests.running, requests.waiting) == (2, 1)
    requests.settle("a", [Failure("1", "too long", "a"), result("2", 7, 8)])
    with pytest.raises(RequestFailed, match="too long"):
        await first
    assert (await second).tokens == (7, 8)
    assert (requests.stats.requests, requests.stats.tokens) == (3, 2)
    assert [each.id for each in requests.take("a")] == ["3"]
    requests.settle("b", [result("3", 1)])  # it does not run there
    assert not third.done()
    requests.settle("a", [result("3", 9)])
    assert (await third).tokens == (9,)


async def test_an_id_is_taken_while_it_is_in_flight_and_free_afterwards():
    requests = Told()
    requests.join("a", 2)
    (first,) = await requests.begin("1")
    with pytest.raises(ValueError, match="request 1 is already in flight"):
        await requests.answer(request("1", 1))
    requests.take("a")
    requests.settle("a", [result("1")])
    await first
    (again,) = await requests.begin("1")
    assert not again.done()
    again.cancel()


async def test_a_caller_that_is_cancelled_has_its_request_aborted_where_it_runs_and_nowhere_else():
    requests = Told()
    requests.join("a", 1)
    runs, waits = await requests.begin("1", "2")
    requests.take("a")
    waits.cancel()
    runs.cancel()
    await asyncio.wait([runs, waits])
    assert requests.aborted == [("a", "1")]
    assert (requests.running, requests.waiting) == (0, 0)
    assert not requests.take("a")


async def test_what_runs_at_a_lost_replica_is_done_by_another():
    requests = Told()
    callers = await requests.begin("1", "2", "3")
    requests.join("a", 2)
    requests.take("a")
    assert requests.leave("a", "it died") == ["1", "2"]
    requests.join("b", 4)
    assert sorted(each.id for each in requests.take("b")) == ["1", "2", "3"]
    requests.settle("b", [result(id) for id in "123"])
    assert [answer.id for answer in await asyncio.gather(*callers)] == ["1", "2", "3"]
    assert (requests.stats.lost_replicas, requests.stats.retried) == (1, 2)


async def test_a_request_that_kills_its_replicas_fails():
    requests = Told()
    (caller,) = await requests.begin("killer")
    for number in range(MAX_LOSSES):
        assert not caller.done()
        requests.join(f"r{number}", 1)
        assert requests.take(f"r{number}")
        requests.leave(f"r{number}", "it died")
        await asyncio.sleep(0)
    with pytest.raises(RequestFailed, match=r"in flight at 5 replicas .* the last one, r4: it died"):
        await caller
    assert requests.waiting == 0


async def test_all_callers_are_told_where_no_replica_is_left():
    requests = Told()
    callers = await requests.begin("1", "2")
    requests.fail(RuntimeError("none left"))
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in found] == ["none left", "none left"]
    assert (requests.running, requests.waiting) == (0, 0), "what nobody awaits is done by no replica"


IDS, REPLICAS = "123456", "abc"
STEPS = st.one_of(
    st.tuples(st.sampled_from(["ask", "cancel"]), st.sampled_from(IDS)),
    st.tuples(st.sampled_from(["join", "leave", "take", "settle"]), st.sampled_from(REPLICAS)),
    st.tuples(st.sampled_from(["fail", "yield"]), st.just("")),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_every_caller_has_one_end_and_an_idle_replica_is_never_busy(steps: list[tuple[str, str]]):
    """Whatever comes in whatever order, the end of the pool included."""
    asyncio.run(_lived(steps))


async def _lived(steps: list[tuple[str, str]]) -> None:
    now = 0.0
    requests = Told()
    callers: dict[str, asyncio.Task[Any]] = {}
    cancelled: set[asyncio.Task[Any]] = set()
    every: list[asyncio.Task[Any]] = []
    running: dict[str, set[str]] = {replica: set() for replica in REPLICAS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests_module, "time", SimpleNamespace(monotonic=lambda: now))
        for what, which in [*steps, ("yield", ""), ("fail", "")]:
            if what == "ask" and (which not in callers or callers[which].done()):
                callers[which] = asyncio.create_task(requests.answer(request(which, 1)))
                every.append(callers[which])
            elif what == "cancel" and which in callers and callers[which].cancel():
                cancelled.add(callers[which])
            elif what == "join" and not requests.has(which):
                requests.join(which, 2)
            elif what == "leave" and requests.has(which):
                assert set(requests.leave(which, "it died")) <= running[which]
                running[which] = set()
            elif what == "take":
                running[which] |= {each.id for each in requests.take(which)}
            elif what == "settle":
                requests.settle(which, [result(id) for id in IDS[::2]] + [Failure("2", "bad", which)])
                running[which] -= {*IDS[::2], "2"}
            elif what == "fail":
                requests.fail(RuntimeError("the pool's end"))
            if what in ("fail", "yield"):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            before, now = requests.busy_seconds, now + 1.0
            busy = requests.busy_seconds - before
            while requests.aborted:
                replica, id = requests.aborted.pop()
                running[replica].remove(id)
            assert requests.running == sum(map(len, running.values()))
            assert busy == sum(map(bool, running.values()))
    assert all(caller.done() for caller in every)
    assert (requests.running, requests.waiting) == (0, 0)
    for caller in every:
        if caller.cancelled():
            assert caller in cancelled
        elif (error := caller.exception()) is not None:
            assert isinstance(error, RequestFailed) or str(error) == "the pool's end"
        else:
            assert isinstance(caller.result(), SampleResult)


async def test_a_replica_is_busy_while_a_request_runs_there(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(requests_module, "time", SimpleNamespace(monotonic=lambda: now))
    requests = Told()
    requests.join("a", 2)
    requests.join("b", 2)
    callers = await requests.begin("1", "2", "3")
    requests.take("a")
    now = 1.0
    requests.take("b")
    assert requests.busy_seconds == 1.0
    now = 3.0
    assert requests.busy_seconds == 3.0 + 2.0
    requests.settle("a", [result("1"), result("2")])
    now = 5.0
    assert requests.busy_seconds == 3.0 + 4.0
    requests.leave("b", "it died")
    now = 9.0
    assert requests.busy_seconds == requests.stats.busy_seconds == 7.0
    for caller in callers:
        caller.cancel()
