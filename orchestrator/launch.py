"""What the commands that search have in common: check, start engines, run, show, and an exit status.

Exit status: 0 done; 1 failure; 130 interrupted (the journal is intact, and the command that goes on is
printed). Bad input is raised before anything starts.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console

from orchestrator.config import Config, load
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.controller import Search
    from orchestrator.text import Codec


def run(
    config: Config,
    as_json: bool,
    errors: Console,
    *,
    run_id: str | None = None,
    make_search: Callable[[Codec], Search] | None = None,
    role: str = "cell",
    instead: str = "",
) -> int:
    """One run: its exit status. ``run_id`` names a run that goes on; ``make_search`` replaces the
    configured strategy, in a run of this ``role`` (``Summary.role``), by what ``instead`` names, parameters
    and all: a journal goes on with no other."""
    from orchestrator.budget import described
    from orchestrator.display import Display, summary_table
    from orchestrator.preparation import prepare
    from orchestrator.results import Summary
    from orchestrator.run import Run, new_run_id, unfinished
    from orchestrator.session import pool_specs, session

    prepared = prepare(config)
    search = make_search(prepared.codec) if make_search is not None else None
    name = run_id or new_run_id(config)
    kept = "what was computed is kept"
    if make_search is None:
        elsewhere = f" --runs {config.runs}" if config.runs != "runs" else ""
        kept += f". To go on: ttc resume {name}{elsewhere}"
        if run_id is None and (earlier := unfinished(prepared)) is not None:
            say(
                errors,
                f"{earlier} is not finished. To go on with it: ttc resume {earlier}{elsewhere}",
            )
    say(errors, f"run {name}")
    say(errors, "budget: {}: {}".format(*described(prepared.budget.to_dict())))

    async def searched(display: Display) -> tuple[Summary, str | None]:
        with Run(prepared, name, role=role, instead=instead) as record:
            async with session(pool_specs(config), config.cluster, display) as engines:
                summary = await record.search(engines, display, search)
        return summary, record.untracked

    with Display(errors) as display:
        status, done = until_interrupted(searched(display), errors, kept)
    if done is None:
        return status
    summary, untracked = done
    if untracked is not None:
        say(errors, f"warning: {untracked}", "yellow")
    if as_json:
        print(json.dumps(summary.to_dict()))
    else:
        Console().print(summary_table(summary))
        say(errors, f"results in {Path(config.runs) / name}/; MLflow: ttc ui")
    return 0 if summary.failed < summary.problems else 1


def sweep(path: str, overrides: list[str], as_json: bool, errors: Console) -> int:
    """All cells of a sweep that are not finished yet: its exit status, 1 where any cell failed."""
    from orchestrator import grid, sweep_display
    from orchestrator.sweep import Sweep

    whole = Sweep(grid.read(path, overrides))
    name = whole.grid.config.name
    say(errors, f"sweep {name}")
    kept = f"finished cells are kept. To go on: {shlex.join(['ttc', 'sweep', path, *overrides])}"
    with sweep_display.SweepDisplay(errors) as display:
        status, outcomes = until_interrupted(whole.run(display), errors, kept)
    if outcomes is None:
        return status
    if whole.untracked is not None:
        say(errors, f"warning: {whole.untracked}", "yellow")
    found = sweep_display.rows(outcomes)
    if as_json:
        cells = [outcome.to_dict() for outcome in outcomes]
        print(json.dumps({"sweep": name, "table": [row.to_dict() for row in found], "cells": cells}))
    else:
        Console().print(sweep_display.table(name, found))
        say(errors, f"results in {whole.grid.directory}/; MLflow: ttc ui")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        say(errors, f"failed: {outcome.cell.key}: {outcome.error}", "red")
    return 1 if failed else 0


def resume(run_id: str, runs: str, overrides: list[str], as_json: bool, errors: Console) -> int:
    """Go on with a run that was begun: its exit status. ``overrides`` may change where it runs; what
    determines its results is refused by its journal."""
    directory = Path(runs) / run_id
    if not (directory / "config.yaml").is_file():
        known = sorted(path.parent.name for path in Path(runs).glob("*/config.yaml"))
        raise BadInput("run_id", run_id, f"allowed: a run in {runs}/ ({', '.join(known) or 'none'})")
    # The store may have been moved, or be named from another working directory.
    config = load(directory / "config.yaml", [f"runs={runs}", *overrides])
    return run(config, as_json, errors, run_id=run_id)


def replay(run_ids: list[str], runs: str, errors: Console) -> int:
    """Write to MLflow what the spools of these runs, or of all, still hold: 0 if nothing is left."""
    from orchestrator import tracking

    for run_id in run_ids or [""]:
        if not (Path(runs) / run_id).is_dir():
            raise BadInput("run_id", run_id or runs, f"allowed: a run or a sweep in {runs}/, or nothing: all")
    left = 0
    for run_id in run_ids or [""]:
        for each in tracking.replay(Path(runs), run_id):
            left += each.left
            say(errors, f"{each.directory}: {each.waiting - each.left} of {each.waiting} entries written")
            if each.refused:
                say(errors, f"  {len(each.refused)} of them refused, first {each.refused[0]}", "yellow")
            if each.left:
                say(errors, f"  {each.left} wait: {each.away}", "yellow")
    return 1 if left else 0


def until_interrupted(work: Coroutine[Any, Any, Any], errors: Console, kept: str) -> tuple[int, Any]:
    """Run ``work``: status 0 and what it returned, or the status of what ended it and None. ``kept``
    says what there is to go on with. SIGTERM ends it as Ctrl-C does: engines closed, journal kept."""
    from actors.messages import PoolFailed
    from orchestrator.journal import JournalDamaged, JournalInUse, JournalMismatch

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 0, runner.run(_until_terminated(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(errors, f"interrupted; {kept}")
        return 130, None
    except (JournalDamaged, JournalInUse, JournalMismatch) as error:
        say(errors, f"ttc: {error}", "bold red")
        return 1, None
    except (PoolFailed, sqlite3.Error, OSError) as error:
        say(errors, f"ttc: {error}", "bold red")
        say(errors, kept)
        return 1, None


async def _until_terminated(work: Coroutine[Any, Any, Any]) -> Any:
    """``work``, cancelled by SIGTERM as the runner cancels it by SIGINT; also where SIGINT is ignored, as it
    is in a shell's background job."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the end short
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGTERM, terminate)
    return await work


def say(console: Console, line: str, style: str | None = None) -> None:
    """One line as it is: not wrapped, no word of it taken for markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
