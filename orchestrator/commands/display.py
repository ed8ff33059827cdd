"""Shows a run in a terminal: live bars, or plain lines where there is no terminal; a table at the end."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, ConsoleRenderable, Group, RichCast
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.deployment import Deployment
from actors.messages import ReplicaInfo
from actors.pool import Pool
from actors.printed import PRINTED
from orchestrator.analysis.estimators import Estimate, wilson
from orchestrator.analysis.words import percent
from orchestrator.budget.units import in_flops
from orchestrator.commands.terminal import say
from orchestrator.errors import counted, visible
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.results import MAIN, Summary
from orchestrator.runs.summary_text import summary_rows

PLAIN_SECONDS = 5.0
"""Seconds between two lines, at least, where there is no terminal."""
MOST_FAILURES = 5
"""The most searches that broke which have a line of their own."""
SHOWN_SECONDS = 1.0
"""Seconds of a phase of a start from which it is shown."""
STARTING_SECONDS = 15.0
"""Seconds between two lines about replicas that start, where there is no terminal."""
MOST_STARTING = 8
"""The most replicas that are named while they start."""
LEAST_SHARE = 0.05
"""The share of a run's problems that is done before the rest of its time is estimated."""
LEAST_SECONDS = 1.0
"""Seconds of search from which tokens a second are shown."""
JUDGE = "judge"
"""The pool that writes verdicts, and no solution."""
NARROW = 60
"""Columns of a terminal below which its bars are short."""
DAY, MOST_DAYS = 86_400, 99


@dataclass
class Display:
    """Follows one run, on standard error (standard output is for the result)."""

    console: Console
    about: str = ""
    """What is run, in a line."""
    every: float = PLAIN_SECONDS
    """Seconds between lines where there is no terminal."""
    _began: float = field(default_factory=time.monotonic)
    _names: list[str] = field(default_factory=list)
    _up: list[str] = field(default_factory=list)
    _engines_start: bool = False
    _starting: asyncio.Task[None] | None = None
    _done: int = 0
    _problems: int = 0
    _failed: int = 0
    _correct: dict[str, int] = field(default_factory=dict)
    _covered: int = 0
    _said: float = 0.0
    _searched: float = 0.0
    _live: Live | None = None
    _view: _View | None = None
    _last: Group | None = None
    """How it stood as the searches ended: engines that are taken down say nothing about them."""
    _controller: Controller | None = None
    _pools: list[Pool] = field(default_factory=list)
    _before: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By pool, its busy seconds before the searches, and what it had done again."""
    _tokens: int = 0
    """The tokens that were sampled before them."""

    def starting(self, names: Sequence[str]) -> None:
        self.stop()  # the engines before, which did not start
        self._names, self._up, self._began = list(names), [], time.monotonic()
        self._engines_start = True
        PRINTED.forget(names)
        several = "s" if len(names) != 1 else ""
        self._print(f"starting Ray and {len(names)} replica{several} …")
        if self.console.is_terminal:
            self._show(_Starting(self))
        else:
            self._starting = asyncio.create_task(self._say_who_is_up())

    def ready(self, info: ReplicaInfo) -> None:
        self._up.append(info.name)
        longest = {name: s for name, s in info.phases.items() if s >= SHOWN_SECONDS}
        phases = f" ({', '.join(f'{name} {s:.0f}' for name, s in longest.items())})" if longest else ""
        cache = f"; {info.kv_cache_tokens:,} tokens of KV cache" if info.kv_cache_tokens else ""
        dtype = f"; {info.dtype}" if info.dtype else ""
        where = f" on {info.place}" if info.place else ""
        self._print(f"  {info.name} up{where} after {self._since:.0f} s{phases}{dtype}{cache}")

    @property
    def who_is_up(self) -> str:
        """A line that says how many replicas are up, since when it is waited for, and for which."""
        missing, more = self._missing
        waits = f"; not yet: {', '.join([*missing, *more])}" if missing else ""
        return f"{self.how_many_are_up}{waits}"

    @property
    def start(self) -> list[str]:
        """While engines start: how many are up, and a line for each that is not; else nothing."""
        if not self._engines_start:
            return []
        missing, more = self._missing
        return [self.how_many_are_up, *missing, *more]

    @property
    def how_many_are_up(self) -> str:
        """How many replicas are up, and since when it is waited for them."""
        return f"{len(self._up)} of {counted(len(self._names), 'replica')} up, {self._since:.0f} s"

    @property
    def _missing(self) -> tuple[list[str], list[str]]:
        """The replicas that are not up, each with the phase of its start; and how many more there are."""
        missing = [name for name in self._names if name not in self._up]
        more = len(missing) - MOST_STARTING
        return [*map(PRINTED.with_phase, missing[:MOST_STARTING])], [f"{more} more"] if more > 0 else []

    async def _say_who_is_up(self) -> None:
        while len(self._up) < len(self._names):
            await asyncio.sleep(STARTING_SECONDS)
            self._print(self.who_is_up)

    @property
    def _since(self) -> float:
        return time.monotonic() - self._began

    def _print(self, line: str, style: str | None = None) -> None:
        say(self.console, line, style)

    def notice(self, line: str) -> None:
        self._print(line, "yellow")

    def _show(self, view: ConsoleRenderable | RichCast) -> None:
        self._live = Live(view, console=self.console, refresh_per_second=4, transient=True)
        self._live.start()

    def searching(self, controller: Controller, deployment: Deployment, problems: int) -> None:
        self.stop()
        self._controller, self._problems = controller, problems
        self._engines_start = False
        self._said = self._searched = time.monotonic()
        self._done, self._failed, self._covered, self._correct, self._last = 0, 0, 0, {}, None
        self._pools = deployment.pools  # engines may have served a run before
        self._before = {p.spec.name: (p.busy_seconds, p.stats.retried) for p in self._pools}
        self._tokens = self._sampled
        if self.console.is_terminal:
            self._view = _View(self)
            self._show(self._view)

    def result(self, result: SearchResult) -> None:
        self._done += 1
        self._covered += result.covered
        for rule, right in result.correct.items():
            self._correct[rule] = self._correct.get(rule, 0) + right
        if result.error is not None:
            self._failed += 1
            if self._failed <= MOST_FAILURES:
                more = "; of others only the number is shown" if self._failed == MOST_FAILURES else ""
                self._print(f"problem {result.problem.id} failed: {result.error}{more}", "red")
        now = time.monotonic()
        if self._live is None and (now - self._said >= self.every or self._ends()):
            self._said = now
            self._print(f"{self._done}/{self._problems} problems, {self.standing()}")

    def ended(self) -> None:
        if self._view is not None:
            self._last = self._view.now()

    def sampling_baseline(self, samples: int) -> None:
        self._print(f"the searches are done; to compare with them, {samples} samples of each problem …")

    def standing(self) -> str:
        """Returns a line with the accuracy so far, over the problems that are done, and what is spent."""
        assert self._controller is not None
        budget = self._controller.budget
        work = "; ".join(f"{name} {', '.join(told)}" for name, told in self.work())
        spent = f"{in_flops(budget.spent)} of {in_flops(budget.limit)}"
        return f"{self.accuracy(', ')}, {spent}, {self.time()}; {work}"

    def work(self, *, queues: bool = False) -> Iterator[tuple[str, list[str]]]:
        """Yields each pool with what it does: how much of the time its replicas had work, what was done
        again, who is away; with ``queues`` also how many requests run and wait now."""
        lasted = max(time.monotonic() - self._searched, 1e-9)
        for pool in self._pools:
            name, replicas = pool.spec.name, pool.spec.replicas
            before, again = self._before.get(name, (0.0, 0))
            busy, again = (pool.busy_seconds - before) / (lasted * replicas), pool.stats.retried - again
            told = [f"{pool.running:,} running", f"{pool.waiting:,} waiting"] if queues else []
            told.append(f"{100 * min(1.0, busy):.0f} % busy")
            if again:
                told.append(f"{again:,} done again")
            if len(pool.up) < replicas:
                told.append(f"{len(pool.up)} of {replicas} up")
            yield name, told

    def accuracy(self, between: str) -> str:
        """Returns the accuracy by each rule over the problems that are done (of the rule that counts with its
        95 % interval), the coverage, and how many failed."""
        if not self._done:
            return "no problem has ended yet"
        done = self._done
        counts = MAIN if MAIN in self._correct else next(iter(self._correct), None)
        told = []
        for rule, right in self._correct.items():
            share = wilson(right, done)
            shown = share if rule == counts else Estimate(share.value, math.nan, math.nan)
            told.append(f"{rule} {percent(shown, ' %', digits=0)}")
        told.append(f"coverage {100 * self._covered / done:.0f} %")
        return between.join([*told, *([f"{self._failed} failed"] if self._failed else [])])

    def time(self) -> str:
        """Returns how long the searches have taken, how long the others will once that can be known, and the
        tokens that are sampled a second."""
        spent = time.monotonic() - self._searched
        share = self._done / self._problems if self._problems else 1.0
        left = f", about {duration(spent / share * (1 - share))} left" if LEAST_SHARE <= share < 1 else ""
        tokens = self._sampled - self._tokens
        rate = f", {tokens / spent:,.0f} tokens/s" if spent >= LEAST_SECONDS else ""
        return duration(spent) + left + rate

    @property
    def _sampled(self) -> int:
        """The tokens that were sampled since the engines started, without those of a judge."""
        return sum(pool.stats.tokens for pool in self._pools if pool.spec.name != JUDGE)

    def _ends(self) -> bool:
        """True if the last result was the run's last, which is shown at once."""
        return self._done == self._problems

    def heading(self) -> str | None:
        """Returns a line to show above the bars, or None."""
        return self.about or None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the live view away."""
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Starting:
    """Who is up while engines start, and what the others do; rendered anew at each refresh."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __rich__(self) -> Text:
        return Text("\n  ".join(self._display.start))


class _View:
    """Two bars, how it stands, and what each pool is doing; rendered anew at each refresh."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __rich__(self) -> Group:
        return self._display._last or self.now()

    def now(self) -> Group:
        """Returns how it stands."""
        display = self._display
        assert display._controller is not None
        budget = display._controller.budget
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, min_width=9)
        grid.add_column(overflow="fold")
        done, all_of = display._done, display._problems
        spent = f"{in_flops(budget.spent)} of {in_flops(budget.limit)}"
        grid.add_row("problems", self._bar(done, all_of, f"{done}/{all_of}"))
        grid.add_row("budget", self._bar(budget.spent, budget.limit, spent))
        grid.add_row("so far", display.accuracy(", "))
        grid.add_row("time", display.time())
        for name, told in display.work(queues=True):
            grid.add_row(name, ", ".join(told))
        heading = display.heading()
        return Group(*([] if heading is None else [Text(heading)]), grid)

    def _bar(self, done: float, all_of: float, words: str) -> Table:
        narrow = self._display.console.width < NARROW
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(all_of, done, width=8 if narrow else 30), words)
        return row


def duration(seconds: float) -> str:
    """Returns a time in words, in the largest unit that fits."""
    if not seconds < MOST_DAYS * DAY:
        return f"more than {MOST_DAYS} days"
    for unit, name in ((DAY, "day"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            count = round(seconds / unit)
            return f"{count} {name}" + ("s" if name == "day" else "")
    return f"{seconds:.0f} s"


def summary_table(summary: Summary, what: str | None = None) -> Table:
    """Returns the table at the end of a run; ``what`` says what was searched with what."""
    table = Table(title=f"run {summary.run_id}", title_justify="left", show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    searched = [] if what is None else [("searched", what)]
    for name, value in [*searched, *summary_rows(summary)]:
        table.add_row(visible(name), visible(value))
    return table
