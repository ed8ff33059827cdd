"""One run: its record and its searches, on engines that somebody else started (``session``).

It leaves ``runs/RUN_ID/`` (configuration, log, journal, results, summary) and an MLflow run behind.
"""

from __future__ import annotations

import asyncio
import glob
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from actors.deployment import Deployment
from actors.machine import Machine
from orchestrator.analysis.baseline import Baseline
from orchestrator.analysis.failures import too_many
from orchestrator.budget.units import in_flops
from orchestrator.config.preparation import Prepared, fingerprints, parts
from orchestrator.config.schema import Config
from orchestrator.config.written import to_yaml, tracking_uri
from orchestrator.durability.files import write_atomically
from orchestrator.durability.journal import Journal, JournalDamaged, fingerprint_in, holds_results, in_use
from orchestrator.errors import counted, in_one_line
from orchestrator.explore.times import lines_of
from orchestrator.runs.assembly import controller_of, judge_of
from orchestrator.runs.at_work import AtWork
from orchestrator.runs.baseline import sample_baseline
from orchestrator.runs.controller import Controller, Search, SearchResult
from orchestrator.runs.description import dataset, description, parameters, study, title
from orchestrator.runs.description import tags as tags_of
from orchestrator.runs.legs import Legs
from orchestrator.runs.log import FILE as LOG
from orchestrator.runs.log import logged
from orchestrator.runs.machines import log_machines
from orchestrator.runs.metrics import AnytimeCurve, last_points
from orchestrator.runs.results import Summary, summarise
from orchestrator.runs.results_file import PROBLEMS, ResultsFile, add_baseline, write_table
from orchestrator.runs.session import Session, check_context
from orchestrator.runs.times import Taken, TimesFile
from orchestrator.runs.trace import trace_of
from orchestrator.runs.watchdog import Watchdog
from orchestrator.tracking.tracker import Tracker, status_of

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
"""The last file that a run writes: where it is, the run is finished."""
IMPATIENT_SECONDS = 10.0
"""Seconds that a run which was interrupted, or which a full disk has ended, waits for the tracking store."""


class NoSummary(RuntimeError):
    """The results of a run are written, and no summary can be made of them."""


class RunObserver(Protocol):
    """Watches a run: the display."""

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None:
        """Is told that the searches begin."""

    def result(self, result: SearchResult) -> None:
        """Is told of each search that has ended."""

    def ended(self) -> None:
        """Is told that the searches are over, however they have ended: engines may be taken down now."""

    def sampling_baseline(self, samples: int) -> None:
        """Is told that all searches have ended, and each problem is sampled so many times beside them."""

    def notice(self, line: str) -> None:
        """Is told, in one line and maybe from another thread, of a strategy that gets no further, and of a
        tracking store that is away."""


def new_run_id(config: Config) -> str:
    """Returns a name for a run that no other run has."""
    return f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def unfinished(prepared: Prepared) -> str | None:
    """Returns the newest run of this very configuration that was cut short, has results and is not going on
    in another process; None where there is none."""
    config, wanted = prepared.config, fingerprints(prepared)
    journals = Path(config.runs).glob(f"{glob.escape(config.name)}-*/journal.sqlite")
    begun = [journal for journal in journals if not (journal.parent / SUMMARY).is_file()]
    for journal in sorted(begun, key=lambda journal: journal.parent.name, reverse=True):
        if fingerprint_in(journal) in wanted and holds_results(journal) and not in_use(journal):
            return journal.parent.name
    return None


def stored_summary(directory: Path) -> dict[str, Any] | None:
    """Returns the summary of a finished run; None where there is work left: it was cut short, or too many of
    its searches failed."""
    try:
        summary: dict[str, Any] = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        return None if too_many(summary["failed"], summary["problems"]) else summary
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None  # it is not there, or not what a run writes: the machine went down meanwhile


class Run:
    """The record of one run, open while it lasts: ``with Run(…) as run: await run.search(…)``.

    However it ends, the journal is kept and the MLflow run is ended with what became of it: as failed also
    where too many of its searches broke (``failures.MOST_FAILED``). Then ``untracked`` says what tracking
    could not write (None: nothing). A run that is opened again goes on from its journal, in the same MLflow
    run.
    """

    def __init__(
        self,
        prepared: Prepared,
        run_id: str,
        *,
        role: str = "cell",
        instead: str = "",
        tags: Mapping[str, str] | None = None,
        parent: Tracker | None = None,
    ) -> None:
        """Opens the record. Raises JournalMismatch where the run was begun with another configuration, and
        JournalDamaged where it had begun and its journal is gone.

        ``role`` is what the run is for (``Summary.role``). ``instead`` names what is done in the strategy's
        place, with its parameters. ``tags`` are MLflow's; ``parent`` is the MLflow run that this one is
        nested in.
        """
        config = prepared.config
        self.prepared = prepared
        self.run_id = run_id
        self.directory = Path(config.runs) / run_id
        self.untracked: str | None = None
        self._broken = False
        self._role = role
        self._taken = Taken()
        self._open = ExitStack()
        self.directory.mkdir(parents=True, exist_ok=True)
        journal = self.directory / "journal.sqlite"
        if (self.directory / "config.yaml").is_file() and not (journal.is_file() and journal.stat().st_size):
            what = "empty" if journal.is_file() else "missing"
            needed = "put a copy in its place, or begin a new run"
            raise JournalDamaged(f"{journal} is {what}, and this run had begun: {needed}")
        own, *earlier = fingerprints(prepared, instead)
        self._journal = Journal(journal, fingerprint=own, earlier=earlier, parts=parts(prepared, instead))
        write_atomically(self.directory / "config.yaml", to_yaml(config))
        self._tracker = Tracker(
            config.runs,
            run_id,
            config.tracking.experiment,
            parameters(config),
            uri=tracking_uri(config),
            title=title(config, role=role),
            tags={"ttc.run_id": run_id, "ttc.role": role, **tags_of(prepared), **(tags or {})},
            parent=parent,
            study="" if parent is not None or role != "cell" else study(prepared, run_id),
        )
        self._tracker.describe(title(config, role=role), description(config, run_id))
        self._tracker.dataset(dataset(prepared))
        self._tracker.artifact(self.directory / "config.yaml")

    @property
    def given_back(self) -> str | None:
        """What is said of what the journal holds as a run goes on; None where it holds nothing."""
        operations, flops = self._journal.held()
        if not operations:
            return None
        done = "it is not done again" if operations == 1 else "they are not done again"
        return f"the journal has {counted(operations, 'operation')}, {in_flops(flops)} already paid: {done}"

    @property
    def page(self) -> str:
        """Where the run is seen in MLflow (``Tracker.page``)."""
        return self._tracker.page

    def __enter__(self) -> Run:
        try:
            self._open.enter_context(logged(self.directory, self.prepared.config.log_level))
        except BaseException as error:  # the disk takes no log: the journal is not left held
            self.__exit__(type(error), error, error.__traceback__)
            raise
        log.info("run %s: %d problems", self.run_id, len(self.prepared.problems))
        if skipped := self.prepared.skipped:
            log.info("%d problems skipped, too long for a model: %s", len(skipped), ", ".join(skipped))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            log.error("the run failed", exc_info=error)
        elif error is not None:
            log.info("interrupted: %s", type(error).__name__)
        try:
            self._journal.close()
        finally:
            self._open.close()
            if self.prepared.config.tracking.uri is not None:  # the store beside the runs would keep it twice
                self._tracker.artifact(self.directory / "journal.sqlite")
            self._tracker.artifact(self.directory / LOG)
            status = "FAILED" if self._broken and error is None else status_of(error)
            self.untracked = self._tracker.close(status, patience_of(error)) or self.untracked

    async def search(self, session: Session, observer: RunObserver, search: Search | None = None) -> Summary:
        """Searches all problems by the configured strategy, or by ``search`` in its place."""
        prepared = self.prepared
        self._tracker.tell(observer.notice)
        check_context(prepared, session.deployment)
        judge = judge_of(prepared, session.deployment, self._journal)
        noted: dict[str, dict[str, tuple[float, float]]] = {problem.id: {} for problem in prepared.problems}
        times = TimesFile(self.directory, self._taken)
        chooses = self._role == "cell"  # what tells the difficulty, or labels, has no use for an answer
        controller = controller_of(
            prepared, session.deployment, self._journal, judge, chooses=chooses, times=noted
        )
        legs = Legs(self.directory)
        curve = AnytimeCurve(len(prepared.problems), controller.budget, self._tracker.metrics)
        results_file = ResultsFile(self.directory)

        def on_result(result: SearchResult) -> None:
            legs.problem_ends(result.problem.id, result.seconds, whole=result.error is None)
            result = replace(result, seconds=legs.seconds_of(result.problem.id))
            results_file.add(result)
            times.add(result.problem.id, noted[result.problem.id])
            noted[result.problem.id].clear()
            try:
                curve.add(result)
                observer.result(result)
            except Exception:  # what is shown of a result is worth no other
                log.exception("problem %s is not shown", result.problem.id)

        controller.on_result = on_result
        await session.deployment.forget()  # what a run takes must not depend on the run before it
        observer.searching(controller, session.deployment, len(prepared.problems))
        try:
            found = await self._measured(controller, session, legs, observer, search or prepared.strategy)
        finally:
            _show(observer.ended)
        results = [replace(result, seconds=legs.seconds_of(result.problem.id)) for result in found]
        table = results_file.close(results)  # before all that is only about them
        try:
            self._shown(results)
            baseline, spent = await self._baseline(controller, observer, table), legs.spent
        finally:
            self._tracker.artifact(table)
        try:
            summary = summarise(
                self.run_id,
                results,
                controller.usage,
                budget=prepared.budget,
                seconds=spent.seconds,
                startup_seconds=spent.startup_seconds,
                sampled=spent.tokens,
                utilisation=spent.utilisation,
                allocation=controller.moved.to_dict() if controller.moved else None,
                role=self._role,
                skipped=len(prepared.skipped),
                by=prepared.config.problems.by,
                ungraded=controller.grader.counts,
                judge_flops=judge.budget.spent if judge is not None else 0,
                baseline=baseline,
            )
        except Exception as error:
            raise NoSummary(
                f"{table} is whole, and has no summary: {in_one_line(error, frame=True)}"
            ) from error
        await asyncio.to_thread(self._journal.flush)  # a run whose record is not whole is not finished
        self._finish(summary)
        await asyncio.to_thread(self._track, summary, results[: prepared.config.tracking.traces])
        return summary

    async def _measured(
        self, controller: Controller, session: Session, legs: Legs, observer: RunObserver, search: Search
    ) -> list[SearchResult]:
        """Runs the searches, while it is noted what time they take and told which of them stands still."""
        prepared, at_work = self.prepared, AtWork()
        pools = session.pools_of(prepared)
        busy = [pool.busy_seconds for pool in pools]
        started = time.monotonic()
        at_work.on_begin = lambda problem: legs.problem_begins(problem, time.monotonic() - started)

        def tick() -> tuple[float, int, dict[str, float]]:
            used = {pool.spec.name: pool.busy_seconds - was for pool, was in zip(pools, busy, strict=True)}
            return time.monotonic() - started, at_work.tokens, used

        def engines_are_busy() -> bool:
            return any(pool.running or pool.waiting for pool in pools)

        legs.begin(session.startup_seconds, {pool.spec.name: pool.spec.replicas for pool in pools})
        watchdog = Watchdog(prepared.strategy.name, at_work, engines_are_busy, observer.notice)
        machines = asyncio.create_task(
            log_machines(pools, self._tracker.metrics, legs.spent.seconds, here=Machine(gpus=False))
        )
        for pool in pools:
            pool.on_taken = self._taken.note
        try:
            with watchdog, legs.ticking(tick):
                return await controller.run(prepared.problems, prepared.prompts, at_work.noting(search))
        finally:
            machines.cancel()
            for pool in pools:
                pool.on_taken = lambda replica, requests: None

    async def _baseline(self, controller: Controller, observer: RunObserver, table: Path) -> Baseline | None:
        """Samples the baseline, where there is one, and adds to the table what it reaches on each problem."""
        samples, prepared = self.prepared.config.baseline, self.prepared
        if not samples or self._role != "cell":
            return None
        _show(lambda: observer.sampling_baseline(samples))
        whole, by_problem = await sample_baseline(controller, prepared.problems, prepared.prompts, samples)
        add_baseline(table, by_problem)
        return whole

    def _track(self, summary: Summary, results: Sequence[SearchResult]) -> None:
        """Logs the summary, and the first searches. A fault in that costs the run nothing else."""
        config = self.prepared.config
        try:
            self._tracker.describe(
                title(config, summary, self._role), description(config, self.run_id, summary)
            )
            self._tracker.metrics(last_points(summary))
            self._trace(results)
        except Exception as error:
            log.exception("the run is not tracked whole")
            self.untracked = f"tracking: {in_one_line(error, frame=True)}"

    def _shown(self, results: Sequence[SearchResult]) -> None:
        """Logs the answers, problem by problem. A fault in that costs the run nothing else."""
        path = self.directory / PROBLEMS
        try:
            write_table(results, path)
            self._tracker.table(path)
        except Exception as error:
            log.exception("the table of problems is not tracked")
            self.untracked = f"tracking: {in_one_line(error, frame=True)}"

    def _trace(self, results: Sequence[SearchResult]) -> None:
        lines = lines_of(self.directory, [result.problem.id for result in results])
        for result in results:
            name, decode = result.problem.id, self.prepared.codec.decode
            self._tracker.trace(
                trace_of(result, self._journal.results(name), decode, lines[name], time.time())
            )

    def _finish(self, summary: Summary) -> None:
        path = self.directory / SUMMARY
        write_atomically(path, json.dumps(summary.to_dict(), indent=2, allow_nan=False) + "\n")
        self._tracker.artifact(path)
        self._broken = summary.broken is not None
        log.info("finished: %d of %d problems failed", summary.failed, summary.problems)


def _show(tell: Callable[[], None]) -> None:
    """Tells an observer. What is shown is worth no run."""
    try:
        tell()
    except Exception:
        log.exception("the display has failed")


def patience_of(error: BaseException | None) -> float | None:
    """Returns the seconds for which a run that ``error`` ended waits for the tracking store, or None: the
    usual ones."""
    hurried = error is not None and not isinstance(error, Exception)
    full = isinstance(error, OSError | sqlite3.Error)  # the local store is on the same disk
    return IMPATIENT_SECONDS if hurried or full else None
