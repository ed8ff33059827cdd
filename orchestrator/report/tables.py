"""The tables of a report, for the page and for ``ttc report --table``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Outcomes
from orchestrator.analysis.difficulty import BINS
from orchestrator.analysis.estimators import Estimate, mean_over_problems
from orchestrator.analysis.options import Option, short
from orchestrator.analysis.savings import Saving, savings
from orchestrator.analysis.scaling_laws import Coefficient
from orchestrator.analysis.solutions import read_answers
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.series import series
from orchestrator.report.text import (
    MISSING,
    budget,
    lower_bound,
    name,
    percent,
    setting,
    si,
    with_interval,
    words,
)


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """As many entries each as there are columns."""
    names: int = 1
    """Number of leading columns that are names; the others are numbers and right-aligned."""
    note: str = ""
    """Text below the table."""


def markdown(table: Table) -> str:
    """Returns a table as GitHub Markdown with aligned columns."""
    rows = [[_escaped(word) for word in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(word) for word in column)) for column in zip(*rows, strict=True)]

    def line(words: Sequence[str]) -> str:
        padded = [
            word.ljust(width) if i < table.names else word.rjust(width)
            for i, (word, width) in enumerate(zip(words, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i < table.names else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    text = [f"**{table.title}**", "", line(rows[0]), line(rule), *map(line, rows[1:])]
    return "\n".join([*text, *(["", table.note] if table.note else [])])


def _escaped(word: str) -> str:
    return word.replace("|", "\\|")


def accuracy_table(evidence: Evidence) -> Table:
    """Returns accuracy by strategy, budget and difficulty bin, in % with half the width of its 95 % interval.

    It covers every group with the main group's problems; the columns name the models where they differ.
    """
    main = evidence.main
    groups = [group for group in evidence.groups if group.problems == main.problems]
    told = apart(groups)
    bins = range(1, BINS + 1) if main.bins is not None else ()
    seeds = sorted({len(option.cells) for group in groups for option in group.options})
    rows = []
    for group in groups:
        rule = evidence.rule_of(group)
        models = [_model_and_rule(key, group, rule, evidence.rule) for key in told]
        for option in in_order(group):
            cells = [percent(option.accuracy(rule))]
            for b in bins:
                inside = main.bins == b
                cells.append(percent(option.accuracy(rule, inside)) if np.any(inside) else MISSING)
            rows.append([name(option), *models, budget(option), si(option.cost().mean()), *cells])
    return Table(
        f"Accuracy ({evidence.rule}) by strategy, budget and difficulty, %",
        [
            "strategy",
            *map(short, told),
            *("budget", "FLOPs charged", "all"),
            *(f"bin {b}" for b in bins),
        ],
        rows,
        2 + len(told),
        f"{len(main.problems)} problems, {_range(seeds)} seed{'s' if seeds[-1] > 1 else ''}. ± is half "
        "of the 95 % interval of a bootstrap over problems of their means over seeds; it is 0 where all "
        "problems agree. Budget and FLOPs are for one problem. "
        + ("Bin 1 is the easiest fifth by pass@1." if bins else "No difficulty run: no bins."),
    )


def _model_and_rule(key: str, group: Group, rule: str, usual: str) -> str:
    """Returns a group's value of ``key``, and its selection rule beside a verifier that has another rule."""
    word = setting(group.models[key])
    return f"{word} ({rule})" if key == "verifier.model" and rule != usual else word


def search_table(evidence: Evidence) -> Table:
    """Returns what each option's searches found and were charged, per problem."""
    rows = []
    for option in in_order(evidence.main):
        distinct = np.mean([distinct_answers(cell) for cell in option.cells])
        cost = {key: option.cost(key).mean() for key in ("flops", "verifier_flops", "generator_tokens")}
        rows.append(
            [
                *(name(option), budget(option)),
                MISSING if np.isnan(distinct) else f"{distinct:.1f}",
                percent(covered(option)),
                si(cost["flops"]),
                f"{100 * cost['verifier_flops'] / cost['flops']:.0f}" if cost["flops"] else MISSING,
                f"{cost['generator_tokens']:,.0f}",
                f"{100 * np.mean([cell.exhausted.mean() for cell in option.cells]):.0f}",
            ]
        )
    columns = ("distinct answers", "coverage, %", "FLOPs charged", "verifier's, %", "tokens", "cut short, %")
    return Table(
        "What the searches found, and their cost",
        ["strategy", "budget", *columns],
        rows,
        2,
        "Means over problems and seeds. Coverage: a correct answer is among the solutions. "
        "Cut short: problems whose share of the budget ended before the strategy did.",
    )


def runs_table(evidence: Evidence) -> Table:
    """Returns the runs, one row per group, with every key of the setting in which groups differ."""
    always = ("generator.model", "generator.temperature", "verifier.model")
    told = [*always, *(key for key in apart(evidence.groups) if key not in always)]
    rows = []
    for group in evidence.groups:
        cells = [cell for option in group.options for cell in option.cells]
        budgets = sorted({option.budget for option in group.options})
        rows.append(
            [
                *(setting(group.models[key]) for key in told),
                ", ".join(sorted({option.strategy["name"] for option in group.options})),
                f"{len(group.problems):,}",
                ", ".join(map(str, sorted({cell.seed for cell in cells}))),
                f"{si(budgets[0])} – {si(budgets[-1])}" if len(budgets) > 1 else si(budgets[0]),
                f"{len(cells)}",
            ]
        )
    return Table(
        "What was run",
        [
            *map(short, told),
            *("strategies", "problems", "seeds", "FLOPs a problem", "runs"),
        ],
        rows,
        1 + len(told),
        "The tables and figures are of the first row's models unless they say otherwise.",
    )


def fits_table(evidence: Evidence) -> Table | None:
    """Returns the fitted laws of accuracy against FLOPs, one row per curve; None where no curve has one."""
    rows = []
    for curve in series(evidence.main):
        fit = curve.fit(evidence.rule)
        if fit is not None:
            plateau = [MISSING, MISSING]
            if fit.plateau is not None:
                turn = fit.plateau.log2_flops
                plateau = [f"{si(2**turn.value)} ×/÷ {2**turn.error:.2f}", _percent(fit.plateau.accuracy)]
            line = [_percent(fit.alpha), _percent(fit.beta)]
            rows.append([curve.label, *line, *plateau, f"{100 * fit.residual:.1f}"])
    if not rows:
        return None
    return Table(
        "Accuracy against FLOPs, fitted",
        ["strategy", "α", "β, points a doubling", "plateau from, FLOPs", "plateau, %", "residual, points"],
        rows,
        1,
        "acc = α + β·log₂ FLOPs up to a plateau, where one explains the points better (BIC); ± is a standard "
        "error over problems. A line through two points has no residual.",
    )


def _percent(coefficient: Coefficient) -> str:
    return f"{100 * coefficient.value:.1f} ± {100 * coefficient.error:.1f}"


def savings_table(evidence: Evidence) -> Table | None:
    """Returns the FLOPs that each curve saves against best-of-N at equal accuracy; None without a curve."""
    group, rule = evidence.main, evidence.rule
    baseline = Outcomes.of(list(group.by_n(SAMPLES).values()), rule)
    rows = []
    if evidence.fit is not None and evidence.options[0].cells[0].problems == group.problems:
        learned = evidence.fit.validated["predicted"]
        found = savings(learned.charged, learned.accuracy, baseline)
        rows.append(["compute-optimal policy, cross-validated", *map(_factor, found)])
    for curve in series(group) if baseline.labels else ():
        if curve.strategy != SAMPLES or allocation_of(curve.options[0]) != UNIFORM:
            outcomes = Outcomes.of(curve.options, rule)
            rows.append([curve.label, *map(_factor, savings(outcomes.flops, outcomes.accuracy, baseline))])
    if not rows:
        return None
    columns = [
        f"n={n}: {100 * accuracy:.1f} %, {si(flops)}"
        for n, accuracy, flops in zip(
            group.by_n(SAMPLES), baseline.accuracy.mean(axis=1), baseline.flops.mean(axis=1), strict=True
        )
    ]
    return Table(
        f"Best-of-N's FLOPs over those of each strategy at equal accuracy ({rule})",
        ["strategy", *columns],
        rows,
        1,
        "More than 1: fewer FLOPs than best-of-N. Read along each strategy's curve, interpolated in log "
        "FLOPs; in brackets 95 % of a paired bootstrap over problems, in which 0 means that the accuracy is "
        "not reached. ≥: its cheapest point is already as accurate. –: not reached. The difficulty estimate "
        "of a policy is charged.",
    )


def _factor(saving: Saving) -> str:
    if saving.flops is None:
        return MISSING
    return lower_bound(with_interval(saving.factor), saving.at_least)


def policy_table(evidence: Evidence) -> Table | None:
    """Returns the learned policy: the strategy of each bin at each budget. None where none was learned."""
    if evidence.fit is None:
        return None
    policy = evidence.fit.policy
    agreement = evidence.fit.agreement
    return Table(
        "The compute-optimal policy",
        ["FLOPs a problem", *(f"bin {b + 1}" for b in range(len(policy.thresholds) + 1))],
        [[si(row.budget), *(words(choice.strategy) for choice in row.bins)] for row in policy.rows],
        len(policy.thresholds) + 2,
        f"Bins by the verifier's mean score of {policy.samples} samples, which cost "
        f"{si(policy.estimate_flops)} FLOPs a problem; {100 * agreement.exact:.0f} % of the problems are in "
        f"their oracle bin, {100 * agreement.within_one:.0f} % at most one beside, Spearman "
        f"{agreement.spearman:.2f}. ttc fit writes it as a file that a run can use.",
    )


def in_order(group: Group) -> list[Option]:
    """Returns a group's options by strategy, best-of-N first, then by budget."""
    return sorted(group.options, key=lambda option: (_family(option), option.budget, option.label))


def _family(option: Option) -> tuple[bool, str, str]:
    return option.strategy["name"] != "best_of_n", option.strategy["name"], allocation_of(option)


def covered(option: Option) -> Estimate:
    return mean_over_problems(option.covered)


def distinct_answers(cell: Cell) -> float:
    """Returns the mean number of different answers per problem; NaN where the solutions are not stored."""
    if cell.results is None:
        return float("nan")
    found = [set(answers) - {None} for answers in read_answers(cell.results)]
    return sum(map(len, found)) / len(found)


def _range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
