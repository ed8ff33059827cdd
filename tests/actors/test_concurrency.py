"""In-flight limits: within their bounds under any report, and where an engine's memory puts them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.concurrency import OVERCOMMIT, ConcurrencyLimit
from actors.load_meter import LoadMeter
from actors.messages import Load

loads = st.builds(Load, st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.integers(0, 9))


@given(places=st.integers(1, 256), reports=st.lists(st.tuples(loads, st.integers(0, 300)), max_size=60))
def test_the_limit_stays_between_one_and_what_the_places_allow(places, reports):
    limit = ConcurrencyLimit(places)
    for load, results in reports:
        assert 1 <= limit.observe(load, results) == limit.now <= limit.most < OVERCOMMIT * places + 1


@given(places=st.integers(1, 256), results=st.lists(st.integers(1, 999), max_size=50), data=st.data())
def test_an_engine_with_memory_to_spare_keeps_its_places_and_some_at_hand(places, results, data):
    limit = ConcurrencyLimit(places)
    for count in results:
        waiting = data.draw(st.integers(0, limit.most - places))
        limit.observe(Load(places, waiting, data.draw(st.floats(0, 0.79)), 0), count)
        assert limit.now == limit.most


@dataclass
class Memory:
    """An engine of 64 places whose memory holds ``room`` requests: it runs as many, and preempts another."""

    room: int
    preemptions: int = 0

    def run(self, limit: ConcurrencyLimit, reports: int) -> list[int]:
        """The limit after each report, while there is always more to do."""
        seen = []
        for _ in range(reports):
            running = min(limit.now, 64, self.room)
            self.preemptions += min(limit.now, 64) > self.room
            load = Load(running, limit.now - running, running / self.room, self.preemptions)
            seen.append(limit.observe(load, max(1, running // 4)))
        return seen


@pytest.mark.parametrize("room", [1, 3, 10, 40])
def test_a_limit_settles_a_little_above_what_memory_holds_and_never_below(room):
    seen = Memory(room).run(ConcurrencyLimit(64), 1000)
    assert min(seen) >= room
    assert max(seen[200:]) <= OVERCOMMIT * room + 2


def test_a_limit_grows_back_when_there_is_memory_again():
    limit, memory = ConcurrencyLimit(64), Memory(10)
    memory.run(limit, 100)
    assert limit.now == 14
    memory.room = 1000
    memory.run(limit, 200)
    assert limit.now == limit.most


def test_a_limit_is_decided_once_a_turnover_by_all_that_was_seen_in_it():
    limit = ConcurrencyLimit(8)
    limit.observe(Load(5, 5, 1.0, 1), 4)
    limit.observe(Load(4, 0, 0.1, 1), 5)
    assert limit.now == limit.most == 10
    limit.observe(Load(2, 0, 0.1, 1), 1)
    assert limit.now == 8  # a quarter over the 5 that ran, and one
    limit.observe(Load(2, 0, 0.1, 1), 8)
    assert limit.now == 9


def test_requests_that_end_together_have_run_although_the_scheduler_holds_none_of_them_any_more():
    limit, gauge = ConcurrencyLimit(16), LoadMeter()
    for preemptions in range(1, 20):  # memory is short; sixteen run, until the step that finishes them all
        for running, finished in ((16, 0), (0, 16)):
            gauge.stepped(
                running=running, finished=finished, waiting=4, kv_usage=0.9, preemptions=preemptions
            )
        limit.observe(gauge.report(), 16)
        assert limit.now == limit.most == 20


def test_a_report_has_the_largest_since_the_last_one():
    gauge = LoadMeter()
    gauge.stepped(running=3, finished=4, waiting=5, kv_usage=0.6, preemptions=1)
    gauge.stepped(running=3, finished=0, waiting=2, kv_usage=0.3, preemptions=1)
    assert gauge.report() == Load(7, 2, 0.6, 1)
    assert gauge.report() == Load(0, 2, 0.0, 1)
    gauge.stepped(running=0, finished=3, waiting=0, kv_usage=0.2, preemptions=1)
    assert gauge.report() == Load(3, 0, 0.2, 1)
