"""What every command says on standard error."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print one line as it is: it is not wrapped, and no word of it is taken for markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
