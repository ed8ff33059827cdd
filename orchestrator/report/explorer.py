"""The way from a run in a report to the page that shows its searches, which ``ttc explore`` writes."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.analysis.cells import Cell

PAGE = "explore.html"
"""The page, in the directory of the first run that it shows."""
JOURNAL = "journal.sqlite"
"""What the page is made of, in the directory of a run."""


@dataclass(frozen=True)
class Explorer:
    """The explorer's page of one run."""

    run_id: str
    command: str
    """The command that writes the page; empty where the run's journal is not on this machine."""
    address: str | None = None
    """The page, as a link from the report has it; None where it is not there."""


def place(directory: Path, run_id: str) -> tuple[Path, str]:
    """Returns the directory of runs that a run lies in, and the id by which commands find it there: a run's
    directory may have another name by now."""
    parts = Path(run_id).parts
    if parts and directory.absolute().parts[-len(parts) :] == parts:
        return directory.absolute().parents[len(parts) - 1], run_id
    return directory.absolute().parent, directory.name


def explorer_of(cell: Cell, report: Path | None = None) -> Explorer:
    """Returns the explorer's page of a run. ``report`` is the file that links to it; None where the report
    will lie elsewhere, from where no file can be reached."""
    directory = None if cell.results is None else cell.results.parent
    if directory is None or not (directory / JOURNAL).is_file():
        return Explorer(cell.run_id, "")
    runs, run_id = place(directory, cell.run_id)
    inside = runs.is_relative_to(Path.cwd())
    shown = str(runs.relative_to(Path.cwd()) if inside else runs)
    where = [] if shown == "runs" else ["--runs", shown]
    command = shlex.join(["ttc", "explore", run_id, *where])
    if report is None or not (directory / PAGE).is_file():
        return Explorer(run_id, command)
    way = os.path.relpath(directory.absolute() / PAGE, report.absolute().parent)
    return Explorer(run_id, command, quote(Path(way).as_posix()))
