"""Shows a run in a terminal: live bars, or plain lines where there is no terminal; a table at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, ConsoleRenderable, RichCast
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from actors.deployment import Deployment
from actors.messages import ReplicaInfo
from orchestrator.analysis.estimators import wilson
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
LEAST_SHARE = 0.05
"""The share of a run's problems that is done before the rest of its time is estimated."""
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
    _controller: Controller | None = None

    def starting(self, names: Sequence[str]) -> None:
        self.stop()  # the engines before, which did not start
        self._names, self._up, self._began = list(names), [], time.monotonic()
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
        missing = [name for name in self._names if name not in self._up]
        named = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        waits = f"; awaited: {named}" if missing else ""
        return f"{len(self._up)} of {counted(len(self._names), 'replica')} up, {self._since:.0f} s{waits}"

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
        self._said = self._searched = time.monotonic()
        self._done, self._failed, self._covered, self._correct = 0, 0, 0, {}
        if self.console.is_terminal:
            self._view = _View(self, controller, deployment)
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

    def sampling_baseline(self, samples: int) -> None:
        self._print(f"the searches are done; to compare with them, {samples} samples of each problem …")

    def standing(self) -> str:
        """Returns a line with the accuracy so far, over the problems that are done, and what is spent."""
        assert self._controller is not None
        budget = self._controller.budget
        return f"{self.accuracy(', ')}, {budget.spent:.3g} of {budget.limit:.3g} FLOPs, {self.time()}"

    def accuracy(self, between: str) -> str:
        """Returns the accuracy by each rule over the problems that are done (of the rule that counts with its
        95 % interval), the coverage, and how many failed."""
        done = max(self._done, 1)
        counts = MAIN if MAIN in self._correct else next(iter(self._correct), None)
        told = []
        for rule, right in self._correct.items():
            share = wilson(right, done)
            sure = f" [{100 * share.low:.0f}, {100 * share.high:.0f}]" if rule == counts else ""
            told.append(f"{rule} {100 * share.value:.0f} %{sure}")
        told.append(f"coverage {100 * self._covered / done:.0f} %")
        return between.join([*told, *([f"{self._failed} failed"] if self._failed else [])])

    def time(self) -> str:
        """Returns how long the searches have taken, and once that can be known how long the others will."""
        spent = time.monotonic() - self._searched
        share = self._done / self._problems if self._problems else 1.0
        left = f", about {duration(spent / share * (1 - share))} left" if LEAST_SHARE <= share < 1 else ""
        return duration(spent) + left

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
    """Who is up while engines start; rendered anew at each refresh."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __rich__(self) -> Text:
        return Text(self._display.who_is_up)


class _View:
    """Two bars, how it stands, and what each pool is doing; rendered anew at each refresh."""

    def __init__(self, display: Display, controller: Controller, deployment: Deployment) -> None:
        self._display, self._controller, self._deployment = display, controller, deployment
        self._progress = Progress(
            TextColumn("{task.description:<9}"), BarColumn(bar_width=30), _Amount(), console=display.console
        )
        self._problems = self._progress.add_task("problems", total=display._problems)
        self._budget = self._progress.add_task("budget", total=controller.budget.limit, flops=True)

    def __rich__(self) -> Table:
        display, budget = self._display, self._controller.budget
        self._progress.update(self._problems, completed=display._done)
        self._progress.update(self._budget, completed=budget.spent)
        grid = Table.grid()
        if (heading := display.heading()) is not None:
            grid.add_row(Text(heading))
        grid.add_row(self._progress)
        grid.add_row(f"so far    {display.accuracy('  ')}")
        grid.add_row(f"time      {display.time()}")
        for pool in self._deployment.pools:
            again = f", {pool.stats.retried:,} done again" if pool.stats.retried else ""
            up = f", {len(pool.up)} of {pool.spec.replicas} up" if len(pool.up) < pool.spec.replicas else ""
            grid.add_row(
                f"{pool.spec.name:<10}{pool.running:>5} running {pool.waiting:>6} waiting{again}{up}"
            )
        return grid


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.fields.get("flops"):
            return Text(f"{task.completed:.3g} of {task.total or 0:.3g} FLOPs")
        return Text(str(MofNCompleteColumn().render(task)))


def duration(seconds: float) -> str:
    """Returns a time in words, in the largest unit that fits."""
    if not seconds < MOST_DAYS * DAY:
        return f"more than {MOST_DAYS} days"
    for unit, name in ((DAY, "day"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            count = round(seconds / unit)
            return f"{count} {name}" + ("s" if name == "day" else "")
    return f"{seconds:.0f} s"


def summary_table(summary: Summary) -> Table:
    """Returns the table at the end of a run."""
    table = Table(title=f"run {summary.run_id}", title_justify="left", show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary_rows(summary):
        table.add_row(visible(name), visible(value))
    return table
