"""The Ray of one run on this machine: it listens on loopback alone, has a token of its own, and keeps its
files in one directory that is removed with it."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path

from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

PREFIX = "ttc-"
LOCK = "ttc.lock"
ABOUT_TO_SECONDS = 60.0
CACHES = "TORCHINDUCTOR_CACHE_DIR"


class LocalFiles:
    """The directory of one local Ray: its sessions, and the temporary files of its engines.

    A process that is killed leaves it behind; the next one that starts a Ray removes it.
    """

    def __init__(self) -> None:
        """Makes the directory. Raises OSError where that is not possible."""
        parent = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())  # as Ray has it
        _remove_left(parent)
        # Short: sockets are below it, and a socket's path has 107 characters at most.
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self.ray = self.directory / "ray"  # Ray opens its own to everybody
        new = self.directory / f"{LOCK}.new"
        self._held = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        new.rename(self.directory / LOCK)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its engines: where their temporary files are, and their caches, which
        outlive it."""
        kept = os.environ.get(CACHES) or f"{tempfile.gettempdir()}/torchinductor_{_user()}"
        return {"TMPDIR": str(self.directory), CACHES: kept}

    def remove(self) -> None:
        """Removes the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
        with suppress(OSError):
            os.close(self._held)


def _remove_left(parent: Path) -> None:
    """Removes the directories of processes that were killed: nobody holds their locks, or they are empty for
    longer than a process takes to put a lock there."""
    for directory in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or not empty
            if time.time() - directory.stat().st_mtime > ABOUT_TO_SECONDS:
                directory.rmdir()
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # another user's, or a living one's
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


@contextmanager
def loopback() -> Iterator[None]:
    """A Ray that is started inside listens on 127.0.0.1, as it does by itself on macOS."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def give_token() -> None:
    """Gives this process, and the Ray that it starts, a token in the environment: else Ray would leave one in
    a file of the user's, which also decides whether clusters that are started later ask for it."""
    if not os.environ.get("RAY_AUTH_TOKEN") and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # A Ray that ran in this process before, a notebook's own, had another token, which Ray remembers.
        AuthenticationTokenLoader.instance().reset_cache()
