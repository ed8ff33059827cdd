"""Append-only record of every operation's result: SQLite, write-ahead log, group commit.

An operation is named by its problem and its key (kind and node path), never by a sequence number,
so the record of a search does not depend on the order in which its operations finished. A result
is recorded once; asked again (a resumed run), the journal answers instead of the engines.

Writing is off the critical path: ``record`` encodes a result and queues it, one thread commits what has
gathered, the results of a problem together. What a crash loses of the queue was not lost twice over: the
operation is redone with the same seed and is charged in a ledger that starts from the journal.

A torn write to the log is cut off by SQLite (its frames have checksums), and what it held is redone. What
else became of the file is found when it is opened: by SQLite's own check of its structure, and by a checksum
that each row has of its contents; and no operation may have two results.

The write-ahead log needs memory that is shared between the processes which have the file open, so it does not
work on network file systems (https://sqlite.org/wal.html); there the journal has a rollback journal instead,
which costs two more syncs a commit.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO

import msgspec

from actors.messages import Result, SampleResult, ScoreResult
from orchestrator.durability.files import lock

SCHEMA = """
CREATE TABLE IF NOT EXISTS header (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    problem    TEXT NOT NULL,
    operations TEXT NOT NULL,
    checksum   INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS commits_by_problem ON commits (problem);
CREATE VIEW IF NOT EXISTS operations AS
SELECT problem,
       json_extract(value, '$[0]') AS key,
       json_extract(value, '$[1]') AS kind,
       json_extract(value, '$[2]') AS flops,
       json_extract(value, '$[3]') AS result
FROM commits, json_each(commits.operations);
"""
"""A row holds what one commit records of one problem, as a JSON array. Of rows of one operation each, in the
order of their names, almost each would be on a page of its own, which SQLite writes whole. The view is for
who reads the file with SQL."""

RESULT_TYPES: dict[str, type[Result]] = {"sample": SampleResult, "score": ScoreResult}
NAME_OF = {result: kind for kind, result in RESULT_TYPES.items()}
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[tuple[str, str, int, msgspec.Raw]]).decode
"""Of the operations in a row: key, kind, FLOPs and result of each."""
GATHER_SECONDS = 0.05
"""How long a commit waits for more results to join it: the most that a crash makes a run redo."""

ROWS_A_STATEMENT = 1000
"""SQLite takes up to 32,766 values in one, of which a row has three."""

DAMAGE = {None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLite's codes for a file that is not as it was written: neither structure, nor tables, nor text (None)."""

UNREADABLE = (sqlite3.Error, TypeError, UnicodeDecodeError)
"""What Python raises for such a file; the last where SQLite's message quotes text that is none."""

MOUNTS = Path("/proc/self/mountinfo")
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "tmpfs", "ramfs"}
"""File systems of one machine. Any other (nfs4, lustre, fuse.sshfs, 9p) may be shared with another."""

_Item = tuple[str, bytes] | threading.Event | None
"""A problem and one of its operations, a flush to acknowledge, or the end."""


class JournalMismatch(Exception):
    """The journal belongs to another run's configuration."""


class JournalInUse(Exception):
    """Another process has the journal open: two would compute, and record, the same operations."""


class JournalDamaged(Exception):
    """The journal is not what was written: a run that went on from it could end otherwise."""


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint that a journal was begun with; None where there is no journal that can be read."""
    if not path.is_file():
        return None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            row = database.execute("SELECT value FROM header WHERE key='fingerprint'").fetchone()
        except UNREADABLE:  # killed before its first line, or damaged since
            return None
    return row[0] if row else None


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that ``path`` is on, as ext4; ``mounts`` are the lines of ``MOUNTS``."""
    found, longest = "", -1
    for mount in mounts.splitlines():
        about, _, source = mount.partition(" - ")
        # A space is \040 there.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), about.split()[4])
        if path.is_relative_to(point) and len(point) >= longest:  # what is mounted later covers it
            found, longest = source.split()[0], len(point)
    return found


def journal_mode(path: Path) -> str:
    """How SQLite keeps commits whole where ``path`` is: WAL, or TRUNCATE where that could fail."""
    mounts = MOUNTS.read_text() if MOUNTS.is_file() else ""
    return "WAL" if file_system(path.resolve(), mounts) in LOCAL else "TRUNCATE"


def hold(path: Path) -> IO[bytes]:
    """An open file that no other process holds, until it is closed or the process ends, however it ends.
    Raises JournalInUse."""
    file = path.open("ab+", buffering=0)
    if not lock(file.fileno()):
        file.seek(0)
        owner = file.read().decode().strip()
        file.close()
        raise JournalInUse(f"{path.parent} is in use by {owner or 'another process'}")
    with suppress(OSError):  # a full disk: that the file is held does not depend on who is named in it
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    return file


def _code(error: BaseException) -> int | None:
    """SQLite's code for an error without what it adds to it; None where Python found it."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def checksum(problem: str, operations: bytes) -> int:
    """Of a row's contents."""
    return zlib.crc32(operations, zlib.crc32(f"{problem}\0".encode()))


class Journal:
    """The operations of one run. Safe to use from one asyncio thread; ``close`` flushes."""

    def __init__(self, path: Path | str, *, fingerprint: str = "") -> None:
        """Open or create. Raises JournalMismatch where ``fingerprint`` (of what determines the
        results: models, strategy, problems, seed, budget) differs from the recorded one, JournalInUse, and
        JournalDamaged."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = hold(self.path.with_suffix(".lock"))
        self._database = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            self._open(fingerprint)
        except BaseException as error:
            self._database.close()
            self._held.close()
            if isinstance(error, UNREADABLE) and _code(error) in DAMAGE:
                raise self._damaged(str(error)) from error
            raise
        # Its own connection, since one that is shared would make a search wait for a commit.
        self._reader = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._error: Exception | None = None
        self._queue: deque[_Item] = deque()
        self._due, self._hurry = threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def _open(self, fingerprint: str) -> None:
        mode = journal_mode(self.path)
        self._database.execute(f"PRAGMA journal_mode={mode}")
        self._database.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'WAL' else 'FULL'}")
        ((structure,), *_) = self._database.execute("PRAGMA integrity_check(1)").fetchall()
        if structure != "ok":
            raise self._damaged(structure.splitlines()[-1])
        earlier = "SELECT * FROM sqlite_master WHERE type = 'table' AND name = 'operations'"
        if self._database.execute(earlier).fetchone():
            raise JournalMismatch(f"{self.path} was begun by an earlier version of ttc")
        self._database.executescript(SCHEMA)
        self._check()
        self._database.execute("INSERT OR IGNORE INTO header VALUES ('fingerprint', ?)", (fingerprint,))
        (begun,) = self._database.execute("SELECT value FROM header WHERE key='fingerprint'").fetchone()
        if begun != fingerprint:
            raise JournalMismatch(f"{self.path} records a run of another configuration ({begun[:12]}…)")

    def _check(self) -> None:
        """Raises JournalDamaged where a row is not what was written, or an operation has two results."""
        rows = self._database.execute("SELECT problem, operations, checksum FROM commits ORDER BY problem")
        for problem, its in groupby(rows, itemgetter(0)):
            keys: set[str] = set()
            for _, operations, recorded in its:
                if checksum(problem, operations.encode()) != recorded:
                    raise self._damaged(f"the results of {problem} are not what was written")
                for key, *_ in decode(operations):
                    if key in keys:
                        raise self._damaged(f"{key} of {problem} has two results")
                    keys.add(key)

    def _damaged(self, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"{self.path} is damaged ({what}); no run goes on from it: put a copy in its place, or begin anew"
        )

    def results(self, problem: str) -> dict[str, tuple[Result, int]]:
        """All committed results of a problem: key → (result, FLOPs charged)."""
        rows = self._reader.execute("SELECT operations FROM commits WHERE problem = ?", (problem,))
        return {
            key: (msgspec.json.decode(result, type=RESULT_TYPES[kind]), flops)
            for (operations,) in rows
            for key, kind, flops, result in decode(operations)
        }

    def record(self, problem: str, key: str, result: Result, flops: int) -> None:
        """Queue one result. Raises what the writer met (a full disk) since the last call."""
        self._raise()
        self._queue.append((problem, encode((key, NAME_OF[type(result)], flops, result))))
        if len(self._queue) == 1:  # else the writer knows: waking it for each would stop this thread
            self._due.set()

    def flush(self) -> None:
        """Return when everything recorded so far is committed. Raises what the writer met."""
        done = threading.Event()
        self._at_once(done)
        done.wait()
        self._raise()

    def close(self) -> None:
        """Flush and close. Raises what the writer met."""
        if self._writer.is_alive():
            self._at_once(None)
            self._writer.join()
            self._reader.close()
            self._database.close()
            self._held.close()
        self._raise()

    def __len__(self) -> int:
        (count,) = self._reader.execute("SELECT count(*) FROM operations").fetchone()
        return count

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _at_once(self, item: _Item) -> None:
        self._queue.append(item)
        self._hurry.set()
        self._due.set()

    def _write(self) -> None:
        open_ = True
        while open_:
            self._due.wait()
            self._due.clear()
            self._hurry.wait(GATHER_SECONDS)
            self._hurry.clear()
            items: list[_Item] = []
            while self._queue:  # until it is empty: only the next one then wakes this thread
                items.append(self._queue.popleft())
            done = [item for item in items if isinstance(item, tuple)]
            if done and self._error is None:
                self._commit(done)
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()
            open_ = None not in items

    def _commit(self, done: Sequence[tuple[str, bytes]]) -> None:
        """In few statements: at each step of one SQLite gives the interpreter back, and then waits for the
        searches to have it anew."""
        by_problem: dict[str, list[bytes]] = {}
        for problem, operation in done:
            by_problem.setdefault(problem, []).append(operation)
        values: list[str | int] = []
        for problem, its in by_problem.items():
            operations = b"[%b]" % b",".join(its)
            values += [problem, operations.decode(), checksum(problem, operations)]
        try:
            for start in range(0, len(values), 3 * ROWS_A_STATEMENT):
                part = values[start : start + 3 * ROWS_A_STATEMENT]
                places = ",".join(["(?,?,?)"] * (len(part) // 3))
                self._database.execute(f"INSERT INTO commits VALUES {places}", part)
        except Exception as error:  # whatever it is, the next call must hear of it
            self._error = error
            if isinstance(error, sqlite3.Error):
                error.args = (f"{self.path}: {error}",)
