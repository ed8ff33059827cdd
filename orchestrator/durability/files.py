"""Atomic writes, and locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WITHOUT_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP])
"""Errors of a file system that has no locks."""


def lock(descriptor: int) -> bool:
    """Locks an open file until it is closed. Returns False if another process holds it. A file system without
    locks (as Lustre often is mounted) cannot tell, so there it returns True."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    return True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets an OSError of what is done inside name the file: where a write fails, Python's own names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the path of a new file, which takes the place of ``path`` at the end: after a crash, or an
    error, the file has the old content or the new. Raises OSError, with the old content in place, if the disk
    does not take it."""
    writing = path.with_name(f"{path.name}.part")
    try:
        with naming(path):
            yield writing
            with writing.open("rb+") as file:
                os.fsync(file.fileno())  # else the name may reach the disk before what it names
            writing.replace(path)
    except BaseException:
        with suppress(OSError):
            writing.unlink()
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file's content (text as UTF-8), as ``replacing`` does."""
    with replacing(path) as writing:
        writing.write_bytes(content.encode() if isinstance(content, str) else content)
