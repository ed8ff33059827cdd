"""What the trials came to, in two tables."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from orchestrator.benchmarks.chaos.trials import Trial


def outcomes(trials: Sequence[Trial]) -> Table:
    """Of each kind of trials: how many, and what was found in them. ``over``: runs over their budget;
    ``lost``, ``added``: operations; then what was left behind."""
    title = f"{len(trials)} trials (over: their budget; lost, added: operations; left behind: the last three)"
    shown = Table(title=title, title_justify="left")
    numbers = "trials", "faults", "identical", "over", "lost", "added", "processes", "segments", "sockets"
    shown.add_column("of")
    for column in numbers:
        shown.add_column(column, justify="right")
    for kind in sorted({trial.kind for trial in trials}):
        some = [trial for trial in trials if trial.kind == kind]
        counts = (
            len(some),
            sum(len(trial.injected) for trial in some),
            sum(trial.identical for trial in some),
            sum(trial.over_budget > 0 for trial in some),
            sum(trial.lost for trial in some),
            sum(trial.added for trial in some),
            sum(len(trial.orphans) for trial in some),
            sum(len(trial.segments) for trial in some),
            sum(len(trial.sockets) for trial in some),
        )
        shown.add_row(kind, *map(str, counts))
    return shown


def recoveries(trials: Sequence[Trial]) -> Table:
    """Of each kind of fault: how long it took until it was made good."""
    shown = Table(title="seconds until it is made good", title_justify="left")
    for column in ("victim", "faults", "recoveries", "median", "p90", "max"):
        shown.add_column(column, justify="left" if column == "victim" else "right")
    faults = Counter(kind for trial in trials for kind in trial.injected)
    for kind in sorted(faults):
        seconds = sorted(each for trial in trials for which, each in trial.recovery if which == kind)
        if seconds:
            ninth = seconds[int(0.9 * (len(seconds) - 1) + 0.5)]
            times = (f"{each:.1f}" for each in (statistics.median(seconds), ninth, seconds[-1]))
            shown.add_row(kind, str(faults[kind]), str(len(seconds)), *times)
    return shown
