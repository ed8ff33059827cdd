"""The journal: an append-only record of every operation's result, in SQLite.

An operation is named by its problem and its key (kind and node path), never by a sequence number, so the
record of a search does not depend on the order in which operations finish. A result is recorded once; when a
resumed run asks for it again, the journal answers instead of the engines.

``record`` only encodes and queues; one thread commits what has gathered, the results of a problem in one row.
What a crash loses of the queue is bounded (``QUEUED_SECONDS``) and is redone with the same seeds; it is
charged once, since a ledger starts from what the journal holds.

SQLite cuts a torn write off its log (frames have checksums). Any other damage is found when the file is
opened: by SQLite's check of the structure, by each row's own checksum, and because no operation may have two
results.

The write-ahead log needs memory that all processes with the file open share, so it does not work on network
file systems (https://sqlite.org/wal.html). There the journal uses a rollback journal, at two more syncs a
commit.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import msgspec

from actors.messages import Result, SampleResult, ScoreResult
from orchestrator.durability.file_systems import is_local
from orchestrator.durability.files import lock
from orchestrator.durability.parts import changed

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
"""A row holds what one commit records of one problem, as a JSON array. With a row an operation, ordered by
name, almost every row of a commit would dirty a page of its own, and SQLite writes whole pages. The view
``operations`` has a row an operation, for readers."""

RESULT_TYPES: dict[str, type[Result]] = {"sample": SampleResult, "score": ScoreResult}
NAME_OF = {result: kind for kind, result in RESULT_TYPES.items()}
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[tuple[str, str, int, msgspec.Raw]]).decode
"""Reads a row: (key, kind, FLOPs, result) of each operation."""

GATHER_SECONDS = 0.05
"""How long a commit waits for more results to join it."""

QUEUED = 10_000
"""Operations that may wait for a commit. As many may be in the commit that is under way."""

QUEUED_SECONDS = 0.5
"""How long results may be recorded while the first of them waits for a commit. Where the process is killed, a
run redoes what its engines had in flight and what was recorded in at most twice this time, however slow the
disk is: a search that is faster than the disk waits in ``record``. Where the machine loses power, it also
redoes what the operating system had not yet written of a write-ahead log, which is synced at checkpoints
only."""

NOTICE_SECONDS = 0.1
"""How soon a caller that waits for the writer notices that it has ended."""

ROWS_A_STATEMENT = 1000
"""A statement takes up to 32,766 values in SQLite; a row has three."""

DAMAGE = {None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLite's codes for a file that is not what was written; None is text that Python cannot decode."""

UNREADABLE = (sqlite3.Error, TypeError, UnicodeDecodeError)
"""Errors that Python raises for such a file; UnicodeDecodeError if SQLite's message quotes damaged text."""

_Item = tuple[str, bytes] | threading.Event | None
"""A problem and one of its operations, a flush to acknowledge, or the end."""


class JournalFailed(sqlite3.OperationalError):
    """Results can no longer be committed, or read: a full disk, or whatever else it was (``__cause__``)."""


class JournalMismatch(Exception):
    """The journal belongs to another run: its configuration is another one, or a file has changed."""


class JournalInUse(Exception):
    """Another process has the journal open: two would compute, and record, the same operations."""


class JournalDamaged(Exception):
    """The journal is not what was written: a run that resumed from it could end differently."""

    def __init__(self, message: str) -> None:
        """Keeps the message in one line: SQLite's own may quote a statement of several."""
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


def fingerprint_in(path: Path) -> str | None:
    """Returns the fingerprint that a journal was created with, or None if there is no readable journal."""
    found: str | None = _first(path, "SELECT value FROM header WHERE key='fingerprint'")
    return found


def changed_since(path: Path, parts: Mapping[str, str]) -> str:
    """Returns in words what of a run's ``parts`` is not as it was when its journal was begun; what it may be
    where the journal, of an earlier version, does not tell."""
    return changed(_first(path, "SELECT value FROM header WHERE key='parts'"), parts)


def holds_results(path: Path) -> bool:
    """Tells whether a journal can be read and has a result: whether there is something to go on with."""
    return _first(path, "SELECT 1 FROM commits LIMIT 1") is not None


def in_use(path: Path) -> bool:
    """Tells whether a process has the journal open."""
    held = path.with_suffix(".lock")
    try:
        with held.open("rb") as file:
            return not lock(file.fileno())
    except OSError:  # nobody has ever opened it, or may
        return False


def _first(path: Path, query: str) -> Any:
    """The first column of the first row; None where there is none, or no readable journal."""
    if not path.is_file():
        return None
    for mode in ("mode=ro", "immutable=1"):  # on a full disk a write-ahead log cannot be read, its file can
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)) as database:
                row = database.execute(query).fetchone()
        except UNREADABLE:  # killed before its first line, or damaged since
            continue
        return row[0] if row else None
    return None


def journal_mode(path: Path) -> str:
    """Returns SQLite's journal mode for ``path``: WAL, or TRUNCATE on a file system that may be a
    network's."""
    return "WAL" if is_local(path) else "TRUNCATE"


def hold(path: Path) -> IO[bytes]:
    """Opens a file that no other process can hold until it is closed or this process ends. Raises
    JournalInUse if another process holds it."""
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
    """Returns SQLite's primary code of an error; None if the error is Python's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def checksum(problem: str, operations: bytes) -> int:
    """Returns the CRC-32 of a row."""
    return zlib.crc32(operations, zlib.crc32(f"{problem}\0".encode()))


class Journal:
    """The operations of one run. ``record`` is for one thread; ``flush`` may be called from any."""

    def __init__(
        self,
        path: Path | str,
        *,
        fingerprint: str = "",
        earlier: Sequence[str] = (),
        parts: Mapping[str, str] | None = None,
    ) -> None:
        """Opens or creates the file. ``fingerprint`` is a digest of what determines the results (models,
        strategy, problems, seed, budget), and ``parts`` are digests of each, by name; ``earlier`` are
        fingerprints of the same run by earlier versions. Raises JournalMismatch if another one is recorded,
        JournalInUse and JournalDamaged."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = hold(self.path.with_suffix(".lock"))
        self._database = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            self._open((fingerprint, *earlier), parts or {})
        except BaseException as error:
            self._database.close()
            self._held.close()
            if isinstance(error, UNREADABLE) and (_code(error) in DAMAGE or self._of_a_later_format(error)):
                raise self._damaged(str(error)) from error
            raise
        # A second connection: on a shared one, a reading search would wait for a commit.
        self._reader = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._closed = False
        self._cause: BaseException | None = None
        """What ended the writer."""
        self._queue: deque[_Item] = deque()
        self._since = 0.0
        """When the first result of the queue was recorded, by ``time.monotonic``."""
        self._due, self._hurry, self._taken = threading.Event(), threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def _open(self, fingerprints: Sequence[str], parts: Mapping[str, str]) -> None:
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
        note = "INSERT OR IGNORE INTO header VALUES (?, ?)"
        self._database.execute(note, ("fingerprint", fingerprints[0]))
        header = dict(self._database.execute("SELECT key, value FROM header").fetchall())
        if header["fingerprint"] not in fingerprints:
            differs = changed(header.get("parts"), parts)
            raise JournalMismatch(
                f"{self.path} records another run: {differs}; put back what has changed, or begin a new run"
            )
        self._database.execute(note, ("parts", encode(parts).decode()))

    def _check(self) -> None:
        """Raises JournalDamaged if a row is not what was written, or an operation has two results."""
        rows = self._database.execute("SELECT problem, operations, checksum FROM commits ORDER BY problem")
        for problem, of_problem in groupby(rows, itemgetter(0)):
            keys: set[str] = set()
            for _, operations, recorded in of_problem:
                if checksum(problem, operations.encode()) != recorded:
                    raise self._damaged(f"the results of {problem} are not what was written")
                for key, *_ in decode(operations):
                    if key in keys:
                        raise self._damaged(f"{key} of {problem} has two results")
                    keys.add(key)

    def _of_a_later_format(self, error: BaseException) -> bool:
        """Tells whether SQLite will not write a file that may be written: its header says so, wrongly."""
        return _code(error) == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK)

    def _damaged(self, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"{self.path} is damaged ({what}); no run goes on from it: put a copy in its place, or begin anew"
        )

    def results(self, problem: str) -> dict[str, tuple[Result, int]]:
        """Returns all committed results of a problem: key → (result, FLOPs charged). Raises JournalFailed
        where they cannot be read."""
        query = "SELECT operations FROM commits WHERE problem = ?"
        try:
            rows = self._reader.execute(query, (problem,)).fetchall()
        except sqlite3.Error as error:
            raise JournalFailed(f"{self.path}: {error}") from error
        return {
            key: (msgspec.json.decode(result, type=RESULT_TYPES[kind]), flops)
            for (operations,) in rows
            for key, kind, flops, result in decode(operations)
        }

    def record(self, problem: str, key: str, result: Result, flops: int) -> None:
        """Queues one result. Waits for the writer where it is behind by ``QUEUED`` operations or
        ``QUEUED_SECONDS``. Raises JournalFailed once the writer has ended."""
        if self._cause is not None:
            raise self._failed()
        item = (problem, encode((key, NAME_OF[type(result)], flops, result)))
        if self._queue and self._behind():
            self._wait_for_writer()
        self._queue.append(item)
        if len(self._queue) == 1:  # else the writer knows: waking it for each would stop this thread
            self._since = time.monotonic()
            self._due.set()

    def flush(self) -> None:
        """Returns when everything recorded so far is committed. Raises JournalFailed once the writer has
        ended."""
        done = threading.Event()
        self._put(done)
        while not done.wait(NOTICE_SECONDS):
            if not self._writer.is_alive() and not done.is_set():
                raise self._failed()

    def close(self) -> None:
        """Flushes and closes. Raises JournalFailed, with the file closed, where results could not be
        committed. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._put(None)
        self._writer.join()
        with suppress(sqlite3.Error):  # else a page that reads along would leave all of it beside the file
            self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for connection in (self._reader, self._database, self._held):
            connection.close()
        if self._cause is not None or self._queue:
            raise self._failed()
        self._cause = ValueError("the journal is closed")

    def held(self) -> tuple[int, int]:
        """Returns how many operations are committed, and the FLOPs that were charged for them."""
        count, flops = self._reader.execute("SELECT count(*), total(flops) FROM operations").fetchone()
        return count, int(flops)

    def __len__(self) -> int:
        (count,) = self._reader.execute("SELECT count(*) FROM operations").fetchone()
        return count

    def _failed(self) -> JournalFailed:
        cause = self._cause or RuntimeError("its writer is gone")
        message = str(cause) if isinstance(cause, sqlite3.Error) else f"{type(cause).__name__}: {cause}"
        failed = JournalFailed(f"{self.path}: {message}")
        failed.__cause__ = cause
        return failed

    def _behind(self) -> bool:
        return len(self._queue) >= QUEUED or time.monotonic() - self._since > QUEUED_SECONDS

    def _wait_for_writer(self) -> None:
        """Returns when the writer has taken what is queued. Raises JournalFailed where it has ended."""
        while True:
            self._taken.clear()
            if not self._queue:
                return
            if not self._writer.is_alive():
                raise self._failed()
            self._hurry.set()
            self._due.set()
            self._taken.wait(NOTICE_SECONDS)

    def _put(self, item: _Item) -> None:
        """Queues what the writer must not gather more for."""
        self._queue.append(item)
        self._hurry.set()
        self._due.set()

    def _write(self) -> None:
        try:
            while self._write_queued():
                pass
        except BaseException as error:  # whatever it is, the next call must hear of it
            self._cause = error

    def _write_queued(self) -> bool:
        """Waits for results and commits them. Returns False after the last."""
        self._due.wait()
        self._due.clear()
        self._hurry.wait(GATHER_SECONDS)
        self._hurry.clear()
        items: list[_Item] = []
        while self._queue:  # until it is empty: only the next one then wakes this thread
            items.append(self._queue.popleft())
        self._taken.set()
        if done := [item for item in items if isinstance(item, tuple)]:
            self._commit(done)
        for item in items:
            if isinstance(item, threading.Event):
                item.set()
        return None not in items

    def _commit(self, done: Sequence[tuple[str, bytes]]) -> None:
        """Commits in few statements: SQLite releases the interpreter at each step of a statement, and then
        waits until the searches let it have it again."""
        by_problem: dict[str, list[bytes]] = {}
        for problem, operation in done:
            by_problem.setdefault(problem, []).append(operation)
        values: list[str | int] = []
        for problem, encoded in by_problem.items():
            operations = b"[%b]" % b",".join(encoded)
            values += [problem, operations.decode(), checksum(problem, operations)]
        for start in range(0, len(values), 3 * ROWS_A_STATEMENT):
            part = values[start : start + 3 * ROWS_A_STATEMENT]
            places = ",".join(["(?,?,?)"] * (len(part) // 3))
            self._database.execute(f"INSERT INTO commits VALUES {places}", part)
