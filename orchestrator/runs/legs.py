"""The time that a run takes, over all its legs: a run that was cut short and goes on has several.

``legs.jsonl`` in the run's directory is only appended to: a line where a leg begins, one where a search ends,
and one every few seconds. So what was measured before a process was killed is kept, but for the last seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE = "legs.jsonl"
TICK_SECONDS = 5.0
"""Seconds between two lines about a leg that goes on: a process that is killed loses no more."""


@dataclass
class Leg:
    """One leg, as far as it got."""

    startup_seconds: float = 0.0
    seconds: float = 0.0
    """Seconds of search."""
    tokens: int = 0
    """Tokens that the generators sampled in this leg."""
    busy: dict[str, float] = field(default_factory=dict)
    """By pool: the seconds in which its replicas had work, summed over replicas."""
    replicas: dict[str, int] = field(default_factory=dict)


@dataclass
class Spent:
    """The time of all legs together."""

    legs: list[Leg] = field(default_factory=list)
    problems: dict[str, float] = field(default_factory=dict)
    """By problem: the seconds of its search, over the legs in which it was at work."""
    ended: set[str] = field(default_factory=set)
    """Problems whose search has ended: in a later leg it is only replayed."""

    @property
    def seconds(self) -> float:
        """Seconds of search."""
        return sum(leg.seconds for leg in self.legs)

    @property
    def startup_seconds(self) -> float:
        """Seconds that Ray and the engines took to start."""
        return sum(leg.startup_seconds for leg in self.legs)

    @property
    def tokens(self) -> int:
        """Tokens that were sampled."""
        return sum(leg.tokens for leg in self.legs)

    @property
    def utilisation(self) -> dict[str, float]:
        """By pool: the share of the search in which its replicas had work, on average."""
        there: dict[str, float] = {}
        busy: dict[str, float] = {}
        for leg in self.legs:
            for pool, replicas in leg.replicas.items():
                there[pool] = there.get(pool, 0.0) + replicas * leg.seconds
                busy[pool] = busy.get(pool, 0.0) + leg.busy.get(pool, 0.0)
        return {pool: min(1.0, busy[pool] / all_of) if all_of else 0.0 for pool, all_of in there.items()}


class Legs:
    """The legs of a run: those before, and the one that goes on from ``begin`` to ``end``."""

    def __init__(self, directory: Path) -> None:
        """Reads the legs before. A line that a machine which went down has left torn is left out."""
        self._path = directory / FILE
        self.spent = read(self._path)
        self._failed = False
        self._begun: dict[str, float] = {}
        """The problems that are at work in this leg, and the second of it in which each began."""

    def begin(self, startup_seconds: float, replicas: Mapping[str, int]) -> None:
        """Notes that a leg begins."""
        self._write("leg", startup_seconds, dict(replicas))

    def problem_begins(self, problem: str, second: float) -> None:
        """Notes that the search of a problem begins, so many seconds after the leg."""
        if problem not in self.spent.ended:
            self._write("begun", problem, second)

    def problem_ends(self, problem: str, seconds: float, *, whole: bool = True) -> None:
        """Notes that the search of a problem has ended, after so many seconds in this leg; a later leg does a
        search that is not ``whole`` again."""
        if problem not in self.spent.ended:
            self._write("ended", problem, seconds, whole)

    def seconds_of(self, problem: str) -> float:
        """Returns the seconds of a problem's search, over all legs; NaN where it has not begun."""
        return self.spent.problems.get(problem, float("nan"))

    @contextmanager
    def ticking(self, tick: Callable[[], tuple[float, int, dict[str, float]]]) -> Iterator[None]:
        """Notes what ``tick`` returns (the seconds, the tokens and the busy seconds of the leg) every
        ``TICK_SECONDS``, and once more at the end."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def turn() -> None:
            nonlocal timer
            self._write("tick", *tick())
            timer = loop.call_later(TICK_SECONDS, turn)

        turn()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._write("tick", *tick())

    def _write(self, *line: Any) -> None:
        take(self.spent, self._begun, line)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                if file.tell() and line[0] == "leg":
                    file.write("\n")  # the leg before may have ended within a line
                file.write(json.dumps(line) + "\n")
        except OSError as error:  # a full disk: a measurement is not worth the run
            if not self._failed:
                log.warning("%s: %s", self._path, error)
            self._failed = True


def read(path: Path) -> Spent:
    """Returns what the lines of a file amount to; nothing where there is no file."""
    spent, begun = Spent(), dict[str, float]()
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                take(spent, begun, json.loads(text))
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
                continue
        _cut_short(spent, begun)
    return spent


def take(spent: Spent, begun: dict[str, float], line: Any) -> None:
    """Adds one line. ``begun`` holds the problems that are at work in the last leg."""
    kind, *values = line
    if kind == "leg":
        _cut_short(spent, begun)
        startup, replicas = values
        there = {pool: int(count) for pool, count in replicas.items()}
        spent.legs.append(Leg(float(startup), replicas=there))
    elif kind == "begun":
        problem, second = values
        begun[problem] = float(second)
    elif kind == "ended":
        problem, seconds, whole = values
        spent.problems[problem] = spent.problems.get(problem, 0.0) + float(seconds)
        begun.pop(problem, None)
        if whole:
            spent.ended.add(problem)
    elif kind == "tick":
        leg = spent.legs[-1]
        seconds, tokens, busy = values
        used = {pool: float(lasted) for pool, lasted in busy.items()}
        leg.seconds, leg.tokens, leg.busy = float(seconds), int(tokens), used


def _cut_short(spent: Spent, begun: dict[str, float]) -> None:
    """The last leg was cut short: the problems that were at work count up to its last line."""
    last = spent.legs[-1].seconds if spent.legs else 0.0
    for problem, second in begun.items():
        lasted = max(0.0, last - second)
        spent.problems[problem] = spent.problems.get(problem, 0.0) + lasted
    begun.clear()
