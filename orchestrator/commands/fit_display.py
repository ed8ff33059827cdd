"""Shows a fitted policy in a terminal: tables of choices, accuracies and savings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.policy_fit import Fit
from orchestrator.analysis.scaling_laws import LogLinear, PowerLaw


def show_laws(curves: Mapping[str, LogLinear], coverage: PowerLaw | None, console: Console) -> None:
    """Prints a table of the curves, and a line for coverage."""
    table = Table(title="accuracy = α + β · log₂ FLOPs, in points, ± standard errors", title_justify="left")
    for name in ("", "α", "β", "plateau"):
        table.add_column(name, justify="right" if name else "left")
    for name, curve in curves.items():
        line = (f"{100 * each.value:.1f} ± {100 * each.error:.1f}" for each in (curve.alpha, curve.beta))
        level = (
            curve.plateau
            and f"{100 * curve.plateau.accuracy.value:.1f} from {2**curve.plateau.log2_flops.value:.3g}"
        )
        table.add_row(name, *line, level or "none")
    console.print(table)
    if coverage is not None:
        a, b = (f"{each.value:.3f} ± {each.error:.3f}" for each in (coverage.a, coverage.b))
        console.print(f"coverage of k samples = exp(a · k^b), a = {a}, b = {b}", highlight=False)


def show(learned: Fit, console: Console) -> None:
    """Prints three tables: the policy, its accuracy by budget, and what it saves."""
    policy = learned.policy
    chosen = Table(title=f"policy ({policy.rule}; bins by {policy.samples} samples)", title_justify="left")
    chosen.add_column("FLOPs a problem", justify="right")
    for number in range(1, len(policy.thresholds) + 2):
        chosen.add_column(f"bin {number}")
    for row in policy.rows:
        chosen.add_row(f"{row.budget:.3g}", *(_words(choice.strategy) for choice in row.bins))
    console.print(chosen)

    levels = Table(title="on problems it was not chosen on", title_justify="left")
    for name in ("bins", "FLOPs a problem", "accuracy", "best-of-N at these FLOPs", "difference"):
        levels.add_column(name, justify="left" if name == "bins" else "right")
    for name, comparison in _kinds(learned):
        for level in comparison.levels:
            cells = (level.accuracy, level.baseline, level.difference)
            levels.add_row(name, f"{level.flops:.3g}", *(_interval(each, 100, ".1f") for each in cells))
        levels.add_section()
    console.print(levels)

    savings = Table(title="best-of-N's FLOPs over the policy's, at equal accuracy", title_justify="left")
    savings.add_column("best-of-N")
    savings.add_column("accuracy", justify="right")
    for name, _ in _kinds(learned):
        savings.add_column(name, justify="right")
    for each in zip(*(comparison.savings for _, comparison in _kinds(learned)), strict=True):
        factors = [
            ("≥ " if s.at_least else "") + _interval(s.factor, 1, ".2f") if s.flops else "not reached"
            for s in each
        ]
        savings.add_row(f"{each[0].baseline}", f"{100 * each[0].accuracy:.1f}", *factors)
    console.print(savings)
    agreement = learned.agreement
    console.print(
        f"predicted against oracle bins: {100 * agreement.exact:.0f} % the same, "
        f"{100 * agreement.within_one:.0f} % within one, Spearman {agreement.spearman:.2f}; "
        f"the estimate costs {agreement.flops:.3g} FLOPs a problem",
        highlight=False,
    )


def _kinds(learned: Fit) -> Iterator[tuple[str, Any]]:
    for bins in learned.charged:
        yield bins, learned.uncharged[bins]
        yield f"{bins}, estimate charged", learned.charged[bins]


def _words(strategy: Any) -> str:
    return " ".join([str(strategy["name"]), *(f"{k}={v}" for k, v in strategy.items() if k != "name")])


def _interval(estimate: Estimate, scale: float, form: str) -> str:
    value, low, high = (f"{scale * x:{form}}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
