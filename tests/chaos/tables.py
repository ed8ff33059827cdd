"""Two tables that summarize the trials."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from rich.table import Table

from tests.chaos.trials import Trial

COUNTED: dict[str, Callable[[Trial], int]] = {
    "trials": lambda trial: 1,
    "faults": lambda trial: len(trial.injected),
    "ended as the undisturbed run": lambda trial: trial.identical,
    "over their budget": lambda trial: trial.over_budget > 0,
    "FLOPs over the budget": lambda trial: trial.over_budget,
    "operations lost": lambda trial: trial.lost,
    "operations added": lambda trial: trial.added,
    "processes left": lambda trial: len(trial.orphans),
    "shared-memory segments left": lambda trial: len(trial.segments),
    "sockets left": lambda trial: len(trial.sockets),
}


def outcomes(trials: Sequence[Trial]) -> Table:
    """Counts the trials' faults and defects, by kind and in all."""
    kinds = sorted({trial.kind for trial in trials})
    shown = Table(title="trials", title_justify="left")
    shown.add_column("of")
    for kind in (*kinds, "all"):
        shown.add_column(kind, justify="right")
    for name, count in COUNTED.items():
        sums = [sum(count(trial) for trial in trials if trial.kind == kind) for kind in kinds]
        shown.add_row(name, *map(str, sums), str(sum(sums)))
    return shown


def recoveries(trials: Sequence[Trial]) -> Table:
    """Shows the seconds that each kind of fault took to be made good."""
    shown = Table(title="seconds until it is made good", title_justify="left")
    for column in ("victim", "faults", "recoveries", "median", "p90", "max"):
        shown.add_column(column, justify="left" if column == "victim" else "right")
    faults = Counter(kind for trial in trials for kind in trial.injected)
    for kind in sorted(faults):
        seconds = sorted(took for trial in trials for which, took in trial.recovery if which == kind)
        if seconds:
            ninth = seconds[int(0.9 * (len(seconds) - 1) + 0.5)]
            times = (f"{value:.1f}" for value in (statistics.median(seconds), ninth, seconds[-1]))
            shown.add_row(kind, str(faults[kind]), str(len(seconds)), *times)
    return shown
