"""The sources of problems, by the name that ``problems.source`` has. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.problems import coins, file, gym, hub, lab
from orchestrator.problems.problem import Problem, Wanted


@dataclass(frozen=True)
class Source:
    """A place that problems come from."""

    read: Callable[[Wanted], list[Problem]]
    """Returns the problems that are asked for. Raises BadInput."""
    path: str | None = None
    """What ``problems.path`` names; None where the source has no path."""
    takes: tuple[str, ...] = ()
    """Other keys that it heeds: ``subset``, ``revision``, ``columns``, ``options``."""
    answers: str | None = None
    """The checker that its answers are for; None where any may do."""
    splits: tuple[str, ...] | None = None
    """The values of ``problems.split``; None where these are not known beforehand."""
    solution: Callable[[Problem], str] | None = None
    """Returns a right solution of a problem, as models of this source write it; None where only its answer is
    known, or that is the whole solution."""


SOURCES: Mapping[str, Source] = {
    "lab": Source(lambda wanted: lab.problems(wanted.split, wanted.limit), splits=lab.SPLITS),
    "coins": Source(
        lambda wanted: coins.problems(wanted.split, wanted.limit),
        splits=coins.SPLITS,
        solution=coins.solution_of,
    ),
    "file": Source(file.read, "a file of problems", ("columns",)),
    "jsonl": Source(file.read_lines, "a file of problems", ("columns",)),
    "datasets": Source(
        hub.read, "a data set (owner/name), or its directory", ("subset", "revision", "columns")
    ),
    "reasoning_gym": Source(
        gym.read, "a family, such as basic_arithmetic", ("options",), answers="reasoning_gym"
    ),
}
