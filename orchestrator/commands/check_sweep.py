"""``ttc check`` of a sweep's file: what each of its cells would do and fail at; nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from orchestrator.budget.units import in_flops, si
from orchestrator.commands.check_display import line
from orchestrator.commands.terminal import results, say
from orchestrator.config.memory import Fleet
from orchestrator.config.preview import Preview, preview_of
from orchestrator.config.schema import to_dict
from orchestrator.errors import BadInput, counted, visible
from orchestrator.masking import masked
from orchestrator.runs.grid import Grid, GridCell, examined

MOST_ROWS = 24
"""The most kinds of cells that have a row of their own."""


@dataclass(frozen=True)
class Said:
    """A line about cells."""

    line: str
    cells: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {counted(len(self.cells) - 1, 'other')}" if len(self.cells) > 1 else ""
        return f"{self.line} (in {self.cells[0]}{more})"


def check_sweep(
    path: str, overrides: Sequence[str], keep: Callable[[object], None] | None, fleet: Fleet | None = None
) -> int:
    """Shows what can be known of a sweep's cells, on the GPUs of a ``fleet``, or has it kept. Returns 0, or 2
    where any of them would fail. Raises BadInput and AnswersFailed."""
    grid, faults = examined(path, overrides)
    seen = _previews(grid.cells, fleet)
    failures = _gathered([(key, str(error)) for key, error in faults])
    failures += _gathered([(cell.key, one) for cell in grid.cells for one in seen[cell.key].failures])
    failures += [] if faults or not grid.cells else _directory(grid)
    doubts = _gathered([(cell.key, one) for cell in grid.cells for one in seen[cell.key].doubts])
    count = len(grid.cells) + len(faults)
    if keep is not None:
        cells = [{"key": cell.key, "role": cell.role, **_about(seen[cell.key])} for cell in grid.cells]
        gathered = {"failures": failures, "doubts": doubts}
        keep({"cells": cells, **{name: [str(one) for one in lines] for name, lines in gathered.items()}})
    else:
        out = Console(file=results(), emoji=False)
        out.print(_page(grid.cells, seen, count))
        for name, lines, style in (("doubt", doubts, "yellow"), ("fails", failures, "bold red")):
            for said in lines:
                out.print(line(name, masked(visible(str(said))), style))
        what = f"{counted(len(failures), 'thing')} would fail" if failures else "nothing would fail"
        what += f" in {counted(count, 'cell')}" + (f"; {counted(len(doubts), 'doubt')}" if doubts else "")
        say(out, what, "bold red" if failures else "yellow" if doubts else "green")
    return 2 if failures else 0


def _previews(cells: Sequence[GridCell], fleet: Fleet | None) -> dict[str, Preview]:
    """What can be known of each cell, by its key; those that differ in a seed alone are looked at once."""
    known: dict[str, Preview] = {}
    found = {}
    for cell in cells:
        alike = repr({**to_dict(cell.config), "seed": None})
        if alike not in known:
            known[alike] = preview_of(cell.config, cell.prepared, fleet)
        found[cell.key] = known[alike]
    return found


def _gathered(lines: Sequence[tuple[str, str]]) -> list[Said]:
    """Each line once, with the keys of the cells that it is about."""
    cells: dict[str, list[str]] = {}
    for key, text in lines:
        cells.setdefault(text, []).append(key)
    return [Said(text, tuple(dict.fromkeys(keys))) for text, keys in cells.items()]


def _directory(grid: Grid) -> list[Said]:
    """Why the sweep's directory does not take these cells."""
    from orchestrator.runs.sweep import Sweep

    try:
        Sweep(grid)
    except BadInput as error:
        return [Said(str(error), (grid.config.name,))]
    return []


def _about(facts: Preview) -> dict[str, Any]:
    return {"budget": facts.cost.budget, "failures": list(facts.failures), "doubts": list(facts.doubts)}


def _page(cells: Sequence[GridCell], seen: dict[str, Preview], count: int) -> Group:
    """How many cells there are, what they may spend, and a row for those that differ in more than a seed."""
    kinds: dict[tuple[str, str, int], list[GridCell]] = {}
    for cell in cells:
        flops = int(seen[cell.key].cost.budget["flops"])
        kinds.setdefault((cell.role, cell.label, flops), []).append(cell)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row("[bold]cells[/]", "[bold]FLOPs each, at most[/]", "[bold]solutions a problem[/]")
    of: Callable[[GridCell], float] = lambda cell: seen[cell.key].cost.budget["generations"]  # noqa: E731
    for (role, label, flops), members in list(kinds.items())[:MOST_ROWS]:
        name = label if role == "cell" else f"{role}: {label}"
        times = f"{len(members)} × " if len(members) > 1 else ""
        table.add_row(escape(f"{times}{name}"), si(flops), f"{of(members[0]):.3g}")
    if len(kinds) > MOST_ROWS:
        table.add_row(f"… and {len(kinds) - MOST_ROWS} more", "", "")
    total = sum(flops * len(members) for (_, _, flops), members in kinds.items())
    name = cells[0].config.name if cells else ""
    beside = sum(seen[cell.key].cost.beside[1] for cell in cells if cell.role == "cell")
    more = f"; beside them, samples to compare with: {in_flops(beside)} at most (baseline)" if beside else ""
    head = f"sweep {escape(name)}: {counted(count, 'cell')}, {in_flops(total)} at most{more}"
    return Group(head, table)
