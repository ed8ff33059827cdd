"""One process at a time: a lock on a file, which ends with the process, however it ends."""

from __future__ import annotations

import errno
import fcntl

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
