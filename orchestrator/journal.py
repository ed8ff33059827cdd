"""Append-only record of every operation's result: SQLite, write-ahead log, group commit.

An operation is named by its problem and its key (kind and node path), never by a sequence number,
so the record of a search does not depend on the order in which its operations finished. A result
is recorded once; asked again (a resumed run), the journal answers instead of the engines.

Writing is off the critical path: ``record`` queues, one thread commits what has gathered. What a
crash loses of the queue was not lost twice over: the operation is redone with the same seed and is
charged in a ledger that starts from the journal.
"""

from __future__ import annotations

import os
import platform
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import msgspec

from actors.messages import Result, SampleResult, ScoreResult
from orchestrator.lock import lock

SCHEMA = """
CREATE TABLE IF NOT EXISTS header (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operations (
    problem TEXT NOT NULL,
    key     TEXT NOT NULL,
    kind    TEXT NOT NULL,
    flops   INTEGER NOT NULL,
    result  BLOB NOT NULL,
    PRIMARY KEY (problem, key)
) WITHOUT ROWID;
"""
KINDS: dict[str, type[Result]] = {"sample": SampleResult, "score": ScoreResult}
GATHER_SECONDS = 0.05
"""How long a commit waits for more results to join it: the most that a crash makes a run redo."""

_Item = tuple[str, str, str, int, bytes] | threading.Event | None
"""A row to record, a flush to acknowledge, or the end."""


class JournalMismatch(Exception):
    """The journal belongs to another run's configuration."""


class JournalInUse(Exception):
    """Another process has the journal open: two would compute, and record, the same operations."""


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint that a journal was begun with; None where there is no journal."""
    if not path.is_file():
        return None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            row = database.execute("SELECT value FROM header WHERE key='fingerprint'").fetchone()
        except sqlite3.OperationalError:  # killed before its first line
            return None
    return row[0] if row else None


def hold(path: Path) -> IO[str]:
    """An open file that no other process holds, until it is closed or the process ends, however it ends.
    Raises JournalInUse."""
    file = path.open("a+")
    if not lock(file.fileno()):
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise JournalInUse(f"{path.parent} is in use by {owner or 'another process'}")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    return file


class Journal:
    """The operations of one run. Safe to use from one asyncio thread; ``close`` flushes."""

    def __init__(self, path: Path | str, *, fingerprint: str = "") -> None:
        """Open or create. Raises JournalMismatch where ``fingerprint`` (of what determines the
        results: models, strategy, problems, seed, budget) differs from the recorded one, and JournalInUse."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = hold(self.path.with_suffix(".lock"))
        self._database = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(SCHEMA)
        self._database.execute("INSERT OR IGNORE INTO header VALUES ('fingerprint', ?)", (fingerprint,))
        (recorded,) = self._database.execute("SELECT value FROM header WHERE key='fingerprint'").fetchone()
        if recorded != fingerprint:
            self._database.close()
            self._held.close()
            raise JournalMismatch(f"{self.path} records a run of another configuration ({recorded[:12]}…)")
        self._lock = threading.Lock()
        self._error: Exception | None = None
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def results(self, problem: str) -> dict[str, tuple[Result, int]]:
        """All recorded results of a problem: key → (result, FLOPs charged)."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key, kind, flops, result FROM operations WHERE problem = ?", (problem,)
            ).fetchall()
        return {key: (msgspec.json.decode(blob, type=KINDS[kind]), flops) for key, kind, flops, blob in rows}

    def record(self, problem: str, key: str, result: Result, flops: int) -> None:
        """Queue one result. Raises what the writer met (a full disk) since the last call."""
        self._raise()
        kind = "sample" if isinstance(result, SampleResult) else "score"
        self._queue.put((problem, key, kind, flops, msgspec.json.encode(result)))

    def flush(self) -> None:
        """Return when everything recorded so far is committed. Raises what the writer met."""
        done = threading.Event()
        self._queue.put(done)
        done.wait()
        self._raise()

    def close(self) -> None:
        """Flush and close. Raises what the writer met."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
            self._database.close()
            self._held.close()
        self._raise()

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._database.execute("SELECT count(*) FROM operations").fetchone()
        return count

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _gather(self) -> Iterator[_Item]:
        yield self._queue.get()
        deadline = time.monotonic() + GATHER_SECONDS
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                yield self._queue.get(timeout=remaining)
            except queue.Empty:
                return

    def _write(self) -> None:
        open_ = True
        while open_:
            rows, flushed = [], []
            for item in self._gather():
                if isinstance(item, tuple):
                    rows.append(item)
                    continue
                if isinstance(item, threading.Event):
                    flushed.append(item)
                else:
                    open_ = False
                break
            if rows and self._error is None:
                try:
                    with self._lock:
                        self._database.execute("BEGIN")
                        # A plain INSERT: a second result for one operation is a defect, not an update.
                        self._database.executemany("INSERT INTO operations VALUES (?, ?, ?, ?, ?)", rows)
                        self._database.execute("COMMIT")
                except Exception as error:  # whatever it is, the next call must hear of it
                    self._error = error
                    with self._lock:
                        if self._database.in_transaction:
                            self._database.execute("ROLLBACK")
            for event in flushed:
                event.set()
