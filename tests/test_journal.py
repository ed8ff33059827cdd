"""The journal records each operation once and gives back what it was given."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import SampleResult, ScoreResult
from orchestrator.journal import Journal, JournalInUse, JournalMismatch

tokens = st.lists(st.integers(0, 200_000), max_size=20).map(tuple)
samples = st.builds(
    SampleResult,
    st.text(max_size=8),
    tokens,
    st.sampled_from(["step", "end", "length"]),
    st.integers(0, 99),
    st.just("r"),
)
scores = st.builds(
    ScoreResult,
    st.text(max_size=8),
    st.lists(st.floats(0, 1), min_size=1).map(tuple),
    st.integers(0, 99),
    st.just("r"),
)
entries = st.dictionaries(
    st.tuples(st.sampled_from(["p1", "p2"]), st.text(max_size=6)),
    st.tuples(samples | scores, st.integers(0, 10**15)),
    max_size=30,
)


@settings(max_examples=40)
@given(entries=entries)
def test_what_was_recorded_is_what_a_reopened_journal_gives_back(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    journal = Journal(path, fingerprint="f")
    for (problem, key), (result, flops) in entries.items():
        journal.record(problem, key, result, flops)
    journal.close()
    reopened = Journal(path, fingerprint="f")
    given_back = {(p, key): entry for p in ("p1", "p2") for key, entry in reopened.results(p).items()}
    assert given_back == entries
    assert len(reopened) == len(entries)
    reopened.close()


def result(tokens: tuple[int, ...] = (1,)) -> SampleResult:
    return SampleResult("id", tokens, "step", 1, "r")


def test_a_second_result_for_one_operation_is_an_error_and_the_first_stays(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    journal.record("p", "k", result((1,)), 5)
    journal.flush()
    journal.record("p", "k", result((2,)), 7)
    with pytest.raises(sqlite3.IntegrityError):
        journal.flush()
    assert journal.results("p") == {"k": (result((1,)), 5)}


def test_flushed_results_survive_a_process_that_never_closes(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    for index in range(100):
        journal.record("p", str(index), result((index,)), index)
    journal.flush()
    other = sqlite3.connect(tmp_path / "j")
    assert other.execute("SELECT count(*), sum(flops) FROM operations").fetchone() == (100, 4950)
    journal.close()


def test_reading_waits_for_no_commit_and_sees_only_what_is_committed(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    journal.record("p", "k", result(), 5)
    journal.flush()
    journal._database.execute("BEGIN IMMEDIATE")
    journal._database.execute("DELETE FROM operations")
    assert journal.results("p") == {"k": (result(), 5)}
    assert len(journal) == 1
    journal._database.execute("ROLLBACK")
    journal.close()


def test_a_journal_of_another_configuration_is_refused(tmp_path: Path):
    Journal(tmp_path / "j", fingerprint="one").close()
    with pytest.raises(JournalMismatch, match="another configuration"):
        Journal(tmp_path / "j", fingerprint="two")


def test_a_journal_that_another_process_has_open_is_refused_until_that_ends(tmp_path: Path):
    code = f"""
import sys, time
from orchestrator.journal import Journal
journal = Journal({str(tmp_path / "j")!r})
print("open", flush=True)
time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalInUse, match=f"in use by process {other.pid} on "):
            Journal(tmp_path / "j")
    finally:
        other.kill()
        other.wait()
    Journal(tmp_path / "j").close()


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
