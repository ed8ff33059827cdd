"""Does a run for the commands that search: starts engines, runs, shows, and returns an exit status.

Exit status: 0 done; 1 failure, also where more problems failed than ``failures.MOST_FAILED`` allows; 130
interrupted (the journal is intact, and the command that goes on is printed). Bad input is raised before
anything starts.
"""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console

from orchestrator.commands.interrupts import INTERRUPTED, heard
from orchestrator.commands.terminal import fail, goes_on_with, note_failure, say, show, show_json
from orchestrator.errors import counted, in_one_line

HINT_SECONDS = 3.0
"""Seconds after which a run that waits for MLflow says so."""
WAITING = "MLflow has not taken everything yet: it is waited for, at most a minute without progress"

if TYPE_CHECKING:
    from orchestrator.commands.live import LivePage
    from orchestrator.config.preparation import Prepared
    from orchestrator.config.schema import Config
    from orchestrator.runs.controller import Search


def run(
    prepared: Prepared,
    as_json: bool,
    errors: Console,
    *,
    run_id: str | None = None,
    search: Search | None = None,
    role: str = "cell",
    instead: str = "",
    shown: bool = True,
    page: LivePage | None = None,
) -> int:
    """Does one run. Returns its exit status.

    ``run_id`` names a run that goes on. ``search`` replaces the configured strategy, in a run of this
    ``role`` (``Summary.role``), by what ``instead`` names, with its parameters: a journal goes on with no
    other. ``shown`` is False where the summary is not yet the command's result. ``page`` shows the searches
    as they run.
    """
    from actors.cluster import check_cluster
    from orchestrator.budget.units import described
    from orchestrator.commands.display import Display, summary_table
    from orchestrator.config.capacity import check_capacity, check_gpus, engines_of
    from orchestrator.config.warnings import warnings_of
    from orchestrator.durability.journal import holds_results
    from orchestrator.runs.description import about
    from orchestrator.runs.results import Summary
    from orchestrator.runs.run import Run, new_run_id, unfinished
    from orchestrator.runs.session import pool_specs, session

    config, pools = prepared.config, pool_specs(prepared)
    revises = prepared.strategy.strategy.has_reviser
    check_gpus(config, revises=revises)
    if config.cluster.address is not None:
        check_cluster(config.cluster.address)  # before the run has a directory
    crowded = check_capacity(engines_of(config, revises=revises))
    name = run_id or new_run_id(config)
    directory = Path(config.runs) / name
    elsewhere = ["--runs", config.runs] if config.runs != "runs" else []
    if search is None and run_id is None and (earlier := unfinished(prepared)) is not None:
        again = shlex.join(["ttc", "resume", earlier, *elsewhere])
        say(errors, f"{earlier} is not finished. To go on with it: {again}")

    def go_on() -> str | None:
        held = search is None and holds_results(directory / "journal.sqlite")
        return shlex.join(["ttc", "resume", name, *elsewhere]) if held else None

    def kept() -> str:
        if not holds_results(directory / "journal.sqlite"):
            return "nothing was computed"
        command = go_on()
        return "what was computed is kept" + (f". To go on: {command}" if command else "")

    goes_on_with(go_on)

    say(errors, f"run {name}" + (f" in {config.runs}" if elsewhere else ""))
    what = about(config, len(prepared.problems))
    say(errors, what)
    if prepared.skipped:
        count = len(prepared.skipped)
        left = len(prepared.problems)
        rest = f"{left:,} {'is' if left == 1 else 'are'} searched"
        say(errors, f"{counted(count, 'problem')} skipped: too long for a model; {rest}")
    say(errors, "budget: {}: {}".format(*described(prepared.budget.to_dict())))
    for line in warnings_of(prepared):
        say(errors, f"warning: {line}", "yellow")
    if crowded is not None:
        say(errors, f"warning: {crowded}", "yellow")
    if prepared.taken:
        taken = ", ".join(f"{key} {value:g}" for key, value in prepared.taken.items())
        say(errors, f"sampling by the model's own generation_config.json: {taken}")
    if prepared.unheeded:
        say(errors, f"decided by the server, and not heeded: {', '.join(prepared.unheeded)}")
    if prepared.verifier is not None and prepared.verifier.format is not None:
        scored = "a whole solution" if prepared.verifier.format.whole else "each step"
        say(errors, f"verifier: format {config.verifier.format}, a score for {scored}")

    async def searched(display: Display) -> tuple[Summary, str]:
        record: Run | None = None
        waiting = threading.Timer(HINT_SECONDS, lambda: say(errors, WAITING))
        try:
            with Run(prepared, name, role=role, instead=instead) as record:
                if (line := record.given_back) is not None:
                    say(errors, line)
                if page is not None:
                    page.begin(name, prepared)
                    page.watch(lambda: display.start)
                async with session(pools, config.cluster, display) as engines:
                    summary = await record.search(engines, display, search)
                waiting.start()
        finally:
            waiting.cancel()
            if record is not None and record.untracked is not None:
                say(errors, f"warning: {record.untracked}", "yellow")
        return summary, record.page

    with Display(errors, what) as display:
        status, found = until_interrupted(searched(display), errors, kept, directory)
    if found is None:
        return status
    summary, mlflow = found
    if shown and as_json:
        show_json(summary.to_dict())
    elif shown:
        show(summary_table(summary, what))
        explore, report = (shlex.join(["ttc", verb, name, *elsewhere]) for verb in ("explore", "report"))
        say(errors, f"results in {directory}/; MLflow: {store(config, mlflow)}")
        say(errors, f"its searches: {explore}; what they bought: {report}")
    if shown and page is not None:
        page.finish([name])
    if summary.broken is not None:
        say(errors, f"the run has failed: {summary.broken}", "red")
    return 0 if summary.broken is None else 1


def store(config: Config, page: str) -> str:
    """Returns where the runs of a configuration are seen in MLflow: on a ``page`` of the server that it
    names, or by a command."""
    if config.tracking.uri is not None:
        return page
    return shlex.join(["ttc", "ui", *(["--runs", config.runs] if config.runs != "runs" else [])])


def until_interrupted(
    work: Coroutine[Any, Any, Any], errors: Console, kept: Callable[[], str], directory: Path | None = None
) -> tuple[int, Any]:
    """Runs ``work``. Returns status 0 and its result, or the status of what ended it and None.

    ``kept`` says what there is to go on with; ``directory`` has the log. Ctrl-C and SIGTERM end the work in
    good order: engines closed, journal kept.
    """
    from actors.messages import PoolFailed
    from orchestrator.durability.journal import JournalDamaged, JournalInUse, JournalMismatch
    from orchestrator.errors import BadInput
    from orchestrator.grading.pool import AnswersFailed
    from orchestrator.runs.log import FILE
    from orchestrator.runs.run import NoSummary

    async def heeding() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with heard(errors, lambda: loop.call_soon_threadsafe(task.cancel), kept):
            return await work

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 0, runner.run(heeding())
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(errors, f"interrupted; {kept()}")
        note_failure("interrupted")
        return INTERRUPTED, None
    except BadInput:
        raise
    except JournalMismatch as error:  # bad input: a file or a key that the run was not begun with
        fail(errors, str(error))
        goes_on_with(lambda: None)  # not with this input
        return 2, None
    except (JournalDamaged, JournalInUse) as error:
        fail(errors, str(error))
        return 1, None
    except (PoolFailed, AnswersFailed, NoSummary, sqlite3.Error, OSError) as error:
        fail(errors, str(error))
    except Exception as error:
        fail(errors, in_one_line(error, frame=True))
    if directory is not None and (directory / FILE).is_file():
        say(errors, f"the whole traceback is in {directory / FILE}")
    say(errors, kept())
    return 1, None
