"""The checker ``judge``: a model decides what ``math`` does not accept (``runs.judging``)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.grading.math import Math


@dataclass(frozen=True)
class Judge(Math):
    """Reads answers, and votes, as ``math`` does. What that accepts needs no judge."""
