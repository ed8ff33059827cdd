"""The journal records each operation once and gives back what it was given."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import SampleResult, ScoreResult
from orchestrator.durability.journal import (
    Journal,
    JournalDamaged,
    JournalInUse,
    JournalMismatch,
    changed_since,
    fingerprint_in,
)
from orchestrator.durability.reading import stored
from tests.support.journals import result

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
    st.tuples(
        st.sampled_from(["p1", "p\"2'"]),
        st.text(st.characters(codec="utf-8"), max_size=6),
    ),
    st.tuples(samples | scores, st.integers(0, 2**66)),
    max_size=30,
)


@settings(max_examples=40)
@given(entries=entries)
def test_what_was_recorded_is_what_a_reopened_journal_gives_back(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    journal = Journal(path, fingerprint="f")
    for (problem, key), (found, flops) in entries.items():
        journal.record(problem, key, found, flops)
    journal.close()
    reopened = Journal(path, fingerprint="f")
    given_back = {(p, key): entry for p in ("p1", "p\"2'") for key, entry in reopened.results(p).items()}
    assert given_back == entries
    assert len(reopened) == len(entries)
    reopened.close()


def test_a_second_result_for_one_operation_is_noticed(tmp_path: Path):
    with closing(Journal(tmp_path / "j")) as journal:
        for problem, tokens in (("p", (1,)), ("another", (1,)), ("p", (2,))):
            journal.record(problem, "k", result(tokens), 5)
            journal.flush()
    with pytest.raises(JournalDamaged, match="k of p has two results"):
        Journal(tmp_path / "j")


def test_flushed_results_survive_a_process_that_never_closes(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    for index in range(100):
        journal.record("p", str(index), result((index,)), index)
    journal.flush()
    other = sqlite3.connect(tmp_path / "j")
    assert other.execute("SELECT count(*), sum(flops) FROM operations").fetchone() == (100, 4950)
    journal.close()


def test_a_closed_journal_is_whole_in_one_file_though_a_page_reads_along(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    journal.record("p", "k", result(), 5)
    journal.flush()
    reader = sqlite3.connect(tmp_path / "j")
    assert reader.execute("SELECT count(*) FROM operations").fetchone() == (1,)
    journal.close()
    shutil.copy(tmp_path / "j", tmp_path / "copy")
    copied = sqlite3.connect(tmp_path / "copy")
    assert copied.execute("SELECT count(*) FROM operations").fetchone() == (1,)
    reader.close()


def test_reading_waits_for_no_commit_and_sees_only_what_is_committed(tmp_path: Path):
    journal = Journal(tmp_path / "j")
    journal.record("p", "k", result(), 5)
    journal.flush()
    journal._database.execute("BEGIN IMMEDIATE")
    journal._database.execute("DELETE FROM commits")
    assert journal.results("p") == {"k": (result(), 5)}
    assert len(journal) == 1
    journal._database.execute("ROLLBACK")
    journal.close()


def test_a_journal_of_another_configuration_is_refused(tmp_path: Path):
    Journal(tmp_path / "j", fingerprint="one").close()
    with pytest.raises(JournalMismatch, match="its configuration is another one, or a model"):
        Journal(tmp_path / "j", fingerprint="two", parts={"seed": "b"})


def test_what_is_not_as_the_journal_was_begun_with_is_named(tmp_path: Path):
    begun = {"seed": "a", "the file own.py (strategy.name)": "b", "the problems": "c"}
    Journal(tmp_path / "j", fingerprint="one", parts=begun).close()
    now = begun | {"the file own.py (strategy.name)": "x"}
    with pytest.raises(JournalMismatch) as refused:
        Journal(tmp_path / "j", fingerprint="two", parts=now)
    assert str(refused.value) == (
        f"{tmp_path / 'j'} records another run: the file own.py (strategy.name) is not as it was begun with; "
        "put back what has changed, or begin a new run"
    )
    assert changed_since(tmp_path / "j", now | {"seed": "y"}) == (
        "seed and the file own.py (strategy.name) are not as it was begun with"
    )


def test_a_journal_that_an_earlier_version_has_begun_goes_on_and_then_knows_its_parts(tmp_path: Path):
    Journal(tmp_path / "j", fingerprint="with a secret").close()
    with closing(sqlite3.connect(tmp_path / "j")) as database, database:
        database.execute("DELETE FROM header WHERE key = 'parts'")
    own = {"fingerprint": "without", "earlier": ["with a secret"], "parts": {"seed": "a"}}
    Journal(tmp_path / "j", **own).close()
    with pytest.raises(JournalMismatch, match="seed is not as it was begun with"):
        Journal(tmp_path / "j", fingerprint="other", parts={"seed": "b"})


def test_what_a_journal_holds_is_counted_with_what_was_paid(tmp_path: Path):
    with closing(Journal(tmp_path / "j")) as journal:
        assert journal.held() == (0, 0)
        for index, flops in enumerate((3, 4 * 10**18, 5 * 10**18)):
            journal.record("p", f"sample/{index}", SampleResult("a", (1,), "end", 1, "r"), flops)
        journal.flush()
        assert journal.held() == (3, pytest.approx(9 * 10**18))


def test_a_journal_that_another_process_has_open_is_refused_until_that_ends(tmp_path: Path):
    code = f"""
import sys, time
from orchestrator.durability.journal import Journal
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


ROWS = {str(index): (SampleResult("id", tuple(range(index)), "step", 1, "r"), index) for index in range(60)}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[bytes, bytes, bytes]:
    """A journal of ROWS: the closed file; and while it was open, the file and its log of the later half."""
    path = tmp_path_factory.mktemp("written") / "j"
    for half, (low, high) in enumerate(((0, 30), (30, 60))):
        journal = Journal(path, fingerprint="f")
        for index in range(low, high):
            journal.record("p", str(index), *ROWS[str(index)])
        journal.flush()
        if half:
            open_ = path.read_bytes(), path.with_name("j-wal").read_bytes()
        journal.close()
    return path.read_bytes(), *open_


def reopened(directory: Path, file: bytes, log: bytes = b"") -> dict | None:
    """What a journal of these files gives back; None where it is refused, in one line that names it."""
    path = directory / "j"
    path.write_bytes(file)
    path.with_name("j-wal").write_bytes(log)
    path.with_name("j-shm").unlink(missing_ok=True)
    fingerprint_in(path)  # as a new run of the same name does: it must not mind
    try:
        journal = Journal(path, fingerprint="f")
    except JournalDamaged as error:
        if not str(error).startswith(f"{path} is damaged (") or "\n" in str(error):
            raise
        return None
    found = journal.results("p")
    journal.close()
    return found


def test_the_files_as_they_were_written_hold_everything(tmp_path: Path, written):
    closed, file, log = written
    assert reopened(tmp_path, closed) == ROWS
    assert reopened(tmp_path, file, log) == ROWS


def test_a_torn_log_is_cut_off_where_it_is_torn(tmp_path: Path, written):
    _, file, log = written
    seen = set()
    for keep in [*range(0, len(log), 700), len(log) - 1]:
        for torn in (log[:keep], log[:keep] + bytes(len(log) - keep)):
            found = reopened(tmp_path, file, torn)
            assert found is not None
            assert found in ({k: ROWS[k] for k in map(str, range(30))}, ROWS)
            seen.add(len(found))
    assert seen >= {30}


def test_a_file_that_lost_its_end_is_refused(tmp_path: Path, written):
    closed, *_ = written
    assert [reopened(tmp_path, closed[:keep]) for keep in range(100, len(closed), 450)] == [None] * len(
        range(100, len(closed), 450)
    )


@settings(max_examples=150)
@given(data=st.data())
def test_a_file_in_which_anything_was_overwritten_gives_back_what_was_recorded_or_is_refused(
    tmp_path_factory, written, data
):
    closed, *_ = written
    size = data.draw(st.sampled_from([1, 4, 64, 512]))
    at = data.draw(st.integers(0, len(closed) - size))
    other = data.draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)))
    directory = tmp_path_factory.mktemp("overwritten")
    try:
        found = reopened(directory, closed[:at] + other + closed[at + size :])
    except JournalMismatch:  # the header was hit, or the tables' names
        return
    assert found in (None, ROWS)


def test_a_header_of_a_format_that_no_sqlite_writes_is_damage(tmp_path: Path, written):
    closed, *_ = written
    assert reopened(tmp_path, closed[:18] + b"\x03" + closed[19:]) is None


def test_a_damaged_statement_is_quoted_in_one_line(tmp_path: Path, written):
    closed, *_ = written
    assert closed.count(b"'$[0]') AS key,\n") == 1
    assert reopened(tmp_path, closed.replace(b"'$[0]') AS key", b"'$[0]'` AS key")) is None
    with pytest.raises(JournalDamaged, match=r"^.*cannot be read: .*unrecognized.*$"), stored(tmp_path / "j"):
        pass


def test_a_digit_that_another_took_the_place_of_is_noticed(tmp_path: Path, written):
    closed, *_ = written
    assert closed.count(b"[0,1,2,3,4]") == 1
    assert reopened(tmp_path, closed.replace(b"[0,1,2,3,4]", b"[0,1,2,3,7]")) is None


def test_an_index_that_leads_elsewhere_is_noticed(tmp_path: Path):
    """Else what it no longer leads to would be done, and recorded, once more."""
    with closing(Journal(tmp_path / "j", fingerprint="f")) as journal:
        journal.record("the problem", "k", result(), 5)
    closed = (tmp_path / "j").read_bytes()
    places = [place.start() for place in re.finditer(b"the problem", closed)]
    assert len(places) == 2, "in the table and in its index"
    for place in places:
        assert reopened(tmp_path, closed[:place] + b"theproblems" + closed[place + 11 :]) is None


def test_tables_whose_names_are_no_text_any_more_are_noticed(tmp_path: Path, written):
    closed, *_ = written
    assert closed.count(b"tablecommits") == 1
    assert reopened(tmp_path, closed.replace(b"tablecommits", b"table\x80ommits")) is None


def test_a_journal_of_an_earlier_version_is_refused(tmp_path: Path):
    old = sqlite3.connect(tmp_path / "j")
    old.execute("CREATE TABLE operations (problem TEXT, key TEXT, kind TEXT, flops INTEGER, result BLOB)")
    old.close()
    with pytest.raises(JournalMismatch, match="earlier version"):
        Journal(tmp_path / "j")
