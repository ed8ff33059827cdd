"""Problem sets. A source yields ``Problem`` values; the rest of the system knows no source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a known answer.

    ``id`` is stable across runs (it seeds the sampling and keys the journal). ``difficulty`` is the
    source's own knob where it has one (the lab: number of blanks), else None.
    """

    id: str
    prompt: str
    answer: str
    difficulty: float | None = None
