"""The numbers of a run as MLflow shows them: its summary in flat names, and its curve as searches end."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from orchestrator.analysis.baseline import Baseline
from orchestrator.analysis.estimators import wilson
from orchestrator.budget.ledger import Lease
from orchestrator.runs.controller import SearchResult
from orchestrator.runs.results import MAIN, Summary
from orchestrator.tracking.tracker import Step

POINTS = 200
"""The most points of a curve."""
FLOPS_A_STEP = 1_000_000
"""MLflow's steps are integers."""
ENDS = ("", "_low", "_high")
"""What the names of an estimate and of the ends of its interval end in."""
ALONG_THE_CURVE = tuple(f"{name}{end}" for name in ("accuracy", "coverage") for end in ENDS)
"""The metrics that are logged while a run goes on, and once more when it has ended."""


LONGEST_PART = 100
"""Characters of a part of a metric's name: MLflow takes 250 of the whole."""
DIGITS = 5
"""Significant digits of a share."""


def metrics(summary: Summary) -> dict[str, float]:
    """Returns the summary as MLflow metrics. A few have a plain name and are shown first; the others are in
    groups, an interval beside what it belongs to."""
    shares = {
        **{f"accuracy/{rule}": value for rule, value in summary.accuracy.items()},
        "coverage": summary.coverage,
    }
    bounds = {
        f"{name if name == 'coverage' else f'accuracy/{name}'}_{end}": bound
        for name, ends in summary.intervals.items()
        for end, bound in zip(("low", "high"), ends, strict=True)
    }
    pass_at = {
        f"pass_at/{k}{end}": value
        for k, estimate in summary.pass_at_k.items()
        for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
    }
    by_rule = f"accuracy/{summary.rule}"
    first = {f"accuracy{end}": (shares | bounds)[f"{by_rule}{end}"] for end in ENDS}
    without = {} if summary.baseline is None else baseline_metrics(summary.baseline)
    found = {
        **first,
        **shares,
        **bounds,
        **pass_at,
        **without,
        **_by(summary),
        "flops_per_problem": summary.flops.spent / summary.problems,
        "seconds": summary.seconds,
        "search/distinct_answers": summary.distinct_answers,
        **({"search/flips": summary.flips} if summary.flips is not None else {}),
        "search/operations": float(summary.operations),
        "search/unscored": float(summary.unscored),
        "search/compared": float(summary.compared),
        "search/copies": float(summary.copies),
        **{f"budget/{name}": float(value) for name, value in summary.budget.items() if name != "unit"},
        **{f"flops/{name}": float(value) for name, value in vars(summary.flops).items()},
        **{f"tokens/{name}": float(value) for name, value in summary.tokens.items()},
        "speed/tokens_per_second": summary.tokens_per_second,
        "speed/startup_seconds": summary.startup_seconds,
        **{f"speed/latency_{name}": value for name, value in summary.latency.items()},
        **{f"speed/utilisation_{name}": value for name, value in summary.utilisation.items()},
        **{f"allocation/{name}": float(value) for name, value in summary.allocation.items()},
        "problems/total": float(summary.problems),
        "problems/answered": float(summary.answered),
        "problems/exhausted": float(summary.exhausted),
        "problems/failed": float(summary.failed),
        "problems/skipped": float(summary.skipped),
        "problems/returned_nothing": float(summary.returned_nothing),
        **{f"ungraded/{name}": float(value) for name, value in summary.ungraded.items()},
        **{f"choices/{name}": float(value) for name, value in summary.choices.items()},
    }
    return {name: rounded(value) for name, value in found.items()}


def last_points(summary: Summary) -> list[Step]:
    """Returns the metrics of a run that has ended, as points: those along its curve where the curve ends,
    since MLflow takes the point of the largest step for a metric's value; the others at step 0, where MLflow
    draws bars."""
    end = step_at(summary.flops.spent)
    return [(name, value, end if name in ALONG_THE_CURVE else 0) for name, value in metrics(summary).items()]


def step_at(flops: int) -> int:
    """Returns the step of a point at so many FLOPs spent."""
    return flops // FLOPS_A_STEP


def rounded(value: float) -> float:
    """Returns a number to as many digits as it is worth reading; a count as it is."""
    whole = not math.isfinite(value) or value == int(value)
    return value if whole else float(f"{value:.{DIGITS}g}")


def baseline_metrics(baseline: Baseline) -> dict[str, float]:
    """Returns what samples without any search reach, as MLflow metrics."""
    found = {"baseline/samples": float(baseline.samples)}
    for name, estimate in (("one_sample", baseline.one), ("majority", baseline.majority)):
        found[f"baseline/{name}"] = estimate.value
        found |= {f"baseline/{name}_{end}": getattr(estimate, end) for end in ("low", "high")}
    return found


def _by(summary: Summary) -> dict[str, float]:
    """The accuracy by the attribute that is asked for, by names that MLflow takes."""
    if summary.by is None:
        return {}
    groups = summary.groups[summary.by]
    names = plain_names(groups)
    return {
        f"by_{plain(summary.by)}/{names[value]}/{rule}": estimate.value
        for value, group in groups.items()
        for rule, estimate in [*group.accuracy.items(), ("coverage", group.coverage)]
    }


def plain(text: str) -> str:
    """Returns a text as MLflow takes it as a part of a metric's name, which it reads as a path: neither empty
    nor dots alone, and not too long."""
    kept = re.sub(r"[^\w .-]", "_", text)[:LONGEST_PART]
    return kept if kept.strip(".") else "_" * max(1, len(kept))


def plain_names(texts: Iterable[str]) -> dict[str, str]:
    """Returns the name of each text (``plain``); of those that would have the same, the later ones have a
    number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in dict.fromkeys(texts):
        name = plain(text)
        number = 1
        while (found := name if number == 1 else f"{name} {number}") in taken:
            number += 1
        taken.add(found)
        names[text] = found
    return names


class AnytimeCurve:
    """Logs accuracy against FLOPs spent, at most ``POINTS`` times as searches end: evenly over them, and when
    the last one has ended. ``…_of_decided`` is over the problems whose search has ended by then,
    ``…_of_all`` over every problem, where one that has not ended counts as wrong.

    MLflow shows metrics in the order in which they were first logged: so the few that count come first, here
    as they are over the problems decided so far.
    """

    def __init__(self, problems: int, budget: Lease, log: Callable[[list[Step]], None]) -> None:
        self._problems = problems
        self._budget = budget
        self._log = log
        self._done = 0
        self._correct: dict[str, int] = {}
        self._covered = 0

    def add(self, result: SearchResult) -> None:
        """Counts one more result, and logs the point after it if it is one of the curve's."""
        points = min(POINTS, self._problems)
        reached = self._done * points // self._problems
        self._done += 1
        for rule, right in result.correct.items():
            self._correct[rule] = self._correct.get(rule, 0) + right
        self._covered += result.covered
        if self._done * points // self._problems == reached:
            return
        step = step_at(self._budget.spent)
        counts = {**self._correct, "coverage": self._covered}
        rule = MAIN if MAIN in self._correct else next(iter(self._correct))
        known = [wilson(self._correct[rule], self._done), wilson(self._covered, self._done)]
        values = [value for found in known for value in (found.value, found.low, found.high)]
        self._log(
            [
                *((name, rounded(value), step) for name, value in zip(ALONG_THE_CURVE, values, strict=True)),
                ("progress/problems_decided", float(self._done), step),
                *(
                    (f"progress/{name}_of_{which}", rounded(count / total), step)
                    for name, count in counts.items()
                    for which, total in (("decided", self._done), ("all", self._problems))
                ),
            ]
        )
