"""What the processes of replicas print: the last lines say why one died that could not say it itself."""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

KEPT_LINES = 50
"""Lines of one replica that are kept."""
SHOWN_LINES = 3
"""Lines that are shown of them."""
LONGEST_LINE = 300
"""Characters of a line that are shown."""
_ACTOR_NAME = ":actor_name:"  # Ray names the lines that follow by it (ray_constants.LOG_PREFIX_ACTOR_NAME)
_PHASE = ":phase:"
_TELLING = re.compile(
    r"\b\w*(?:Error|Exception)\b|\berror:|^Fatal |\bterminate called\b|\bwhat\(\):|\bCUDA\b"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^(?:\([^)]* pid=\d+[^)]*\) )?(?:[A-Z]+ [\d-]+ [\d:]+ )?(?:\[[\w./]+:\d+\] )?")


class Phase(NamedTuple):
    """A phase of a replica's start."""

    name: str
    detail: str
    """How far it is, where it tells."""
    began: float
    said: float
    """When the replica last said that it is in it; both by ``time.monotonic``."""


class Printed:
    """The last lines of each replica, by its name."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT_LINES))
        self._phases: dict[str, Phase] = {}

    def add(self, name: str, lines: Iterable[str]) -> list[str]:
        """Keeps lines that a replica has printed, and in which phase of its start it says that it is. Returns
        the lines without those."""
        rest = []
        for line in lines:
            if line.startswith(_PHASE):
                self._enter(name, *line.removeprefix(_PHASE).strip().partition(": ")[::2])
            else:
                rest.append(line)
        self._lines[name].extend(rest)
        return rest

    def _enter(self, name: str, phase: str, detail: str) -> None:
        now, before = time.monotonic(), self._phases.get(name)
        began = before.began if before is not None and before.name == phase else now
        self._phases[name] = Phase(phase, detail, began, now)

    def with_phase(self, name: str) -> str:
        """Returns a replica's name with the phase of its start, how far that is, and the seconds since it
        began, once it has told of it."""
        if (found := self._phases.get(name)) is None:
            return name
        far = f" {found.detail}" if found.detail else ""
        return f"{name} ({found.name}{far}, {time.monotonic() - found.began:.0f} s)"

    def phases(self) -> dict[str, Phase]:
        """Returns the phase of its start in which each replica was last. Another thread may add lines."""
        return self._phases.copy()

    def forget(self, names: Iterable[str]) -> None:
        """Forgets the phases of replicas that start anew."""
        for name in names:
            self._phases.pop(name, None)

    def take(self, name: str) -> str:
        """Returns the last lines of a replica that tell something, in one line, and drops what was kept of
        it; an empty text where it printed nothing."""
        return " | ".join(telling(self._lines.pop(name, ())))


def name_lines(name: str) -> None:
    """Names what this process prints from now on, in the log of the process that started it."""
    for stream in (sys.stdout, sys.stderr):
        print(f"{_ACTOR_NAME}{name}", file=stream, flush=True)


def say_phase(phase: str, detail: str = "") -> None:
    """Tells the process that has started this one in which phase of its start it is, and how far."""
    print(f"{_PHASE}{phase}: {detail}" if detail else f"{_PHASE}{phase}", flush=True)


def telling(lines: Iterable[str]) -> list[str]:
    """Returns the last few lines that name an error, or the last few of all where none does, without what a
    logger puts before them."""
    last = [line.rstrip().rpartition("\r")[2] for line in lines]  # a progress bar is many in one
    plain = [_PREFIX.sub("", _COLOUR.sub("", line)).strip()[:LONGEST_LINE] for line in last]
    plain = list(dict.fromkeys(line for line in plain if line))
    return [line for line in plain if _TELLING.search(line)][-SHOWN_LINES:] or plain[-SHOWN_LINES:]


PRINTED = Printed()
"""What was printed by the replicas that this process has started."""
