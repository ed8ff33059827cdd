"""A pool's requests: who awaits them, which replica has them, for how long a replica is busy. No replica."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

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
