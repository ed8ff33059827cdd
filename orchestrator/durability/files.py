"""Files that are there whole or not at all, and files that one process holds at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

WITHOUT_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP])
"""What a file system says that has no locks."""


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed. False: another process holds it. A file system without locks (as
    Lustre often is mounted) cannot tell, and there all may have it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    return True


def write_atomically(path: Path, text: str) -> None:
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
