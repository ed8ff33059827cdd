"""Small files that are there whole or not at all, also where the disk is full or the process is killed."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` in the file's place. OSError where the disk does not take it: what was there is kept."""
    writing = path.with_name(f"{path.name}.part")
    try:
        writing.write_text(text)
        writing.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # Python's own names no file
