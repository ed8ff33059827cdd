"""What the processes of replicas print: the last lines say why one died that could not say it itself."""

from __future__ import annotations

import re
import sys
from collections import defaultdict, deque
from collections.abc import Iterable

KEPT_LINES = 50
"""Lines of one replica that are kept."""
SHOWN_LINES = 3
"""Lines that are shown of them."""
LONGEST_LINE = 300
"""Characters of a line that are shown."""
_ACTOR_NAME = ":actor_name:"  # Ray names the lines that follow by it (ray_constants.LOG_PREFIX_ACTOR_NAME)
_TELLING = re.compile(
    r"\b\w*(?:Error|Exception)\b|\berror:|^Fatal |\bterminate called\b|\bwhat\(\):|\bCUDA\b"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^(?:\([^)]* pid=\d+[^)]*\) )?(?:[A-Z]+ [\d-]+ [\d:]+ )?(?:\[[\w./]+:\d+\] )?")


class Printed:
    """The last lines of each replica, by its name."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT_LINES))

    def add(self, name: str, lines: Iterable[str]) -> None:
        """Keeps lines that a replica has printed."""
        self._lines[name].extend(lines)

    def take(self, name: str) -> str:
        """Returns the last lines of a replica that tell something, in one line, and drops what was kept of
        it; an empty text where it printed nothing."""
        return " | ".join(telling(self._lines.pop(name, ())))


def name_lines(name: str) -> None:
    """Names what this process prints from now on, in the log of the process that started it."""
    for stream in (sys.stdout, sys.stderr):
        print(f"{_ACTOR_NAME}{name}", file=stream, flush=True)


def telling(lines: Iterable[str]) -> list[str]:
    """Returns the last few lines that name an error, or the last few of all where none does, without what a
    logger puts before them."""
    last = [line.rstrip().rpartition("\r")[2] for line in lines]  # a progress bar is many in one
    plain = [_PREFIX.sub("", _COLOUR.sub("", line)).strip()[:LONGEST_LINE] for line in last]
    plain = list(dict.fromkeys(line for line in plain if line))
    return [line for line in plain if _TELLING.search(line)][-SHOWN_LINES:] or plain[-SHOWN_LINES:]


PRINTED = Printed()
"""What was printed by the replicas that this process has started."""
