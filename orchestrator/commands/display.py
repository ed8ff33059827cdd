"""Shows a run in a terminal: live bars, or plain lines where there is no terminal; a table at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, ConsoleRenderable, RichCast
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from actors.deployment import Deployment
from actors.messages import ReplicaInfo
from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.failures import told
from orchestrator.budget.units import described
from orchestrator.commands.terminal import say
from orchestrator.errors import counted, visible
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.results import Group, Summary

PLAIN_SECONDS = 5.0
"""Seconds between two lines, at least, where there is no terminal."""
MOST_FAILURES = 5
"""The most searches that broke which have a line of their own."""
SHOWN_SECONDS = 1.0
"""Seconds of a phase of a start from which it is shown."""
STARTING_SECONDS = 15.0
"""Seconds between two lines about replicas that start, where there is no terminal."""


@dataclass
class Display:
    """Follows one run, on standard error (standard output is for the result)."""

    console: Console
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
        self._print(f"  {info.name} up after {self._since:.0f} s{phases}{dtype}{cache}")

    @property
    def who_is_up(self) -> str:
        """A line that says how many replicas are up, since when it is waited for, and for which."""
        missing = [name for name in self._names if name not in self._up]
        named = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        waits = f"; loading: {named}" if missing else ""
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
        self._controller, self._problems, self._said = controller, problems, time.monotonic()
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
        budget, done = self._controller.budget, max(self._done, 1)
        rules = ", ".join(f"{rule} {100 * n / done:.0f} %" for rule, n in self._correct.items())
        failed = f"{self._failed} failed, " if self._failed else ""
        return (
            f"{failed}{rules}, coverage {100 * self._covered / done:.0f} %, "
            f"{budget.spent:.3g} of {budget.limit:.3g} FLOPs"
        )

    def _ends(self) -> bool:
        """True if the last result was the run's last, which is shown at once."""
        return self._done == self._problems

    def heading(self) -> str | None:
        """Returns a line to show above the bars, or None."""
        return None

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
        done = max(display._done, 1)
        rules = "  ".join(f"{rule} {100 * n / done:.0f} %" for rule, n in display._correct.items())
        failed = f"  {display._failed} failed" if display._failed else ""
        grid.add_row(f"so far    {rules}  coverage {100 * display._covered / done:.0f} %{failed}")
        for pool in self._deployment.pools:
            grid.add_row(f"{pool.spec.name:<10}{pool.running:>5} running {pool.waiting:>6} waiting")
        return grid


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.fields.get("flops"):
            return Text(f"{task.completed:.3g} of {task.total or 0:.3g} FLOPs")
        return Text(str(MofNCompleteColumn().render(task)))


def summary_table(summary: Summary) -> Table:
    """Returns the table at the end of a run."""
    table = Table(title=f"run {summary.run_id}", title_justify="left", show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(summary):
        table.add_row(visible(name), visible(value))
    return table


def _moved(allocation: dict[str, int]) -> str:
    if "passed_on" in allocation:
        return f"{allocation['passed_on']:.4g} FLOPs that problems left of their shares, to those after them"
    return f"between problems in {allocation['rounds']} rounds, {allocation['solved']} needed no more"


def _selection(s: Summary) -> str:
    """What generative selection took of the generator's FLOPs, and what became of its choices."""
    told = f"{s.flops.selection:.4g} FLOPs of the generator's, {s.choices['asked']:,} choices"
    told += f", {s.choices['unread']:,} of them unreadable" if s.choices["unread"] else ""
    lacking = f", {s.choices['unmade']:,} not made for want of budget or context (run.log)"
    return told + (lacking if s.choices["unmade"] else "")


def _grouped(by: str, groups: dict[str, Group]) -> list[tuple[str, str]]:
    """A row for each value of an attribute: how many problems, and the accuracy with its 95 % interval."""

    def shown(name: str, e: Estimate) -> str:
        return f"{name} {100 * e.value:.1f} % [{100 * e.low:.0f}, {100 * e.high:.0f}]"

    return [
        (
            f"  {by} {value}",
            ", ".join(
                [
                    f"{group.problems}: " + shown("coverage", group.coverage),
                    *(shown(rule, estimate) for rule, estimate in group.accuracy.items()),
                ]
            ),
        )
        for value, group in groups.items()
    ]


def percent(x: float) -> str:
    """Returns a share as a percentage."""
    return f"{100 * x:.1f} %"


def known(value: float, interval: tuple[float, float]) -> str:
    """Returns a share and its 95 % interval."""
    return f"{percent(value)} [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def _accuracy(s: Summary) -> list[tuple[str, str]]:
    """The accuracy by each rule; beside that of samples without any search, what each costs a problem."""
    found = [(rule, known(value, s.intervals[rule])) for rule, value in s.accuracy.items()]
    if (base := s.baseline) is None:
        return [(f"accuracy, {rule}", shown) for rule, shown in found]
    several = (base.majority, base.majority_flops)
    without = [("one sample", base.one, base.one_flops), (f"majority of {base.samples}", *several)]
    return [
        *((f"no search: {name}", f"{_estimated(e)} {_a_problem(flops)}") for name, e, flops in without),
        *((f"search, {rule}", f"{shown} {_a_problem(s.flops.spent / s.problems)}") for rule, shown in found),
    ]


def _estimated(e: Estimate) -> str:
    return known(e.value, (e.low, e.high))


def _a_problem(flops: float) -> str:
    return f"for {flops:.3g} FLOPs a problem"


def _rows(s: Summary) -> list[tuple[str, str]]:
    asked, buys = described(s.budget)
    cut = [f"{s.exhausted} cut short by the budget"] if s.exhausted else []
    after = f", {s.failed_answered} of them after an answer" if s.failed_answered else ""
    cut += [f"{s.failed} failed{after}"] if s.failed else []
    cut += [f"{s.skipped} skipped: too long"] if s.skipped else []
    rows: list[tuple[str, Any]] = [
        ("problems", ", ".join([f"{s.problems}", f"{s.answered} answered", *cut])),
        *([("failed", told(s.failed, s.problems, s.errors))] if s.failed else []),
        *_accuracy(s),
        ("coverage", known(s.coverage, s.intervals["coverage"])),
        *([("pass@1", f"{percent(s.pass_at_k[1].value)} (one sample)")] if 1 in s.pass_at_k else []),
        *([] if s.by is None else _grouped(s.by, s.groups[s.by])),
        *([("correct → incorrect", f"{percent(s.flips)} of revisions")] if s.flips is not None else []),
        ("budget", asked),
        ("  which buys", buys),
        ("spent", f"{s.flops.spent:.4g} FLOPs ({percent(s.flops.spent / s.flops.budget)})"),
        *([("  moved", _moved(s.allocation))] if any(s.allocation.values()) else []),
        ("  generator", f"{s.flops.generator:.4g} FLOPs, {s.tokens['generator']:,} tokens"),
        ("  verifier", f"{s.flops.verifier:.4g} FLOPs, {s.tokens['verifier']:,} tokens"),
        *([("  selection", _selection(s))] if s.choices else []),
        *([("beside it, judge", f"{s.flops.judge:.4g} FLOPs")] if s.flops.judge else []),
        *([("beside it, no search", f"{s.flops.baseline:.4g} FLOPs")] if s.flops.baseline else []),
        ("computed / charged", f"{s.flops.computed_over_logical:.3f}"),
        ("throughput", f"{s.tokens_per_second:,.0f} generated tokens/s"),
        ("utilisation", ", ".join(f"{name} {percent(u)}" for name, u in s.utilisation.items())),
        ("latency", f"{s.latency['p50']:.1f} s a problem (median), {s.latency['p95']:.1f} s (95 %)"),
        ("time", f"{s.seconds:.1f} s of search after {s.startup_seconds:.1f} s of start-up"),
    ]
    if s.cut_steps > 0.5:
        why = "by max_step_tokens and not with generator.step_delimiter; does the model write it?"
        rows.append(("warning: steps", f"{percent(s.cut_steps)} ended {why}"))
    if s.unscored:
        rows.append(
            (
                "not scored",
                f"{s.unscored:,} paths: their text is too long, or the verifier had no score (run.log)",
            )
        )
    if s.compared:
        again = f"{percent(s.copies / s.compared)} of {s.compared:,} samples were equal to an earlier sibling"
        rows.append(("copies", f"{again}, and are one with it"))
    if s.blind:
        low, high = s.scores or (0.0, 0.0)
        same = f"from {low:.6f} to {high:.6f}: the verifier tells nothing apart; is verifier.format its own?"
        rows.append(("warning: scores", same))
    if s.returned_nothing:
        none = f"of {counted(s.returned_nothing, 'problem')} the strategy returned none"
        rows.append(("warning: solutions", f"{none}, though it had paid for finished ones (run.log)"))
    if s.ungraded:
        counts = (f"{n:,} {name.replace('_', ' ')}" for name, n in s.ungraded.items())
        rows.append(("not graded", f"{', '.join(counts)}: run.log has the inputs"))
    if s.replayed:
        rows.append(("replayed", f"{s.replayed:,} of {s.operations:,} operations, from the journal"))
    return rows
