"""Reads the lines of a file that another process still writes."""

from __future__ import annotations

import os
from pathlib import Path


class GrowingLines:
    """The whole lines of a file, each read once. A line that has no end yet is read once it has one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0
        """The file of that name, by the number that its file system gives it."""
        self._read = 0
        """How many of its bytes were read."""

    def new(self) -> list[bytes] | None:
        """Returns the lines that are new; of a file that has taken the other one's place, or was cut, all;
        None where there is no file."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._file or status.st_size < self._read:
                    self._file, self._read = status.st_ino, 0
                file.seek(self._read)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return None
        self._read += len(whole) + len(end)
        return whole.split(b"\n") if end else []
