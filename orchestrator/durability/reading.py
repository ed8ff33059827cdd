"""Reads a journal that another process may still write, and changes nothing in its directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from actors.messages import Result
from orchestrator.durability.journal import RESULT_TYPES, UNREADABLE, JournalDamaged, checksum, decode

Recorded = tuple[str, Result, int]
"""An operation's key, its result, and its charge in FLOPs."""


class StoredJournal:
    """The operations of a run, problem by problem. Threads may use it one after the other."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database

    def problems(self) -> list[str]:
        """Returns the names under which operations are recorded, the first recorded one first."""
        query = "SELECT problem FROM commits GROUP BY problem ORDER BY min(rowid)"
        return [problem for (problem,) in self._database.execute(query)]

    def results(self, problem: str, last: int | None = None) -> list[Recorded]:
        """Returns a problem's operations in the order in which they were recorded, up to the commit ``last``
        where that is given. Raises JournalDamaged where they are not what was written."""
        query = (
            "SELECT problem, operations, checksum FROM commits"
            " WHERE problem = ? AND rowid <= ifnull(?, rowid) ORDER BY rowid"
        )
        rows = self._database.execute(query, (problem, last))
        return [recorded for row in rows for recorded in self._read(*row)]

    def since(self, last: int) -> Iterator[tuple[int, str, list[Recorded]]]:
        """Yields each commit after ``last`` (0 is before the first): its number, the name under which it was
        recorded, and its operations. Raises JournalDamaged where they are not what was written."""
        query = "SELECT rowid, problem, operations, checksum FROM commits WHERE rowid > ? ORDER BY rowid"
        for number, problem, operations, written in self._database.execute(query, (last,)):
            yield number, problem, self._read(problem, operations, written)

    def _read(self, problem: str, operations: str, written: int) -> list[Recorded]:
        if checksum(problem, operations.encode()) != written:
            raise JournalDamaged(f"{self._path}: the results of {problem} are not what was written")
        return [
            (key, msgspec.json.decode(result, type=RESULT_TYPES[kind]), flops)
            for key, kind, flops, result in decode(operations)
        ]


@contextmanager
def stored(path: Path) -> Iterator[StoredJournal]:
    """Opens a journal to read. Raises JournalDamaged where there is none, or it cannot be read."""
    try:
        with closing(_opened(path)) as database:
            yield StoredJournal(path, database)
    except UNREADABLE as error:
        raise JournalDamaged(f"{path} cannot be read: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    failed: Exception | None = None
    for mode in ("mode=ro", "immutable=1"):  # where nothing may be written, a write-ahead log cannot be read
        address = f"{path.resolve().as_uri()}?{mode}"
        database = sqlite3.connect(address, uri=True, check_same_thread=False)
        try:
            database.execute("SELECT 1 FROM commits LIMIT 1").fetchone()
        except UNREADABLE as error:
            database.close()
            failed = error
            continue
        return database
    assert failed is not None
    raise failed
