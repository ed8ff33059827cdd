"""A run of a scripted engine that goes on as far as a test lets it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.budget.ledger import Lease
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.runs.results_file import ResultsFile
from orchestrator.search.selection import rules
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, ScriptedEngine, setting

BUDGET = 10**9
DEADLINE_SECONDS = 120


class Held(ScriptedEngine):
    """Answers as many requests as it is let, in the order in which they came."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.allowed: float = 0
        self.answered = 0
        self._before = asyncio.Event()
        """Set once the request before has been answered."""
        self._before.set()

    async def _delay(self) -> None:
        before, self._before = self._before, asyncio.Event()
        answered = self._before
        try:
            await before.wait()
            while self.answered >= self.allowed:  # noqa: ASYNC110 - the test that lets it is another thread
                await asyncio.sleep(0.005)
            self.answered += 1
        finally:
            answered.set()


class GoingOn:
    """A beam search over some problems, in a thread; its journal is in ``directory``."""

    def __init__(self, directory: Path, problems: Sequence[Problem], *given: Any, at_once: int = 2) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.engine = Held(*given)
        self._journal = Journal(directory / "journal.sqlite")
        self._problems = problems
        self._at_once = at_once
        self._controller = Controller(
            setting(self.engine, journal=self._journal),
            grader("exact"),
            Lease(BUDGET),
            rules(scored=True, chains=False),
            at_once,
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._search()))

    async def _search(self) -> None:
        file, strategy = ResultsFile(self.directory), find("beam_search")
        self._controller.on_result = file.add
        prompts = [CODEC.encode(problem.prompt) for problem in self._problems]
        results = await self._controller.run(self._problems, prompts, lambda ops: strategy(ops, n=4, width=2))
        await asyncio.to_thread(self._journal.flush)
        file.close(results)

    def let(self, more: float) -> None:
        """Lets the engine answer so many requests more, and returns once their results are committed."""
        self.engine.allowed += more
        if more < float("inf"):
            self._until(lambda: len(self._journal) >= self.engine.allowed)
            self._journal.flush()
        else:
            self._thread.join()

    def _until(self, true: Callable[[], bool]) -> None:
        """Waits until something is true, or the run has ended."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._thread.is_alive() and not true():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    @contextmanager
    def running(self) -> Iterator[GoingOn]:
        """Runs, and runs to the end. The searches that go on at once have all begun: else the first could
        use up the requests that a test lets them have."""
        begun = min(self._at_once, len(self._problems))
        self._thread.start()
        try:
            self._until(lambda: len({one.affinity for one in self.engine.samples}) >= begun)
            yield self
        finally:
            self.engine.allowed = float("inf")
            self._thread.join()
            self._journal.close()
