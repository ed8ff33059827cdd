"""Tables whose columns are many, and yet fit a terminal of 80."""

from __future__ import annotations

from rich import box
from rich.table import Table


def narrow_table(title: str) -> Table:
    """Without lines between its columns, which would cost three characters each."""
    return Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
