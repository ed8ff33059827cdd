"""Processes of this machine: their state, and those that a run has left behind, told by a mark in their
environment."""

from __future__ import annotations

import time
from pathlib import Path

MARK = "TTC_TEST_MARK"


def left_behind(mark: str, within: float = 15.0, variable: str = MARK) -> list[str]:
    """Waits up to ``within`` seconds until no process with ``variable=mark`` in its environment is there,
    whatever its session or parent; returns the command lines of those that remain."""
    deadline = time.monotonic() + within
    while (left := _marked(f"{variable}={mark}\0".encode())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def gone(pids: list[int], within: float = 15.0) -> bool:
    """Waits up to ``within`` seconds until all of the processes have ended; returns whether they have."""
    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(alive, pids))


def running(pid: int) -> bool:
    """Returns False where the process is stopped, has ended, or is a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "TtZ"


def _marked(mark: bytes) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ").strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
