"""Estimates as text. Every page, table and line that shows a share with its interval has it from here."""

from __future__ import annotations

import math

from orchestrator.analysis.estimators import Estimate

MISSING = "–"
"""Text of a table's entry that has no value."""


def percent(estimate: Estimate, unit: str = "", digits: int = 1) -> str:
    """Returns a share in % with its interval: ``78.0 [72, 83]``; with the unit `` %``: ``78.0 % [72, 83]``.

    ``digits`` are those after the point. The text is ``MISSING`` where there is no value, and has no interval
    where its ends are not known.
    """
    if math.isnan(estimate.value):
        return MISSING
    value = f"{100 * estimate.value:z.{digits}f}{unit}"
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return value
    return f"{value} [{100 * estimate.low:z.0f}, {100 * estimate.high:z.0f}]"


def with_interval(estimate: Estimate, form: str = ".2f", *, scale: float = 1, unit: str = "") -> str:
    """Returns a value, ``unit``, and the ends of its interval: ``1.52 [1.20, 1.90]``. ``scale`` multiplies
    all three; ``form`` is their format."""
    form = f"+z{form[1:]}" if form.startswith("+") else f"z{form}"  # "z": no zero has a minus
    value, low, high = (f"{scale * x:{form}}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit} [{low}, {high}]"
