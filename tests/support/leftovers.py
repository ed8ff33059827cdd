"""Finds what a run leaves behind, however it ends: processes, shared-memory segments, sockets. It reads the
kernel's tables, not what a process reports about itself."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import left_behind

SHARED_MEMORY = Path("/dev/shm")
VARIABLE = "TTC_FOOTPRINT"
"""An environment variable that every process of a run inherits."""
LOOK_SECONDS = 0.5
"""Seconds between two looks at what is left."""


@dataclass(frozen=True)
class Left:
    """What a run has left. A killed Ray's socket files stay, as its logs do; they do not count here, since
    nobody listens on them."""

    processes: tuple[str, ...] = ()
    """Command lines."""
    segments: tuple[str, ...] = ()
    """Names of shared memory that no process has mapped any more."""
    sockets: tuple[str, ...] = ()
    """Paths of Unix sockets that a process has bound."""

    def __bool__(self) -> bool:
        return bool(self.processes or self.segments or self.sockets)


class Footprint:
    """Tells a run's traces from those of others on the machine: its processes by a mark in their
    environment, its sockets by a temporary directory that only this run uses."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ttc-", dir="/tmp"))  # short: Ray's sockets are in it
        self.environment = {
            VARIABLE: uuid.uuid4().hex,
            "TMPDIR": str(self.directory),
            "RAY_TMPDIR": str(self.directory),
        }
        """Variables with which the run is to be started."""
        self._segments = segments()

    def left(self, deadline: float) -> Left:
        """Waits until nothing is left or until ``deadline`` (monotonic clock); returns what is left then."""
        while (left := self._look()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return left

    def remove(self) -> None:
        """Removes the temporary directory, with Ray's logs."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _look(self) -> Left:
        return Left(
            tuple(left_behind(self.environment[VARIABLE], within=0, variable=VARIABLE)),
            tuple(sorted(unmapped(segments() - self._segments))),
            tuple(sorted(path for path in bound_sockets() if Path(path).is_relative_to(self.directory))),
        )


def segments() -> set[str]:
    """Returns the names of all POSIX shared-memory segments of the machine."""
    return {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()


def unmapped(names: Set[str]) -> set[str]:
    """Returns those of the segments that no living process has mapped: nobody can use them any more."""
    left = set(names)
    for process in Path("/proc").glob("[0-9]*") if left else ():
        try:
            maps = (process / "maps").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        left -= {name for name in left if f"{SHARED_MEMORY}/{name}\n" in maps}
    return left


def bound_sockets() -> set[str]:
    """Returns the paths of the Unix sockets that a process listens on or is connected by."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {"/" + line.split("/", 1)[1] for line in lines if "/" in line}


def socket_files(directory: Path) -> list[str]:
    """Returns the paths of the socket files under a directory, bound or not."""
    return sorted(str(path) for path in directory.rglob("*") if path.is_socket())
