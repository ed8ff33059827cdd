"""Processes: how one of them is, and those that a run leaves behind, by a mark in their environment."""

from __future__ import annotations

import os
import time
from pathlib import Path


def left_behind(variable: str, mark: str, deadline: float) -> list[str]:
    """Command lines of the processes started under ``variable=mark`` that are still there at ``deadline``, of
    the monotonic clock, whatever session or parent they have by now."""
    while (left := _marked(f"{variable}={mark}\0".encode())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def running(pid: int) -> bool:
    """Whether it is alive, and neither stopped nor dead but for its parent's notice."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "TtZ"


def cpu_seconds(pid: int) -> float:
    """Processor time that it has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system


def _marked(mark: bytes) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ").strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
