"""Whatever fails, crashes or is begun again: the store ends with what was logged, in order, once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tracking.mlflow_store import Away, Refused
from orchestrator.tracking.sender import (
    FIRST_SECONDS,
    LARGEST,
    LIMITS,
    LONGEST_SECONDS,
    TOLD_AFTER,
    Sender,
)
from orchestrator.tracking.spool import FILE, Artifact, End, Entry, Metric, Param, Spool

BAD = "bad"
"""The name of what the store never takes."""


class Crash(BaseException):
    """The process is killed."""


class ScriptedStore:
    """Keeps what MLflow keeps: a point that it has is not kept again. ``fate``: of the next call."""

    def __init__(self) -> None:
        self.kept: list[Entry] = []
        self.fate = "well"

    def write(self, entries) -> None:
        fate, self.fate = self.fate, "well"
        if fate == "away before":
            raise Away("connection refused")
        if fate == "killed before":
            raise Crash
        assert len({type(entry) for entry in entries}) == 1
        assert 0 < len(entries) <= LIMITS.get(type(entries[0]), 1)
        if any(BAD in str(entry) for entry in entries):
            raise Refused("no")
        self.kept += [entry for entry in entries if entry not in self.kept]
        if fate == "away after":
            raise Away("the answer was lost")
        if fate == "killed after":
            raise Crash


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


kinds = st.sampled_from(["metric"] * 3 + ["param", "artifact", "end", "bad metric", "bad param"])
WELL, TORN = "well", "torn"
fates = st.sampled_from([WELL, "away before", "away after", "killed before", "killed after", TORN])
events = st.lists(st.lists(kinds, min_size=1, max_size=12) | fates, max_size=40)


def entry(kind: str, number: int) -> Entry:
    if kind.endswith("metric"):
        return Metric(BAD if kind.startswith(BAD) else f"m{number % 3}", number / 2, number, number)
    if kind.endswith("param"):
        return Param(f"{BAD if kind.startswith(BAD) else 'p'}{number}", "v")
    return Artifact(f"file{number}") if kind == "artifact" else End(f"ended {number}", number)


@given(events)
def test_the_store_ends_with_what_was_logged_in_order_and_once(happens):
    with directory() as path:
        store, spool = ScriptedStore(), Spool(path)
        sender = Sender(spool, store)
        logged: list[Entry] = []
        given_up = 0
        spool.append([])

        def call() -> int:
            nonlocal given_up, spool, sender
            before = len(sender.refused)
            try:
                done = sender.send_next()
                given_up += len(sender.refused) - before
                return done
            except Away:
                sender.backoff()
                return 1
            except Crash:
                spool.close()
                spool = Spool(path)
                sender = Sender(spool, store)
                return 1

        for event in happens:
            if isinstance(event, list):
                new = [entry(kind, len(logged) + i) for i, kind in enumerate(event)]
                spool.append(new)
                logged += new
            elif event == TORN:  # the machine goes down in the middle of a line
                spool.close()
                with (path / FILE).open("a") as file:
                    file.write('["Metric", "bad')
                spool = Spool(path)
                sender = Sender(spool, store)
                spool.append([entry("metric", len(logged))])
                logged += [entry("bad metric", -1), entry("metric", len(logged))]
            else:
                store.fate = event
                call()
        store.fate = WELL
        while call():
            pass
        assert store.kept == [each for each in logged if BAD not in str(each)]
        assert given_up == sum(BAD in str(each) for each in logged)
        assert spool.waiting() == 0
        spool.close()


@given(st.integers(1, 3000), st.sets(st.integers(0, 2999), max_size=4))
def test_what_the_store_never_takes_is_found_in_few_calls(count, bad):
    class Memory:
        def __init__(self) -> None:
            self.entries = [Metric(BAD if i in bad else "m", 0.0, i, i) for i in range(count)]
            self.done = 0

        def read(self, most):
            return [
                (each, self.done + i + 1) for i, each in enumerate(self.entries[self.done : self.done + most])
            ]

        def mark(self, position):
            self.done = position

    class Counting(ScriptedStore):
        calls = 0

        def write(self, entries):
            self.calls += 1
            if any(entry.name == BAD for entry in entries):
                raise Refused("no")

    source, store = Memory(), Counting()
    sender = Sender(source, store)
    while sender.send_next():
        pass
    assert len(sender.refused) == sum(index < count for index in bad)
    assert source.done == count
    there = sum(index < count for index in bad)
    assert store.calls <= -(-count // LARGEST) + there * 2 * 11


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success(tmp_path):
    spool = Spool(tmp_path)
    spool.append([entry("metric", 0)])
    sender = Sender(spool, ScriptedStore())
    waits = [sender.backoff() for _ in range(2000)]
    assert waits[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_SECONDS
    assert sender.send_next() == 1
    assert sender.backoff() == FIRST_SECONDS
    spool.close()


def test_a_store_that_is_away_is_told_of_once_it_has_been_so_for_a_while():
    with directory() as path:
        sender, told = Sender(Spool(path), ScriptedStore()), []
        for _ in range(TOLD_AFTER - 1):
            sender.backoff()
            sender.tell(told.append)
        assert told == []
        sender.backoff()
        sender.tell(told.append)
        sender.tell(told.append)
    assert told == ["too slow; what is logged waits, and the run goes on"]


def test_somebody_who_cannot_be_told_costs_nothing(monkeypatch):
    """A terminal that is gone, as the store goes away and comes back: all is written."""
    monkeypatch.setattr("orchestrator.tracking.sender.FIRST_SECONDS", 0.0)
    asked = []

    def gone(line: str) -> None:
        asked.append(line)
        raise ValueError("I/O operation on closed file")

    class Flapping(ScriptedStore):
        calls = 0

        def write(self, entries) -> None:
            self.calls += 1
            if self.calls % (TOLD_AFTER + 1):
                raise Away("connection refused")
            super().write(entries)

    with directory() as path:
        sender = Sender(Spool(path), store := Flapping())
        sender.tell(gone)
        for number in range(2):
            Spool(path).append([entry("artifact", number)])
        sender.start()
        while len(store.kept) < 2:
            assert sender._thread.is_alive(), "the thread has ended with entries that wait"
            sender._thread.join(0.01)
        sender.close()
        assert sender.finished(60.0)
        assert sender.waiting == 0
    away = "connection refused; what is logged waits, and the run goes on"
    assert asked == [away, "what is logged is written again"] * 2
