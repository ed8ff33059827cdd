"""A problem, and the text that asks a model for its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

LETTERS = ascii_uppercase
"""The letters of choices, in their order."""
BESIDE = ("baseline", "select", "judge")
"""What a journal has of a problem beside its search: samples of the baseline, choices among its solutions,
verdicts."""


def beside(what: str, problem: str) -> str:
    """Returns the name under which a journal has ``what`` (one of ``BESIDE``) of a problem."""
    return f"{what}/{problem}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a known answer."""

    id: str
    """Stable across runs: it seeds the sampling and is the problem's key in the journal."""
    prompt: str
    answer: str
    """The right answer; the letter where it is one of ``choices``."""
    difficulty: float | None = None
    """The source's own measure, where it has one (the lab: the number of blanks, or of coins)."""
    also: tuple[str, ...] = ()
    """Other answers that are right."""
    attributes: tuple[tuple[str, str | int | float], ...] = ()
    """What else the source says of it (``level``, ``subject``): results are told apart by these."""
    choices: tuple[str, ...] = ()
    """The choices of a multiple choice, from A."""

    def attribute(self, name: str) -> str | int | float | None:
        """Returns the attribute of that name, or the difficulty for ``difficulty``; None where there is
        none."""
        found = dict(self.attributes).get(name)
        return self.difficulty if found is None and name == "difficulty" else found


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of a problem set that a run asks for: the keys of ``problems`` that sources read."""

    path: str | None = None
    split: str = "test"
    subset: str | None = None
    revision: str | None = None
    limit: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def filled(template: str, problem: Problem) -> str:
    """Returns the template with the problem's text for ``{problem}`` and its choices, a line each, for
    ``{choices}``; a template without that has the choices after the text."""
    choices = "\n".join(f"({LETTERS[i]}) {choice}" for i, choice in enumerate(problem.choices))
    text = problem.prompt
    if choices and "{choices}" not in template:
        text = f"{text}\n\n{choices}"
    # In one pass: a problem's own text may have braces.
    return re.sub(r"\{(problem|choices)\}", lambda m: text if m[1] == "problem" else choices, template)
