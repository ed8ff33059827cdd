"""Follows the directory of a run that goes on, from the rows that its journal and its results gain.

Nothing is asked of the run itself, and nothing is read twice: what has come since the last look is added up.
A search's texts are read when somebody looks at it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from actors.messages import SampleResult
from orchestrator.durability.reading import Recorded, StoredJournal, stored
from orchestrator.errors import counted
from orchestrator.explore.description import Cost, Explored, Row, Tree, What
from orchestrator.explore.growing import GrowingLines
from orchestrator.explore.run import (
    APART,
    CHOICES,
    JOURNAL,
    LINES,
    LOG,
    RESULTS,
    Sums,
    about,
    log_of_replicas,
    read_results,
    read_tree,
    result_of,
    row_of,
)
from orchestrator.explore.times import TIMES, by_problem
from orchestrator.explore.tree import costs_of, outline_of
from orchestrator.explore.votes import rules_of
from orchestrator.explore.work import WorkSums
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem, filled
from orchestrator.search.distinct import SHARED


@dataclass
class _Search:
    """One search, as far as its rows tell."""

    index: int
    asked: tuple[str, str]
    """Its question, and the right answer."""
    samples: int = 0
    flops: int = 0
    generator: Counter[tuple[int, What]] = field(default_factory=Counter)
    verifier: Counter[tuple[int, What]] = field(default_factory=Counter)
    costs: tuple[Cost, ...] = ()
    """What the sums of the run have of it."""
    table: dict[str, Any] | None = None
    """Its row of results, once it has ended."""
    version: int = 0
    row: Row | None = None

    def add(self, problem: str, recorded: Sequence[Recorded]) -> None:
        for key, result, flops in recorded:
            kind, _, place = key.removeprefix(f"{problem}/").partition("/")
            path, _, copies = place.partition("/")[0].partition(SHARED)
            depth = path.count(".") + bool(path) + bool(copies)
            self.samples += isinstance(result, SampleResult)
            self.flops += flops
            (self.verifier if kind == "score" else self.generator)[depth, "open"] += flops


class News(msgspec.Struct, frozen=True):
    """What has come since a version: all that the page needs to be as the run is."""

    version: int
    head: Explored
    """The run, without its rows."""
    rows: tuple[tuple[int, Row], ...]
    """The rows that are new or have changed, each with its place."""
    problems: int
    """How many problems the run has; 0 where that is not known."""


class LiveRun:
    """One run that goes on. Threads may call its methods at once."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        codec: Codec,
        problems: Sequence[Problem] = (),
        notes: Sequence[str] = (),
        budget: int | None = None,
        begun: float = 0.0,
    ) -> None:
        """Raises JournalDamaged where there is no journal that can be read, as before a run begins.

        ``budget`` is the run's, in FLOPs, where it is known. A table of results from before ``begun``, in
        seconds since 1970, is not this leg's.
        """
        self.version = 0
        """Rises with each change."""
        self._directory = directory
        self._about = tuple(about(config, {}))
        self._strategy = str((config.get("strategy") or {}).get("name"))
        self._codec = codec
        self._asked = {problem.id: problem for problem in problems}
        self._notes = tuple(notes)
        self._budget = budget
        self._begun = begun
        self._lock = Lock()
        self._open = ExitStack()
        self._journal: StoredJournal = self._open.enter_context(stored(directory / JOURNAL))
        self._last = 0
        self._lines = GrowingLines(directory / LINES)
        self._unread = 0
        """How many of them are damaged."""
        self._whole = False
        """Whether the table of results was read."""
        self._log_size = 0
        self._log: tuple[str, ...] = ()
        self._rules: tuple[str, ...] = ()
        self._searches: dict[str, _Search] = {}
        self._lines_of_times = GrowingLines(directory / TIMES)
        self._times: dict[str, list[bytes]] = defaultdict(list)
        self._timed = False
        """Whether times were read of which no version tells."""
        self._work = WorkSums(reviser=bool((config.get("reviser") or {}).get("model")))
        self._sums = Sums()
        self._beside: Counter[str] = Counter()

    def close(self) -> None:
        """Closes the journal."""
        with self._lock:
            self._open.close()

    def refresh(self) -> bool:
        """Reads what is new. Returns True where anything is. Raises JournalDamaged."""
        with self._lock:
            version, changed, unread = self.version + 1, set[str](), self._unread
            self._read_times()
            ended = [*self._ended()]  # first: what has ended is in the journal by then
            for number, name, recorded in self._journal.since(self._last):
                self._last = number
                if name not in self._asked and name.startswith(APART):
                    self._beside[name.partition("/")[0]] += sum(flops for *_, flops in recorded)
                else:
                    self._sums.count(recorded)
                    problem = name if name in self._asked else name.removeprefix(CHOICES)
                    self._search(problem).add(name, recorded)
                    changed.add(problem)
            for table in ended:
                self._search(table["problem"]).table = table
                changed.add(table["problem"])
            for problem in changed:
                self._describe(problem, version)
            if changed or self._timed or self._log_has_grown() or self._unread > unread or not self.version:
                self.version, self._timed = version, False
            return self.version == version

    def since(self, version: int) -> News:
        """Returns what has come since ``version``; 0 is before all."""
        with self._lock:
            rows = tuple(
                (search.index, search.row)
                for search in self._searches.values()
                if search.version > version and search.row is not None
            )
            spent = sum(search.row.flops for search in self._searches.values() if search.row is not None)
            head = Explored(
                self._directory.name,
                self._strategy,
                self._about,
                self._rules,
                (),
                self._budget / len(self._asked) if self._budget is not None and self._asked else None,
                self._budget,
                spent,
                None,
                self._sums.by_replica,
                self._sums.costs,
                tuple(self._beside.items()),
                self._log,
                (*self._notes, *self._damage),
                work=self._work.work(),
            )
            return News(self.version, head, rows, len(self._asked))

    def tree(self, problem: str) -> Tree | None:
        """Returns the search of a problem as it is now; None where it has not begun. Raises
        JournalDamaged."""
        with self._lock:
            if (search := self._searches.get(problem)) is None:
                return None
            self._read_times()
            asked, times = self._asked.get(problem), self._times.get(problem, ())
            return read_tree(problem, self._journal, self._codec, search.table, asked, times, self._last)[0]

    def _read_times(self) -> None:
        """Reads the times of the searches that have ended since."""
        new = [*by_problem(self._lines_of_times.new() or ())]
        for name, line in new:
            self._times[name].append(line)
        self._work.add(line for _, line in new)
        self._timed = self._timed or bool(new)

    @property
    def _damage(self) -> list[str]:
        if not self._unread:
            return []
        lines = counted(self._unread, f"line of {LINES}", f"lines of {LINES}")
        return [f"{lines} cannot be read: what ended there is shown as it is in the journal alone."]

    def _search(self, problem: str) -> _Search:
        if problem not in self._searches:
            known = self._asked.get(problem)
            asked = ("", "") if known is None else (filled("{problem}", known), known.answer)
            self._searches[problem] = _Search(len(self._searches), asked)
        return self._searches[problem]

    def _describe(self, problem: str, version: int) -> None:
        """Brings a search's row, and what the sums have of it, up to date."""
        search = self._searches[problem]
        try:
            asked, endings, costs = self._described(problem, search)
            row = row_of(problem, asked, search.samples, endings, search.flops, search.table)
        except (LookupError, TypeError, ValueError, AttributeError):
            if search.table is None:
                raise
            search.table = None  # it is JSON, and no result
            self._unread += 1
            return self._describe(problem, version)
        self._sums.add(search.costs, -1)
        self._sums.add(costs)
        self._rules = self._rules or rules_of(search.table or {})
        search.asked, search.costs, search.row, search.version = asked, costs, row, version

    def _described(self, problem: str, search: _Search) -> tuple[tuple[str, str], int, tuple[Cost, ...]]:
        """A search's question and right answer, how many solutions it has returned, and its costs."""
        if (table := search.table) is None:
            return search.asked, 0, costs_of(search.generator, search.verifier)
        recorded, choices = (
            self._journal.results(name, self._last) for name in (problem, f"{CHOICES}{problem}")
        )
        outline = outline_of(problem, recorded, table, choices)
        return (table["prompt"], table["answer"]), outline.endings, outline.costs

    def _ended(self) -> Iterator[dict[str, Any]]:
        """The results that are new: of the lines that a run leaves as its searches end, or of the table that
        takes their place in the end."""
        if (lines := self._lines.new()) is None:
            yield from self._of_the_table()
            return
        for line in lines:
            if (table := result_of(line)) is None:
                self._unread += 1
            else:
                yield table

    def _of_the_table(self) -> Iterator[dict[str, Any]]:
        path = self._directory / RESULTS
        if not self._whole and path.is_file() and path.stat().st_mtime >= self._begun:
            self._whole = True
            for table in read_results(self._directory):
                known = self._searches.get(table["problem"])
                if known is None or known.table is None:
                    yield table

    def _log_has_grown(self) -> bool:
        path = self._directory / LOG
        size = path.stat().st_size if path.is_file() else 0
        if size == self._log_size:
            return False
        self._log_size, before = size, self._log
        self._log = tuple(log_of_replicas(path))
        return self._log != before
