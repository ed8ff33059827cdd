"""Keeps what a run logs in its directory until the tracking store has it.

``tracking.jsonl``: one entry a line, only ever appended to; a line is in the file when ``append`` returns, so
a killed process loses none. ``tracking.done``: how many bytes of it the store has acknowledged. Whoever
writes the entries to the store holds a lock, so no two processes write the same ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.durability.files import lock, naming, write_atomically

FILE = "tracking.jsonl"


@dataclass(frozen=True, slots=True)
class Begin:
    """The run begins, or goes on."""

    experiment: str
    name: str
    tags: Mapping[str, str]
    token: str
    """This entry's own, so that a run which was created and not remembered is found again."""
    uri: str | None
    """None is the store beside the runs."""
    parent: str | None
    """The directory of the run that this one is nested in, relative to its own."""
    ms: int
    """Milliseconds since 1970."""
    study: str = ""
    """What the run asks, for the experiment's description (``about.described``); empty adds nothing."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the run."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A point of a metric."""

    name: str
    value: float
    ms: int
    """Milliseconds since 1970."""
    step: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of the run; the last one of a key counts."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The problems that the run is about."""

    name: str
    digest: str
    """Tells one set of problems from another; at most 36 characters."""
    source: str
    """The set's own configuration, as JSON."""
    problems: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of the run."""

    path: str
    """Relative to the spool's directory."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of a search."""

    path: str
    """The trace's file, relative to the spool's directory."""


@dataclass(frozen=True, slots=True)
class End:
    """The run ends."""

    status: str
    """FINISHED, FAILED or KILLED."""
    ms: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no entry, as a machine that went down may leave."""

    line: str


Entry = Begin | Param | Metric | Tag | Dataset | Artifact | Trace | End | Unreadable
ENTRY_TYPES: dict[str, type[Entry]] = {
    kind.__name__: kind for kind in (Begin, Param, Metric, Tag, Dataset, Artifact, Trace, End)
}


class Held(Exception):
    """Another process writes this spool's entries to the store."""


class Spool:
    """The entries of one run. One thread may append while another reads and marks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / FILE
        self._done_path = directory / "tracking.done"
        self._appending: int | None = None
        self._lock: int | None = None

    def append(self, entries: Iterable[Entry]) -> None:
        """Writes the entries to the disk. Raises OSError, with the file's name, where it takes none."""
        with naming(self._path):
            self._append(entries)

    def _append(self, entries: Iterable[Entry]) -> None:
        lines = "".join(_line([type(each).__name__, *astuple(each)]) for each in entries)
        if self._appending is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._appending = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            size = os.fstat(self._appending).st_size
            if size and os.pread(self._appending, 1, size - 1) != b"\n":
                lines = "\n" + lines  # the end of a torn line
        data = lines.encode()
        while data:
            data = data[os.write(self._appending, data) :]

    def read(self, most: int) -> list[tuple[Entry, int]]:
        """Returns the first entries that the store has not acknowledged, at most ``most``, each with the
        position that ``mark`` is told once the store has it."""
        entries = []
        with self._path.open("rb") as file:
            position = self.done
            file.seek(position)
            for line in islice(file, most):
                if not line.endswith(b"\n"):  # it is being written
                    break
                position += len(line)
                entries.append((_entry(line), position))
        return entries

    @property
    def done(self) -> int:
        """Bytes that the store has acknowledged; 0 where a machine that went down left no number (entries
        that are written again are there once)."""
        try:
            return int(self._done_path.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def mark(self, position: int) -> None:
        """Remembers that the store has all entries before ``position``."""
        write_atomically(self._done_path, str(position))

    def waiting(self) -> int:
        """Returns how many entries the store has not acknowledged."""
        if not self._path.is_file():
            return 0
        with self._path.open("rb") as file:
            file.seek(self.done)
            return sum(line.endswith(b"\n") for line in file)

    def beginning(self) -> Begin | None:
        """Returns the entry with which the run began the last time; None where it did not get so far."""
        with self._path.open("rb") as file:
            begun = [line for line in file if line.startswith(b'["Begin"') and line.endswith(b"\n")]
        entry = _entry(begun[-1]) if begun else None
        return entry if isinstance(entry, Begin) else None

    def hold(self) -> None:
        """Locks the spool for writing to the store, until ``release``. Raises Held where another process has
        it."""
        if self._lock is None:
            # For writing, since NFS locks no other; and not the entries' own file, which on SMB this process
            # could then not append to.
            descriptor = os.open(self.directory / "tracking.lock", os.O_RDWR | os.O_CREAT, 0o644)
            if not lock(descriptor):
                os.close(descriptor)
                raise Held(f"another process writes {self._path}")
            self._lock = descriptor

    def release(self) -> None:
        """Gives the lock up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Closes the file that entries are appended to."""
        if self._appending is not None:
            os.close(self._appending)
            self._appending = None


def _line(fields: list[Any]) -> str:
    """An entry's line; what no store can hold, as half a character of a path in another encoding, is
    replaced."""
    return json.dumps(fields, ensure_ascii=False).encode(errors="replace").decode() + "\n"


def _entry(line: bytes) -> Entry:
    try:
        kind, *fields = json.loads(line)
        make: Any = ENTRY_TYPES[kind]
        entry: Entry = make(*fields)
    except (ValueError, TypeError, KeyError):
        return Unreadable(line.decode(errors="replace").strip())
    return entry
