"""Small files that are there whole or not at all, also where the disk is full, the process is killed or the
machine goes down."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` in the file's place. OSError where the disk does not take it: what was there is kept."""
    writing = path.with_name(f"{path.name}.part")
    try:
        with writing.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else the name may reach the disk before what it names
        writing.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # Python's own names no file
