"""A figure of a report with its words, and the numbers that it draws."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import MISSING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTERVAL = ("accuracy, %", "low", "high")
"""The columns of an accuracy with its interval."""
FORMULA = re.compile(r"[=+@\t\r]|-(?=.*[^\W\d_])", re.DOTALL)
"""What a text begins with that a spreadsheet runs; one that begins with a minus and has no letter, such as a
difference with its interval, calls nothing."""
Value = str | float | None


class Absent(Exception):
    """Raised where a figure cannot be drawn; the message is the reason."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a figure: a table of texts and numbers, None where there is none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def shown(self) -> list[list[str]]:
        """Returns the rows as a page shows them, to four significant digits."""
        return [[_shown(value) for value in row] for row in self.rows]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a function of a figure returns."""

    figure: Figure
    caption: str
    """Explains points, lines and intervals."""
    numbers: Numbers


def interval(estimate: Estimate | None) -> list[Value]:
    """Returns an accuracy and the ends of its interval in %, for the columns ``INTERVAL``."""
    if estimate is None or math.isnan(estimate.value):
        return [None, None, None]
    return [100 * value for value in (estimate.value, estimate.low, estimate.high)]


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Returns a table as CSV with a line of names. A number has six significant digits. A text that a
    spreadsheet would run as a formula has an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_plain(name) for name in columns])
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def _plain(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) else value
    return f"{value:.6g}"


def _shown(value: Value) -> str:
    if value is None:
        return MISSING
    return value if isinstance(value, str) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.4g}"
