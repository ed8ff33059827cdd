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
    """The operations of a run, problem by problem."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database

    def problems(self) -> list[str]:
        """Returns the names under which operations are recorded, the first recorded one first."""
        query = "SELECT problem FROM commits GROUP BY problem ORDER BY min(rowid)"
        return [problem for (problem,) in self._database.execute(query)]

    def results(self, problem: str) -> list[Recorded]:
        """Returns a problem's operations in the order in which they were recorded. Raises JournalDamaged
        where they are not what was written."""
        query = "SELECT operations, checksum FROM commits WHERE problem = ? ORDER BY rowid"
        found: list[Recorded] = []
        for operations, written in self._database.execute(query, (problem,)):
            if checksum(problem, operations.encode()) != written:
                raise JournalDamaged(f"{self._path}: the results of {problem} are not what was written")
            found += [
                (key, msgspec.json.decode(result, type=RESULT_TYPES[kind]), flops)
                for key, kind, flops, result in decode(operations)
            ]
        return found


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
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        try:
            database.execute("SELECT 1 FROM commits LIMIT 1").fetchone()
        except UNREADABLE as error:
            database.close()
            failed = error
            continue
        return database
    assert failed is not None
    raise failed
