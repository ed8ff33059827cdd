"""The journal's writer: what it does on a full, failing or slow disk, and when it ends."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from actors.messages import SampleResult
from orchestrator.durability.journal import (
    ROWS_A_STATEMENT,
    Journal,
    JournalFailed,
)
from tests.support.journals import result


def test_a_full_disk_is_said_and_what_was_committed_stays(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    journal.record("p", "small", result(), 1)
    journal.flush()
    journal._database.execute("PRAGMA max_page_count = 10")
    journal.record("p", "large", result(tuple(range(50_000))), 1)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.flush()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.record("p", "next", result(), 1)
    assert list(journal.results("p")) == ["small"]


def test_a_disk_that_fails_leaves_nobody_waiting(tmp_path: Path):
    class Broken:
        def execute(self, statement: str, rows: tuple[str]) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    journal = Journal(tmp_path / "j")
    whole, journal._database = journal._database, Broken()  # type: ignore[assignment]
    journal.record("p", "lost", result(), 1)
    said: list[str] = []

    def flush() -> None:
        try:
            journal.flush()
        except sqlite3.Error as error:
            said.append(str(error))

    waiting = threading.Thread(target=flush, daemon=True)
    waiting.start()
    waiting.join(30)
    assert said == [f"{tmp_path / 'j'}: disk I/O error"]
    journal._database = whole
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        journal.close()


class Gone(BaseException):
    """What ends a thread and is no Exception."""


class Ends:
    """Ends the writer wherever it uses this."""

    def __getattr__(self, name: str):
        raise Gone("no memory")


def ended(journal: Journal, call, *args) -> JournalFailed:
    """What a call raises, in a thread of its own since it must not wait for ever."""
    said: list[BaseException] = []

    def run() -> None:
        try:
            call(*args)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for a writer that has ended"
    (error,) = said
    assert isinstance(error, JournalFailed)
    return error


@pytest.mark.parametrize("part", ["_database", "_hurry"])
@pytest.mark.parametrize("last", ["flush", "close"])
def test_a_writer_that_ends_is_said_by_the_next_call_with_its_cause(tmp_path: Path, part: str, last: str):
    journal = Journal(tmp_path / "j")
    database, hurry = journal._database, journal._hurry
    setattr(journal, part, Ends())
    journal.record("p", "1", result(), 1)
    journal._writer.join(10)
    assert not journal._writer.is_alive()
    journal._database, journal._hurry = database, hurry
    for call, *args in ((journal.record, "p", "2", result(), 1), (getattr(journal, last),)):
        error = ended(journal, call, *args)
        assert str(error) == f"{tmp_path / 'j'}: Gone: no memory"
        assert isinstance(error.__cause__, Gone)


def test_a_flush_that_waits_while_the_writer_ends_is_told(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    arrived, go_on = threading.Event(), threading.Event()

    class Slow(Ends):
        def execute(self, *statement: object) -> None:
            arrived.set()
            go_on.wait()
            raise Gone("no memory")

    journal._database = Slow()  # type: ignore[assignment]
    journal.record("p", "1", result(), 1)
    assert arrived.wait(10)
    threading.Timer(0.3, go_on.set).start()
    assert isinstance(ended(journal, journal.flush).__cause__, Gone)


def test_a_writer_that_is_gone_without_a_word_is_noticed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Journal, "_write", lambda journal: None)
    journal = Journal(tmp_path / "j")
    journal.record("p", "1", result(), 1)
    assert "writer is gone" in str(ended(journal, journal.flush))
    assert "writer is gone" in str(ended(journal, journal.close))


def test_a_closed_journal_takes_no_result(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    for _ in range(2):
        journal.close()
    with pytest.raises(JournalFailed, match="the journal is closed"):
        journal.record("p", "1", result(), 1)
    assert "the journal is closed" in str(ended(journal, journal.flush))


class SlowDisk:
    """A database whose commits wait until they may go on."""

    def __init__(self, journal: Journal) -> None:
        self.go_on = threading.Event()
        self._database = journal._database
        journal._database = self  # type: ignore[assignment]

    def execute(self, *statement: object) -> object:
        self.go_on.wait()
        return self._database.execute(*statement)

    def close(self) -> None:
        self._database.close()


def recorded_while_the_disk_hangs(journal: Journal, count: int, pause: float = 0.0) -> int:
    """How many of ``count`` results are taken before a commit ends; all of them are afterwards."""
    disk, taken = SlowDisk(journal), 0

    def record() -> None:
        nonlocal taken
        for i in range(count):
            journal.record("p", str(i), result(), 1)
            taken += 1
            time.sleep(pause)

    search = threading.Thread(target=record, daemon=True)
    search.start()
    before = -1
    while search.is_alive() and before != taken:  # until it waits
        before = taken
        search.join(1)
    seen = taken
    disk.go_on.set()
    search.join(30)
    assert taken == count
    journal.close()
    with closing(Journal(journal.path)) as reopened:
        assert len(reopened) == count
    return seen


def test_what_a_disk_that_hangs_leaves_to_a_crash_is_bounded_in_operations(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("orchestrator.durability.journal.QUEUED_SECONDS", 60)
    monkeypatch.setattr("orchestrator.durability.journal.QUEUED", 500)
    assert 500 <= recorded_while_the_disk_hangs(Journal(tmp_path / "j"), 1500) <= 1000


def test_what_a_disk_that_hangs_leaves_to_a_crash_is_bounded_in_time(tmp_path: Path):
    seconds = 0.01
    journal = Journal(tmp_path / "j")
    taken = recorded_while_the_disk_hangs(journal, 250, pause=seconds)
    assert taken * seconds < 2  # QUEUED_SECONDS in the queue, as much in the commit, and a slow machine


# -- what may become of the file ------------------------------------------------------------------------


def test_what_is_recorded_is_committed_soon_whatever_the_writer_is_doing(tmp_path: Path) -> None:
    """Nobody asks for it by a flush: a wake-up that is missed would leave the last ones to a crash."""
    result = SampleResult("", (1, 2, 3), "step", 3, "r")
    with closing(Journal(tmp_path / "j")) as journal:
        for burst in range(200):
            for i in range(60):
                journal.record("p", f"{burst}.{i}", result, 1)
            time.sleep(0.0005 * (burst % 7))
        deadline = time.monotonic() + 10
        while len(journal) < 12_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(journal) == 12_000


@pytest.mark.parametrize("problems", [7, 2 * ROWS_A_STATEMENT + 1])
def test_a_commit_takes_few_statements_and_loses_none_of_its_results(
    tmp_path: Path, monkeypatch, problems: int
) -> None:
    """A statement for each leaves the writer behind a busy run: after each it waits for the interpreter."""
    monkeypatch.setattr("orchestrator.durability.journal.GATHER_SECONDS", 60)  # all are in one commit
    journal = Journal(tmp_path / "j.sqlite")
    journal._database.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 3 * ROWS_A_STATEMENT)
    statements: list[str] = []
    journal._database.set_trace_callback(statements.append)
    count = 2001
    for i in range(count):
        journal.record(f"p{i % problems}", str(i), SampleResult(str(i), (i,), "end", 1, "r"), i)
    journal.close()
    inserts = sum("INSERT" in statement for statement in statements)
    with closing(Journal(tmp_path / "j.sqlite")) as reopened:
        found = {key: flops for p in range(problems) for key, (_, flops) in reopened.results(f"p{p}").items()}
    assert found == {str(i): i for i in range(count)}
    assert 1 <= inserts < count // 50  # 1, and one more for each commit that began before all were recorded
