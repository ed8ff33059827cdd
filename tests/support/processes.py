"""What a test leaves behind: every process that inherited a mark from its environment."""

from __future__ import annotations

import time

from orchestrator.benchmarks import processes
from orchestrator.benchmarks.processes import alive

MARK = "TTC_TEST_MARK"


def left_behind(mark: str, within: float = 15.0) -> list[str]:
    """Command lines of the processes started under ``MARK=mark`` that are still there after ``within``
    seconds."""
    return processes.left_behind(MARK, mark, time.monotonic() + within)


def gone(pids: list[int], within: float = 15.0) -> bool:
    """Whether all of them have ended after ``within`` seconds."""
    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(alive, pids))
