"""Reads when a run's operations were sent and answered, which it leaves beside its journal
(``runs.times``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from orchestrator.explore.growing import GrowingLines

TIMES = "times.jsonl"


class Timed(NamedTuple):
    """When one operation was: the last fields of ``Event``, in milliseconds."""

    sent: int
    """Milliseconds from the search's first operation."""
    lasted: int
    waited: int | None = None
    lost: tuple[str, ...] = ()


# What no clock says is no time, and would make sums overflow: beyond the year 5000, or negative.
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=10**14)]


class _Line(msgspec.Struct, array_like=True):
    """A line of times."""

    problem: str
    began: _Seconds
    operations: dict[str, _Operation]


class _Operation(msgspec.Struct, array_like=True):
    sent: _Ms
    lasted: _Ms
    waited: _Ms | None = None
    lost: tuple[str, ...] = ()


def read_times(directory: Path) -> dict[str, list[bytes]]:
    """Returns by problem the lines of times that a run has left of its search: one for each leg in which it
    ended, or ran again. They are decoded as they are needed (``times_of``)."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for problem, line in by_problem(GrowingLines(directory / TIMES).new() or ()):
        found[problem].append(line)
    return found


def lines_of(directory: Path, problems: Collection[str]) -> dict[str, list[bytes]]:
    """Returns what ``read_times`` does, of some problems alone: the file of a large run is not held."""
    found: dict[str, list[bytes]] = {problem: [] for problem in problems}
    begins = {b"[" + msgspec.json.encode(problem) + b",": problem for problem in problems}
    with suppress(OSError), (directory / TIMES).open("rb") as file:
        for line in file:
            for begin, problem in begins.items():
                if line.startswith(begin):
                    found[problem].append(line)
    return found


def by_problem(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yields lines of times with the problem that each is of, without those that are damaged."""
    for line in lines:
        try:
            (problem, *_) = msgspec.json.decode(line, type=tuple[str, msgspec.Raw, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):  # torn, as a process was killed
            continue
        yield problem, line


def legs_of(lines: Iterable[bytes]) -> Iterator[tuple[float, dict[str, Timed]]]:
    """Yields of each line when its first operation was sent, in seconds since 1970, and its operations by
    their keys without the problem, in milliseconds from there. A damaged line is left out."""
    for line in lines:
        try:
            told = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError):  # it is JSON, and no times: a search has none
            continue
        yield told.began, {key: _timed(one) for key, one in told.operations.items()}


def _timed(one: _Operation) -> Timed:
    return Timed(one.sent, one.lasted, None if one.waited is None else min(one.waited, one.lasted), one.lost)


def times_of(lines: Sequence[bytes]) -> dict[str, Timed]:
    """Returns when a search's operations were, by their keys without the problem."""
    legs = [*legs_of(lines)]
    first = min((began for began, _ in legs), default=0.0)
    return {
        key: one._replace(sent=one.sent + round(1000 * (began - first)))
        for began, operations in legs
        for key, one in operations.items()
    }
