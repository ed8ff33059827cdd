"""What is ready goes once, in order, to the newest call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from actors.outbox import Outbox


async def test_a_call_waits_for_what_comes_and_takes_all_there_is():
    box: Outbox[str] = Outbox()
    waiting = asyncio.create_task(box.take())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    box.put(["a"])
    box.put(["b"])
    assert await waiting == ["a", "b"]


async def test_a_cancelled_call_loses_nothing():
    box: Outbox[str] = Outbox()
    waiting = asyncio.create_task(box.take())
    await asyncio.sleep(0.01)
    box.put(["a"])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await box.take() == ["a"]


async def test_a_newer_call_takes_over_and_so_does_a_caller_that_begins_anew():
    box: Outbox[str] = Outbox()
    old = asyncio.create_task(box.take())
    await asyncio.sleep(0.01)
    new = asyncio.create_task(box.take())
    assert await old == []
    box.put(["a"])
    assert await new == ["a"]
    lost = asyncio.create_task(box.take())
    await asyncio.sleep(0.01)
    box.begin_anew()
    box.put(["b"])
    assert await lost == []
    assert await box.take() == ["b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_what_is_dropped_is_not_taken_and_the_rest_is_in_order(orders: list[tuple[str, bool]]):
    box: Outbox[SimpleNamespace] = Outbox()
    expected: list[str | None] = []
    for id, dropped in orders:
        if dropped:
            box.drop({id})
            expected = [each for each in expected if each != id]
        else:
            box.put([SimpleNamespace(id=id), SimpleNamespace(line="without an id")])
            expected += [id, None]
        assert box.ids == {each for each in expected if each is not None}
    box.put([SimpleNamespace(id="last")])
    taken = asyncio.run(box.take())
    assert [getattr(each, "id", None) for each in taken] == [*expected, "last"]
