"""The tables of a report: words in rows, for a page or for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.allocation.policy import SAMPLES, known_as
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Outcomes
from orchestrator.analysis.difficulty import BINS
from orchestrator.analysis.estimators import Estimate, mean_over_problems
from orchestrator.analysis.options import Option, short, shown
from orchestrator.analysis.savings import Saving, savings
from orchestrator.analysis.scaling_laws import Coefficient
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.series import series

MISSING = "–"
"""What a cell of a table says that has nothing to say."""


@dataclass(frozen=True)
class Table:
    """``columns`` and rows of as many words; the first ``names`` of them are no numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    note: str = ""


def markdown(table: Table) -> str:
    """As GitHub's Markdown, aligned to be read as it stands."""
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
    """Accuracy by strategy, budget and difficulty bin, in % with half its 95 % interval: of every group that
    has the main one's problems, told by its models where there are several."""
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
        f"{len(main.problems)} problems, {_range(seeds)} seeds. ± is half of the 95 % interval of a "
        "bootstrap over problems of their means over seeds; it is 0 where all problems agree. Budget and "
        "FLOPs are for one problem. "
        + ("Bin 1 is the easiest fifth by pass@1." if bins else "No difficulty run: no bins."),
    )


def _model_and_rule(key: str, group: Group, rule: str, usual: str) -> str:
    """A group's model, and how it decides where that is not as the others do."""
    word = _shown(group.models[key])
    return f"{word} ({rule})" if key == "verifier.model" and rule != usual else word


def search_table(evidence: Evidence) -> Table:
    """What each search found and what it was charged, a problem."""
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
    """What was run: a row for each combination of models, told by all that differs between them."""
    always = ("generator.model", "generator.temperature", "verifier.model")
    told = [*always, *(key for key in apart(evidence.groups) if key not in always)]
    rows = []
    for group in evidence.groups:
        cells = [cell for option in group.options for cell in option.cells]
        budgets = sorted({option.budget for option in group.options})
        rows.append(
            [
                *(_shown(group.models[key]) for key in told),
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
    """Accuracy against FLOPs as a line in log2 FLOPs, strategy by strategy."""
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
    """What every other curve saves against best-of-N at equal accuracy, at each of its N."""
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
        "More than 1: fewer FLOPs than best-of-N. Along each strategy's curve, interpolated in log FLOPs; in "
        "brackets 95 % of a paired bootstrap over problems, where 0 is that the accuracy was not reached. "
        "≥: its cheapest point is already as accurate. –: not reached. The difficulty estimate of a policy "
        "is charged.",
    )


def _factor(saving: Saving) -> str:
    if saving.flops is None:
        return MISSING
    factor = saving.factor
    at_least = "≥ " if saving.at_least else ""
    return f"{at_least}{factor.value:.2f} [{factor.low:.2f}, {factor.high:.2f}]"


def policy_table(evidence: Evidence) -> Table | None:
    """The learned policy: what each bin runs at each budget."""
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
    """By strategy, then by what it may spend."""
    return sorted(group.options, key=lambda option: (_family(option), option.budget, option.label))


def _family(option: Option) -> tuple[bool, str, str]:
    return option.strategy["name"] != "best_of_n", option.strategy["name"], allocation_of(option)


def name(option: Option) -> str:
    """The strategy, its parameters, and its allocation where that is not the uniform one."""
    allocation = allocation_of(option)
    return option.label if allocation == UNIFORM else f"{option.label}, {allocation}"


def budget(option: Option) -> str:
    """What was asked for, a problem."""
    generations = (option.cells[0].config.get("budget") or {}).get("generations")
    return si(option.budget) + (f" ({generations} generations)" if generations is not None else "")


def covered(option: Option) -> Estimate:
    return mean_over_problems(option.covered)


def distinct_answers(cell: Cell) -> float:
    """Different answers a problem, on average; NaN where the solutions are not stored."""
    import pyarrow.parquet as pq

    if cell.results is None:
        return float("nan")
    column = pq.ParquetFile(cell.results).read(columns=["solutions.list.element.answer"])["solutions"]
    found = [{each["answer"] for each in row or ()} - {None} for row in column.to_pylist()]
    return sum(map(len, found)) / len(found)


def words(strategy: Any) -> str:
    """A strategy and all its parameters."""
    return " ".join([str(strategy["name"]), *(f"{k}={v}" for k, v in strategy.items() if k != "name")])


def group_words(group: Group, groups: Sequence[Group], name: str = "verifier.model") -> str:
    """A group by one of its models, and by whatever else tells it from the other groups."""
    models = ("generator.model", "verifier.model")
    others = [key for key in apart(groups) if key not in models and group.models[key] is not None]
    return " ".join([model(group.models[name]), *(f"{short(k)}={shown(group.models[k])}" for k in others)])


def _shown(value: Any) -> str:
    return MISSING if value is None else shown(value)


def model(name: Any) -> str:
    """A model by what it is known as: a directory by its last part."""
    return MISSING if name is None else known_as(str(name))


def percent(estimate: Estimate) -> str:
    half = (estimate.high - estimate.low) / 2
    return f"{100 * estimate.value:.1f} ± {100 * half:.1f}"


def si(flops: float) -> str:
    """FLOPs in words: 1.2e+09 as 1.2 G."""
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= 0.9995 * size:
            return f"{flops / size:.3g} {prefix}"
    return f"{flops:.3g}"


def _range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
