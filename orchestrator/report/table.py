"""A table of text: as a page shows it, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

MOST_ROWS = 60
"""The most rows that a table has on a page."""


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """As many entries each as there are columns."""
    names: int = 1
    """Number of leading columns that are names; the others are numbers and right-aligned."""
    note: str = ""
    """Text below the table."""
    keys: Sequence[str | None] = ()
    """``Evidence.key_of`` of each row's option; empty where rows are no options."""


def thinned(table: Table) -> Table:
    """Returns a table with at most ``MOST_ROWS`` rows, evenly spaced over all of them, and says so."""
    count = len(table.rows)
    if count <= MOST_ROWS:
        return table
    places = [i * (count - 1) // (MOST_ROWS - 1) for i in range(MOST_ROWS)]
    kept = [table.rows[i] for i in places]
    keys = [table.keys[i] for i in places] if table.keys else ()
    note = f"{MOST_ROWS} of {count:,} rows, evenly spaced; ttc report --table prints all. {table.note}"
    return replace(table, rows=kept, note=note, keys=keys)


def markdown(table: Table) -> str:
    """Returns a table as GitHub Markdown with aligned columns."""
    rows = [[_escaped(word) for word in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(word) for word in column)) for column in zip(*rows, strict=True)]

    def line(words: Sequence[str]) -> str:
        padded = [
            word.ljust(width) if i < table.names else word.rjust(width)
            for i, (word, width) in enumerate(zip(words, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i < table.names else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    text = [f"**{table.title}**", "", line(rows[0]), line(rule), *map(line, rows[1:])]
    return "\n".join([*text, *(["", table.note] if table.note else [])])


def _escaped(word: str) -> str:
    return word.replace("|", "\\|")
