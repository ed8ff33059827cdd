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

import psutil
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

PREFIX = "ttc-"
LOCK = "ttc.lock"
ABOUT_TO_SECONDS = 60.0
KILL_SECONDS = 5.0
"""Seconds in which what is killed must have ended."""
SHARED_MEMORY = Path("/dev/shm")
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

    def end_processes(self) -> None:
        """Kills what this process has started in the directory: a Ray whose start fails leaves its processes
        running, and ``ray.shutdown`` knows of none."""
        own = [child for child in psutil.Process().children() if _names(child, f"{self.directory}/")]
        family = [*own, *(each for child in own for each in _descendants(child))]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=KILL_SECONDS)

    def remove(self) -> None:
        """Removes the directory, once nobody writes into it any more."""
        self.end_processes()
        _remove(self.directory)
        with suppress(OSError):
            os.close(self._held)


def _remove(directory: Path) -> None:
    """Removes a directory, and the shared memory of tensor-parallel engines that were killed in it."""
    # vLLM 0.32: on CPUs an engine's workers meet at a file of their temporary directory, and name their
    # shared memory after it. Workers that end by themselves remove both.
    for meeting in directory.glob("vllm_dist_*"):
        for segment in SHARED_MEMORY.glob(f"{meeting.name}-*-cpushm_*"):
            with suppress(OSError):
                segment.unlink()
    shutil.rmtree(directory, ignore_errors=True)


def _names(process: psutil.Process, path: str) -> bool:
    """Tells whether a process has a path in its command line."""
    with suppress(psutil.Error):
        return any(path in word for word in process.cmdline())
    return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


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
                _remove(lock.parent)
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
