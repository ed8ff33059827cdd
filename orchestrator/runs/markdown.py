"""Markdown for MLflow's descriptions, of texts that users wrote, as long as MLflow keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.errors import visible

MOST_CHARACTERS = 7000
"""Characters of a table: MLflow cuts a description off at 8,000."""
LONGEST_CELL = 500


def cell(text: str) -> str:
    """Returns a text for a table's cell: one line, in which no sign ends the cell."""
    return shortened(text, LONGEST_CELL).replace("\\", "\\\\").replace("|", "\\|")


def code(text: str) -> str:
    """Returns a text as code in a line."""
    return "`" + shortened(text, LONGEST_CELL).replace("`", "'") + "`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table. Where it would be too long, the last one says how many rows are left
    out."""
    lines = [_line(map(cell, head)), _line("---" for _ in head)]
    left = MOST_CHARACTERS - sum(map(len, lines))
    for number, row in enumerate(rows):
        line = _line(map(cell, row))
        left -= len(line) + 1
        if left < 0:
            more = f"… and {len(rows) - number:,} more rows"
            return [*lines, _line([more, *("" for _ in head[1:])])]
        lines.append(line)
    return lines


def shortened(text: str, most: int) -> str:
    """Returns a text in one line, of at most so many characters and a sign that there are more."""
    text = visible(text).strip()
    return text if len(text) <= most else f"{text[:most]} …"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
