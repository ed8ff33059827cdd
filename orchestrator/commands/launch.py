"""What the commands that search have in common: check, start engines, run, show, and an exit status.

Exit status: 0 done; 1 failure; 130 interrupted (the journal is intact, and the command that goes on is
printed). Bad input is raised before anything starts.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console

from orchestrator.commands.terminal import say
from orchestrator.config.schema import Config

if TYPE_CHECKING:
    from orchestrator.problems.codec import Codec
    from orchestrator.runs.controller import Search


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
    from orchestrator.budget.units import described
    from orchestrator.commands.display import Display, summary_table
    from orchestrator.config.preparation import prepare
    from orchestrator.runs.results import Summary
    from orchestrator.runs.run import Run, new_run_id, unfinished
    from orchestrator.runs.session import pool_specs, session

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


def until_interrupted(work: Coroutine[Any, Any, Any], errors: Console, kept: str) -> tuple[int, Any]:
    """Run ``work``: status 0 and what it returned, or the status of what ended it and None. ``kept``
    says what there is to go on with. SIGTERM ends it as Ctrl-C does: engines closed, journal kept."""
    from actors.messages import PoolFailed
    from orchestrator.durability.journal import JournalDamaged, JournalInUse, JournalMismatch

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
