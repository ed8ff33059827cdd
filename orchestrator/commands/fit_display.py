"""Shows a fitted policy in a terminal: tables of choices, accuracies and savings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.policy_fit import Fit
from orchestrator.analysis.savings import Level
from orchestrator.analysis.scaling_laws import LogLinear, PowerLaw
from orchestrator.analysis.words import percent
from orchestrator.budget.units import in_flops
from orchestrator.report.text import factor, si


def show_laws(curves: Mapping[str, LogLinear], coverage: PowerLaw | None, console: Console) -> None:
    """Prints a table of the curves, and a line for coverage."""
    table = _table("accuracy = α + β · log₂ FLOPs, in points, ± standard errors")
    for name in ("", "α", "β", "plateau"):
        table.add_column(name, justify="right" if name else "left")
    for name, curve in curves.items():
        line = (f"{100 * each.value:.1f} ± {100 * each.error:.1f}" for each in (curve.alpha, curve.beta))
        level = (
            curve.plateau
            and f"{100 * curve.plateau.accuracy.value:.1f} from {si(2**curve.plateau.log2_flops.value)}"
        )
        table.add_row(name, *line, level or "none")
    if curves:
        console.print(table)
    if coverage is not None:
        a, b = (f"{each.value:.3f} ± {each.error:.3f}" for each in (coverage.a, coverage.b))
        console.print(f"coverage of k samples = exp(a · k^b), a = {a}, b = {b}", highlight=False)


def show(learned: Fit, console: Console) -> None:
    """Prints three tables: the policy, its accuracy by budget, and what it saves."""
    policy = learned.policy
    chosen = _table(f"policy ({policy.rule}; bins by {policy.samples} samples)")
    chosen.add_column("FLOPs a problem", justify="right")
    for number in range(1, len(policy.thresholds) + 2):
        chosen.add_column(f"bin {number}", overflow="fold")
    for row in policy.rows:
        chosen.add_row(si(row.budget), *(_words(choice.strategy) for choice in row.bins))
    console.print(chosen)

    for name, comparison in _kinds(learned):
        levels = _table(f"{name}: on problems it was not chosen on")
        for column in ("budget", "FLOPs", "accuracy", "best-of-N", "difference", "it is"):
            levels.add_column(column, justify="left" if column == "it is" else "right", no_wrap=True)
        for budgets, level in _different(comparison.levels):
            gap = _interval(level.difference, 100, "+.1f")
            shown = (percent(level.accuracy), percent(level.baseline) + REACH[level.reach], gap)
            levels.add_row(budgets, si(level.flops), *shown, level.verdict)
        console.print(levels)
    if any(x.reach != "measured" for _, each in _kinds(learned) for x in each.levels):
        console.print("best-of-N: at these FLOPs; ↓, ↑: below or beyond any, the nearest point is shown")

    savings = _table("best-of-N's FLOPs over the policy's, at equal accuracy")
    savings.add_column("best-of-N")
    savings.add_column("accuracy", justify="right")
    for name, _ in _kinds(learned):
        savings.add_column(name, justify="right")
    rows = [(*comparison.savings, comparison.near_best) for _, comparison in _kinds(learned)]
    for each in zip(*rows, strict=True):
        factors = [factor(s) if s.flops else "not reached" for s in each]
        savings.add_row(f"{each[0].baseline}", f"{100 * each[0].accuracy:.1f}", *factors)
    console.print(savings)
    agreement = learned.agreement
    console.print(
        f"predicted against oracle bins: {100 * agreement.exact:.0f} % the same, "
        f"{100 * agreement.within_one:.0f} % within one, Spearman {agreement.spearman:.2f}; "
        f"the estimate costs {in_flops(agreement.flops)} a problem",
        highlight=False,
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


REACH = {"measured": "", "below": " ↓", "beyond": " ↑"}


def _different(levels: Sequence[Level]) -> Iterator[tuple[str, Level]]:
    """Yields the levels that differ in more than their budget, each with its budget or budgets."""
    for _, same in groupby(levels, key=lambda level: (level.flops, level.accuracy)):
        found = list(same)
        ends = dict.fromkeys(si(level.budget) for level in (found[0], found[-1]))
        yield " – ".join(ends), found[0]


def warning(learned: Fit) -> str | None:
    """Returns a line about budgets at which the policy is worse than best-of-N, or None."""
    levels = learned.charged["predicted"].levels
    worse = [level for level in levels if level.verdict == "worse"]
    if not worse:
        return None
    most = _interval(min((level.difference for level in worse), key=lambda gap: gap.value), 100, "+.1f")
    return (
        f"at {len(worse)} of {len(levels)} budgets the policy is worse than best-of-N of the same FLOPs, by "
        f"up to {most} points: best_of_n is the better choice there"
    )


def _kinds(learned: Fit) -> Iterator[tuple[str, Any]]:
    for bins in learned.charged:
        yield f"{bins} bins", learned.uncharged[bins]
        yield f"{bins} bins, estimate charged", learned.charged[bins]


def _words(strategy: Any) -> str:
    return " ".join([str(strategy["name"]), *(f"{k}={v}" for k, v in strategy.items() if k != "name")])


def _interval(estimate: Estimate, scale: float, form: str) -> str:
    value, low, high = (f"{scale * x:{form}}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
