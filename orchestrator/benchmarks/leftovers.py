"""What a run may leave behind, however it ends: processes, shared-memory segments, sockets.

Nothing here trusts what a process says of itself: the kernel's own tables are read.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from orchestrator.benchmarks.processes import left_behind

SHARED_MEMORY = Path("/dev/shm")
VARIABLE = "TTC_FOOTPRINT"
"""An environment variable that every process of a run inherits."""
LOOK_SECONDS = 0.5
"""How often what is left is looked at while it is waited for."""


@dataclass(frozen=True)
class Left:
    """``processes``: command lines. ``segments``: names of shared memory that no process has mapped any more.
    ``sockets``: paths of Unix sockets that are bound. (The names in the file system of sockets that were a
    killed Ray's stay, as its logs do; nobody listens there.)"""

    processes: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.processes or self.segments or self.sockets)


class Footprint:
    """By what a run's traces are told from those of others on the machine: its processes by a mark in their
    ``environment``, its sockets by the ``directory`` of its temporary files, which only it uses."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ttc-", dir="/tmp"))  # short: Ray's sockets are in it
        self.environment = {
            VARIABLE: uuid.uuid4().hex,
            "TMPDIR": str(self.directory),
            "RAY_TMPDIR": str(self.directory),
        }
        self._segments = segments()

    def left(self, deadline: float) -> Left:
        """What is there still at ``deadline``, of the monotonic clock."""
        while (left := self._look()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return left

    def remove(self) -> None:
        """Remove the directory of its temporary files, Ray's logs among them."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _look(self) -> Left:
        return Left(
            tuple(left_behind(VARIABLE, self.environment[VARIABLE], deadline=0)),  # now
            tuple(sorted(unmapped(segments() - self._segments))),
            tuple(sorted(path for path in bound_sockets() if Path(path).is_relative_to(self.directory))),
        )


def segments() -> set[str]:
    """Names of the POSIX shared-memory segments that there are."""
    return {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()


def unmapped(names: Set[str]) -> set[str]:
    """Those of these segments that no living process has mapped: nobody can want them any more."""
    left = set(names)
    for process in Path("/proc").glob("[0-9]*") if left else ():
        try:
            maps = (process / "maps").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        left -= {name for name in left if f"{SHARED_MEMORY}/{name}\n" in maps}
    return left


def bound_sockets() -> set[str]:
    """Paths of the Unix sockets that a process listens on or is connected by."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {"/" + line.split("/", 1)[1] for line in lines if "/" in line}


def socket_files(directory: Path) -> list[str]:
    """The sockets in a directory, bound or not."""
    return sorted(str(path) for path in directory.rglob("*") if path.is_socket())
