"""The tables of a report, for the page and for ``ttc report --table``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Outcomes
from orchestrator.analysis.difficulty import BINS, estimate_flops, pass_at_1, tied
from orchestrator.analysis.estimators import Estimate, Floats, mean_known, mean_over_problems
from orchestrator.analysis.failures import MOST_FAILED
from orchestrator.analysis.options import Option, short
from orchestrator.analysis.savings import Saving, savings
from orchestrator.analysis.scaling_laws import Coefficient
from orchestrator.analysis.solutions import distinct_answers
from orchestrator.analysis.words import MISSING, percent
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.series import series
from orchestrator.report.text import budget, factor, name, setting, si, words


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


MOST_SAMPLES = 1_000_000
"""The most samples that are read to tell what one is worth."""
MOST_SEEDS = 5
"""The most seeds that are named."""
MOST_ROWS = 60
"""The most rows that a table has on a page."""


def thinned(table: Table) -> Table:
    """Returns a table with at most ``MOST_ROWS`` rows, evenly spaced over all of them, and says so."""
    count = len(table.rows)
    if count <= MOST_ROWS:
        return table
    kept = [table.rows[i * (count - 1) // (MOST_ROWS - 1)] for i in range(MOST_ROWS)]
    note = f"{MOST_ROWS} of {count:,} rows, evenly spaced; ttc report --table prints all. {table.note}"
    return replace(table, rows=kept, note=note)


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
    """Returns accuracy by strategy, budget and difficulty bin, in % with its 95 % interval.

    It covers every group with the main group's problems; the columns name the models where they differ. The
    first row is a single sample, where no run is one already.
    """
    main = evidence.main
    groups = [group for group in evidence.groups if group.problems == main.problems]
    told = apart(groups)
    bins = range(1, BINS + 1) if main.bins is not None else ()
    seeds = sorted({len(option.cells) for group in groups for option in group.options})
    broken = any(group.failed for group in groups)
    rows = []

    def accuracies(values: Floats, failed: int) -> list[str]:
        inside = [np.ones(len(main.problems), dtype=bool), *(main.bins == b for b in bins)]
        found = [percent(mean_over_problems(values[each])) if np.any(each) else MISSING for each in inside]
        return [*([f"{failed:,}" if failed else MISSING] if broken else []), *found]

    if (sample := one_sample(main)) is not None:
        option, right, flops = sample
        models = [setting(main.models[key]) for key in told]
        row = ["one sample (pass@1)", *models, MISSING, si(flops)]
        rows.append([*row, *accuracies(right, option.failed)])
    for group in groups:
        rule = evidence.rule_of(group)
        models = [_model_and_rule(key, group, rule, evidence.rule) for key in told]
        for option in in_order(group):
            row = [name(option), *models, budget(option), si(option.flops)]
            rows.append([*row, *accuracies(option.correct(rule), option.failed)])
    return Table(
        f"Accuracy ({evidence.rule}) by strategy, budget and difficulty, %",
        [
            "strategy",
            *map(short, told),
            *("budget", "FLOPs charged"),
            *(["failed"] if broken else []),
            "all",
            *(f"bin {b}" for b in bins),
        ],
        rows,
        2 + len(told),
        f"{len(main.problems)} problems, {_range(seeds)} seed{'s' if seeds[-1] > 1 else ''}. In "
        "brackets the 95 % interval over problems of their means over seeds. Budget "
        f"and FLOPs are for one problem. {_of_bins(evidence)}{FAILED if broken else ''}",
    )


FAILED = (
    " Failed: searches that broke, over all seeds; their problems are left out of the row, and of both sides "
    "of every comparison."
)


def one_sample(group: Group) -> tuple[Option, Floats, float] | None:
    """Returns the largest best-of-N of at most ``MOST_SAMPLES``, each problem's pass@1 by its samples, and
    the mean FLOPs of one sample without a verifier. None where best-of-1 was run or no samples are stored."""
    by_n = group.by_n(SAMPLES)
    if not by_n or 1 in by_n:
        return None
    few = [n for n in by_n if n * len(group.problems) <= MOST_SAMPLES]
    option = by_n[max(few, default=min(by_n))]
    if any(cell.results is None for cell in option.cells):
        return None
    flops = option.mean(lambda cell: estimate_flops(cell, 1, "generator_flops"))
    return option, option.mean(pass_at_1), float(mean_known(flops))


def _of_bins(evidence: Evidence) -> str:
    """Returns what the bins are."""
    if evidence.main.bins is None:
        return "No difficulty run: no bins."
    words = "Bin 1 is the easiest fifth by pass@1."
    if evidence.difficulty is not None and set(evidence.difficulty.problems) == set(evidence.main.problems):
        number = dict(zip(evidence.main.problems, evidence.main.bins, strict=True))
        bins = np.array([number[problem] for problem in evidence.difficulty.problems])
        if (count := tied(evidence.difficulty, bins)) > 0:
            words += f" {count} problems have a pass@1 that is in two bins; the verifier's score parts them."
    return words


def _model_and_rule(key: str, group: Group, rule: str, usual: str) -> str:
    """Returns a group's value of ``key``, and its selection rule beside a verifier that has another rule."""
    word = setting(group.models[key])
    return f"{word} ({rule})" if key == "verifier.model" and rule != usual else word


COUNTED: dict[str, Callable[[Option], int]] = {
    "failed": lambda option: option.failed,
    "not scored": lambda option: sum(cell.counts.get("unscored", 0) for cell in option.cells),
    "skipped": lambda option: sum(cell.counts.get("skipped", 0) for cell in option.cells),
}
"""Columns that are there where any option has them: over all seeds, searches that broke, paths that the
verifier could not score, and problems that were too long."""


def _copies(option: Option) -> str | None:
    """The share of the samples that were equal to an earlier sibling, in %; None where none were compared."""
    compared = sum(cell.counts.get("compared", 0) for cell in option.cells)
    copies = sum(cell.counts.get("copies", 0) for cell in option.cells)
    return f"{100 * copies / compared:.0f}" if compared else None


def search_table(evidence: Evidence) -> Table:
    """Returns what each option's searches found and were charged, per problem."""
    counted = {name: count for name, count in COUNTED.items() if any(count(o) for o in evidence.main.options)}
    merged = ["copies, %"] if any(_copies(option) is not None for option in evidence.main.options) else []
    rows = []
    for option in in_order(evidence.main):
        distinct = np.mean([_distinct(cell) for cell in option.cells])
        costs = ("flops", "verifier_flops", "generator_tokens")
        cost = {key: float(mean_known(option.cost(key))) for key in costs}
        rows.append(
            [
                *(name(option), budget(option)),
                MISSING if np.isnan(distinct) else f"{distinct:.1f}",
                percent(covered(option)),
                si(cost["flops"]),
                f"{100 * cost['verifier_flops'] / cost['flops']:.0f}" if cost["flops"] else MISSING,
                f"{cost['generator_tokens']:,.0f}",
                f"{100 * np.mean([cell.exhausted.mean() for cell in option.cells]):.0f}",
                *(_copies(option) or MISSING for _ in merged),
                *(f"{count(option):,}" for count in counted.values()),
            ]
        )
    columns = ("distinct answers", "coverage, %", "FLOPs charged", "verifier's, %", "tokens", "cut short, %")
    return Table(
        "What the searches found, and their cost",
        ["strategy", "budget", *columns, *merged, *counted],
        rows,
        2,
        "Means over problems and seeds. Coverage: a correct answer is among the solutions. "
        "Cut short: problems whose share of the budget ended before the strategy did."
        + (" Copies: samples that were equal to an earlier sibling." if merged else "")
        + (" Failed, not scored, skipped: counts of problems, paths and problems." if counted else ""),
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
                _listed(sorted({cell.seed for cell in cells})),
                f"{group.failed:,}",
                f"{si(budgets[0])} – {si(budgets[-1])}" if len(budgets) > 1 else si(budgets[0]),
                f"{len(cells)}",
            ]
        )
    return Table(
        "What was run",
        [
            *map(short, told),
            *("strategies", "problems", "seeds", "failed", "FLOPs a problem", "runs"),
        ],
        rows,
        1 + len(told),
        "The tables and figures are of the first row's models unless they say otherwise. Seeds: how many, "
        f"and which. Failed: searches that broke. A run of which more than {100 * MOST_FAILED:g} % broke has "
        f"failed as a whole and is left out.{_left_out(evidence)}",
    )


def _left_out(evidence: Evidence) -> str:
    """Returns how many runs the tables do not have, and why the first of them."""
    reasons = evidence.left_out
    more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f" Left out: {len(reasons)} ({reasons[0]}{more})." if reasons else ""


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
            found = savings(outcomes.flops, outcomes.accuracy, baseline)
            rows.append([curve.label, *map(_factor, found)])
    if not rows:
        return None
    columns = [
        f"{s.baseline.removeprefix(f'{SAMPLES} ')}: {100 * s.accuracy:.1f} %, {si(s.baseline_flops)}"
        for s in found
    ]
    return Table(
        f"Best-of-N's FLOPs over those of each strategy at equal accuracy ({rule})",
        ["strategy", *columns],
        rows,
        1,
        "More than 1: fewer FLOPs than best-of-N. Read along each strategy's curve, interpolated in log "
        "FLOPs; in brackets the 95 % interval over problems, in which 0 means that the accuracy is "
        "not reached. ≥: its cheapest point is already as accurate, so the factor has no upper end. –: not "
        "reached. An n at which best-of-N is no more accurate than at a smaller one is left out. The "
        "difficulty estimate of a policy is charged.",
    )


def _factor(saving: Saving) -> str:
    return MISSING if saving.flops is None else factor(saving)


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


def _distinct(cell: Cell) -> float:
    """Returns the mean number of different answers per problem; NaN where the solutions are not stored."""
    return float("nan") if cell.results is None else distinct_answers(cell.results)


def _listed(seeds: Sequence[int]) -> str:
    """Returns how many seeds there are and which: ``3 (0, 1, 2)``."""
    shown = ", ".join(map(str, seeds[:MOST_SEEDS])) + (", …" if len(seeds) > MOST_SEEDS else "")
    return f"{len(seeds)} ({shown})"


def _range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
