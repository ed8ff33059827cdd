"""What a run leaves behind: every process that inherited a mark from its environment."""

from __future__ import annotations

import time
from pathlib import Path

MARK = "TTC_TEST_MARK"


def left_behind(mark: str, within: float = 15.0) -> list[str]:
    """Command lines of the processes started under ``MARK=mark`` that are still there after ``within``
    seconds, whatever session or parent they have by now."""
    deadline = time.monotonic() + within
    while (left := _marked(f"{MARK}={mark}\0".encode())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def gone(pids: list[int], within: float = 15.0) -> bool:
    """Whether all of them have ended after ``within`` seconds."""
    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(alive, pids))


def _marked(mark: bytes) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ").strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
