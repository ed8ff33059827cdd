"""Reads the directory of a run, finished or cut short, and describes its searches one by one."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from actors.messages import SampleResult
from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import percent
from orchestrator.durability.reading import Recorded, StoredJournal, stored
from orchestrator.errors import BadInput, in_one_line
from orchestrator.explore.description import Cost, Explored, Replica, Row, Tree, What
from orchestrator.explore.growing import GrowingLines
from orchestrator.explore.times import read_times, times_of
from orchestrator.explore.tree import attributes_of, costs_of, tree_of
from orchestrator.explore.votes import rules_of
from orchestrator.explore.work import work_of
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem, beside, filled

JOURNAL, RESULTS, LINES = "journal.sqlite", "results.parquet", "results.jsonl"
SUMMARY, LOG = "summary.json", "run.log"
APART = tuple(beside(what, "") for what in ("baseline", "judge"))
"""What the journal has beside the searches, and no budget pays: samples of the baseline, and verdicts."""
CHOICES = beside("select", "")
"""Before a problem's name, in the name under which the journal has the choices among its solutions."""
HEAD = 160
"""Characters of a prompt in the list."""
MOST_LINES = 200
"""The most lines of the log that are shown."""
OF_REPLICAS = re.compile(r"^(\S+ \S+) (?:WARNING|ERROR) actors\.(?:pool|replica|member|deployment)\S*: (.*)$")


@dataclass
class Sums:
    """What is added up over the searches of a run."""

    generator: Counter[tuple[int, What]] = field(default_factory=Counter)
    """FLOPs by depth and by what they were spent on."""
    verifier: Counter[tuple[int, What]] = field(default_factory=Counter)
    replicas: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 5))
    """The counts of ``Replica``, by name."""

    def add(self, costs: Iterable[Cost], sign: int = 1) -> None:
        """Adds the costs of a search, or with the sign -1 takes them away."""
        for cost in costs:
            self.generator[cost.depth, cost.what] += sign * cost.generator
            self.verifier[cost.depth, cost.what] += sign * cost.verifier

    def count(self, recorded: Iterable[Recorded]) -> None:
        """Counts operations by replica."""
        for _, result, flops in recorded:
            counts = self.replicas[result.replica]
            sampled = isinstance(result, SampleResult)
            counts[0] += sampled
            counts[1] += not sampled
            counts[2] += len(result.tokens) if isinstance(result, SampleResult) else 0
            counts[3] += result.computed_tokens
            counts[4] += flops

    @property
    def costs(self) -> tuple[Cost, ...]:
        return costs_of(self.generator, self.verifier)

    @property
    def by_replica(self) -> tuple[Replica, ...]:
        return tuple(Replica(name, *counts) for name, counts in sorted(self.replicas.items()))


class RunReader:
    """Reads one run: ``trees()`` describes its searches, one at a time, and then ``explored()`` the whole.

    ``problems`` are those of the run's configuration, where they are known: a run that was cut short has no
    other text of the problems that it did not come to.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        codec: Codec,
        problems: Sequence[Problem] = (),
        notes: Sequence[str] = (),
        report: str | None = None,
        report_by: str = "",
    ) -> None:
        """``report`` and ``report_by`` are as in ``Explored``. Raises JournalDamaged where no journal can be
        read, and BadInput where the table of results cannot."""
        self._directory = directory
        self._config = config
        self._codec = codec
        self._notes = [*notes]
        self._report, self._report_by = report, report_by
        self._table = {row["problem"]: row for row in read_results(directory)}
        self._asked = {problem.id: problem for problem in problems}
        self._times = read_times(directory)
        self._summary = _summary(directory / SUMMARY)
        self._open = ExitStack()
        self._journal = self._open.enter_context(stored(directory / JOURNAL))
        self._sums = Sums()
        self._rows: list[Row] = []

    def __enter__(self) -> RunReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def trees(self) -> Iterator[Tree]:
        """Yields the search of each problem, in the order of the table, then those that had only begun."""
        recorded_for = self._journal.problems()
        others = (*APART, CHOICES)
        journaled = [name for name in recorded_for if name in self._asked or not name.startswith(others)]
        for problem in dict.fromkeys([*self._table, *journaled]):
            row = self._table.get(problem)
            tree, recorded = read_tree(
                problem,
                self._journal,
                self._codec,
                row,
                self._asked.get(problem),
                self._times.get(problem, ()),
            )
            self._sums.add(tree.costs)
            self._sums.count(recorded)
            endings = sum(ending.times for ending in tree.endings)
            spent = sum(flops for *_, flops in recorded)
            prompt = tree.prompt, tree.expected
            self._rows.append(row_of(problem, prompt, len(tree.nodes), endings, spent, row))
            yield tree

    def explored(self) -> Explored:
        """Returns the description of the whole, once all trees were taken."""
        summary, config = self._summary, self._config
        budget = summary.get("budget") or {}
        flops = summary.get("flops") or {}
        cut = sum(not row.ended for row in self._rows)
        if not summary:
            self._notes.append(
                f"This run is not finished: {len(self._rows) - cut:,} searches have ended, {cut:,} had begun."
            )
        if recorded := len(self._table) and not any(row.nodes for row in self._rows):
            self._notes.append(f"The journal has no operation of the {recorded:,} problems.")
        return Explored(
            self._directory.name,
            str((config.get("strategy") or {}).get("name")),
            tuple(about(config, summary)),
            rules_of(next(iter(self._table.values()), {})),
            tuple(self._rows),
            budget.get("flops_per_problem"),
            budget.get("flops"),
            flops.get("spent"),
            summary.get("seconds"),
            self._sums.by_replica,
            self._sums.costs,
            tuple(self._beside()),
            tuple(log_of_replicas(self._directory / LOG)),
            tuple(self._notes),
            self._report,
            self._report_by,
            work_of(self._times.values(), reviser=bool((config.get("reviser") or {}).get("model"))),
        )

    def _beside(self) -> Iterator[tuple[str, int]]:
        """What was charged beside the budget: as the summary has it, else what the journal has of it."""
        charged, names = self._summary.get("flops") or {}, self._journal.problems()
        for place in APART:
            what = place.rstrip("/")
            if charged.get(what) is not None:
                flops = int(charged[what])
            else:
                apart = [name for name in names if name.startswith(place) and name not in self._asked]
                flops = sum(flops for name in apart for *_, flops in self._journal.results(name))
            if flops:
                yield what, flops


def read_tree(
    problem: str,
    journal: StoredJournal,
    codec: Codec,
    row: Mapping[str, Any] | None,
    asked: Problem | None,
    times: Sequence[bytes] = (),
    last: int | None = None,
) -> tuple[Tree, list[Recorded]]:
    """Returns the search of a problem and all its operations. ``row`` is its row of results, where it has
    one; ``asked`` is the problem itself, where it is known; ``times`` are its lines of times; ``last`` is the
    last commit of the journal that counts (None: all do). Raises JournalDamaged."""
    recorded, choices = (journal.results(name, last) for name in (problem, f"{CHOICES}{problem}"))
    tree = tree_of(problem, recorded, codec, row, choices, times_of(times))
    if row is None and asked is not None:
        prompt = filled("{problem}", asked)
        tree = msgspec.structs.replace(tree, prompt=prompt, expected=asked.answer, also=asked.also)
    return tree, [*recorded, *choices]


def read_results(directory: Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's results: of its table, or of the lines that it leaves until it has one.
    Raises BadInput where the table cannot be read."""
    if (directory / RESULTS).is_file():
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        try:
            rows: list[dict[str, Any]] = pq.read_table(directory / RESULTS).to_pylist()
        except (ArrowException, OSError) as error:
            unread = f"its {RESULTS} cannot be read ({in_one_line(error)})"
            raise BadInput("run_id", directory.name, unread) from error
        return rows
    lines = GrowingLines(directory / LINES).new() or []  # the last one may be torn: the process was killed
    return [row for row in map(result_of, lines) if row is not None]


def result_of(line: bytes) -> dict[str, Any] | None:
    """Returns the row of results in a line; None where it is damaged."""
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return row if isinstance(row.get("problem"), str) else None


def log_of_replicas(path: Path) -> Iterator[str]:
    """Yields what a run's log says of its replicas, each with its time: a replica that is lost, its requests
    that are done again, one that is back. Of many lines the first ``MOST_LINES``."""
    if not path.is_file():
        return
    found = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if (match := OF_REPLICAS.match(line)) is None:
                continue
            found += 1
            if found > MOST_LINES:
                yield "… and more: see run.log"
                return
            yield f"{match[1]} {match[2]}"


def row_of(
    problem: str,
    asked: tuple[str, str],
    nodes: int,
    endings: int,
    recorded: int,
    row: Mapping[str, Any] | None,
) -> Row:
    """Returns a line of the list. ``asked`` is the question and its right answer, ``recorded`` the FLOPs of
    the operations, which count where the search has no ``row`` of results yet."""
    table = row or {}
    prompt, expected = asked
    rules = rules_of(table)
    selected = {table[f"selected_{rule}"] for rule in rules}
    seconds = table.get("seconds")
    return Row(
        problem,
        prompt[:HEAD],
        expected[:HEAD],
        table.get("difficulty"),
        attributes_of(table),
        tuple(bool(table[f"correct_{rule}"]) for rule in rules),
        any(answer is not None for answer in selected),
        len(selected) < 2,
        bool(table.get("covered")),
        int(table.get("flops", recorded)),
        None if seconds is None or math.isnan(seconds) else seconds,
        nodes,
        endings,
        bool(table.get("exhausted")),
        table.get("error"),
        row is not None,
        table.get("strategy") or "",
    )


def about(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what was run, for the head of the page."""
    strategy = {**(config.get("strategy") or {})}
    name = strategy.pop("name", "")
    yield "strategy", " ".join([str(name), *(f"{key}={value}" for key, value in strategy.items())])
    for role in ("generator", "verifier", "reviser"):
        section = config.get(role) or {}
        if section.get("model"):
            kind = f" ({section['kind']}, {section.get('aggregation')})" if role == "verifier" else ""
            yield role, f"{section['model']}{kind}"
    yield "seed", str(config.get("seed"))
    for rule, value in (summary.get("accuracy") or {}).items():
        ends = (summary.get("intervals") or {}).get(rule) or (math.nan, math.nan)
        yield f"accuracy, {rule}", percent(Estimate(value, *ends), " %")


def _summary(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    parts = ("budget", "flops", "accuracy", "intervals")
    return {name: held for name, held in found.items() if name not in parts or isinstance(held, dict)}
