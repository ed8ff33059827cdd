"""The numbers of a run as MLflow shows them: its summary in flat names, and its curve as searches end."""

from __future__ import annotations

import re
from collections.abc import Callable

from orchestrator.budget.ledger import Lease
from orchestrator.runs.baseline import Baseline
from orchestrator.runs.controller import SearchResult
from orchestrator.runs.results import Summary
from orchestrator.tracking.tracker import Step

POINTS = 200
"""The most points of a curve."""


def metrics(summary: Summary) -> dict[str, float]:
    """Returns the summary as MLflow metrics, each by a flat name."""
    return {
        **{f"accuracy/{rule}": value for rule, value in summary.accuracy.items()},
        "coverage": summary.coverage,
        **{
            f"interval/{name}_{end}": bound
            for name, ends in summary.intervals.items()
            for end, bound in zip(("low", "high"), ends, strict=True)
        },
        **{
            f"pass_at/{k}{end}": value
            for k, estimate in summary.pass_at_k.items()
            for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
        },
        **({} if summary.baseline is None else baseline_metrics(summary.baseline)),
        "distinct_answers": summary.distinct_answers,
        **({"flips": summary.flips} if summary.flips is not None else {}),
        **{f"budget/{name}": float(value) for name, value in summary.budget.items() if name != "unit"},
        **{f"flops/{name}": float(value) for name, value in vars(summary.flops).items()},
        **{f"tokens/{name}": float(value) for name, value in summary.tokens.items()},
        "tokens_per_second": summary.tokens_per_second,
        "seconds": summary.seconds,
        "startup_seconds": summary.startup_seconds,
        **{f"latency/{name}": value for name, value in summary.latency.items()},
        **{f"utilisation/{name}": value for name, value in summary.utilisation.items()},
        **{f"allocation/{name}": float(value) for name, value in summary.allocation.items()},
        "problems/total": float(summary.problems),
        "problems/answered": float(summary.answered),
        "problems/exhausted": float(summary.exhausted),
        "problems/failed": float(summary.failed),
        "unscored": float(summary.unscored),
        "compared": float(summary.compared),
        "copies": float(summary.copies),
        "problems/skipped": float(summary.skipped),
        "problems/returned_nothing": float(summary.returned_nothing),
        **_by(summary),
        **{f"ungraded/{name}": float(value) for name, value in summary.ungraded.items()},
        **{f"choices/{name}": float(value) for name, value in summary.choices.items()},
        "operations": float(summary.operations),
    }


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
    return {
        f"by_{_named(summary.by)}/{_named(value)}/{rule}": estimate.value
        for value, group in summary.groups[summary.by].items()
        for rule, estimate in [*group.accuracy.items(), ("coverage", group.coverage)]
    }


def _named(text: str) -> str:
    return re.sub(r"[^\w .-]", "_", text)


class AnytimeCurve:
    """Logs accuracy over all problems against FLOPs spent, at most ``POINTS`` times as searches end: evenly
    over them, and when the last one has ended.

    MLflow's steps are integers: a step is 10⁶ FLOPs. A problem that is not done counts as wrong.
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
        step = self._budget.spent // 1_000_000
        shares = [(f"anytime/accuracy_{r}", n / self._problems, step) for r, n in self._correct.items()]
        self._log([*shares, ("anytime/coverage", self._covered / self._problems, step)])
