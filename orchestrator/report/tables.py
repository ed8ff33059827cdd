"""The tables of a report, for the page and for ``ttc report --table``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from orchestrator.allocation.policy import SAMPLES
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Outcomes
from orchestrator.analysis.difficulty import BINS, tied
from orchestrator.analysis.estimators import Estimate, mean_known, mean_over_problems
from orchestrator.analysis.failures import MOST_FAILED
from orchestrator.analysis.options import Option, short
from orchestrator.analysis.savings import Saving, savings
from orchestrator.analysis.scaling_laws import Coefficient
from orchestrator.analysis.solutions import distinct_answers
from orchestrator.analysis.words import MISSING, percent
from orchestrator.budget.units import in_flops
from orchestrator.report.baselines import GREEDY, MAJORITY, Reference, references
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.series import series
from orchestrator.report.table import Table
from orchestrator.report.text import budget, factor, model, name, setting, si, words

MOST_SEEDS = 5
"""The most seeds that are named."""


def accuracy_table(evidence: Evidence) -> Table:
    """Returns accuracy by strategy, budget and difficulty bin, in % with its 95 % interval.

    It covers every group with the main group's problems, and a row names its models where they are not the
    main ones. The first rows are what is reached without a search.
    """
    main = evidence.main
    groups = [group for group in evidence.groups if group.problems == main.problems]
    named = {tuple(repr(group.models[key]) for key in TOLD) for group in groups}
    told = [key for key in apart(groups) if key not in TOLD] if len(named) < len(groups) else []
    bins = [main.bins == b for b in range(1, BINS + 1)] if main.bins is not None else []
    seeds = sorted({len(option.cells) for group in groups for option in group.options})
    broken = any(group.failed for group in groups)
    rows: list[list[str]] = []
    keys: list[str | None] = []

    def add(called: str, whole: str, flops: float, inside: list[str], failed: int, last: list[str]) -> None:
        lost = [f"{failed:,}" if failed else MISSING] if broken else []
        rows.append([called, whole, si(flops), *inside, *lost, *last])

    for found in references(evidence):
        inside = [_known(found.accuracy(each)) if each.any() else MISSING for each in bins]
        models = (
            [setting(main.models[key]) for key in told] if found.kind != GREEDY else [MISSING] * len(told)
        )
        add(found.name, percent(found.overall), found.flops, inside, found.failed, [MISSING, *models])
        keys.append(None)
    for group in groups:
        rule = evidence.rule_of(group)
        models = [setting(group.models[key]) for key in told]
        for option in in_order(group):
            values = option.correct(rule)
            inside = [percent(mean_over_problems(values[each])) if each.any() else MISSING for each in bins]
            called = f"{name(option)}{_beside(group, main, rule, evidence.rule)}"
            last = [budget(option), *models]
            add(called, percent(mean_over_problems(values)), option.flops, inside, option.failed, last)
            keys.append(evidence.key_of(option))
    return Table(
        f"Accuracy ({evidence.rule}) by strategy, budget and difficulty, %",
        [
            *("strategy", "all", "FLOPs charged"),
            *(f"bin {b}" for b in range(1, len(bins) + 1)),
            *(["failed"] if broken else []),
            *("budget", *map(short, told)),
        ],
        rows,
        1,
        f"{len(main.problems)} problems, {_range(seeds)} seed{'s' if seeds[-1] > 1 else ''}. In "
        "brackets the 95 % interval over problems of their means over seeds. Budget "
        f"and FLOPs are for one problem. {_of_references(evidence)}{_of_bins(evidence)}"
        f"{FAILED if broken else ''}",
        keys,
    )


def _known(estimate: Estimate | None) -> str:
    return MISSING if estimate is None else percent(estimate)


TOLD = ("generator.model", "generator.temperature", "verifier.model")
"""The keys that a row's name has, where they are not the main group's."""


def _beside(group: Group, main: Group, rule: str, usual: str) -> str:
    """Returns in what a group is not the main one, in parentheses: its models, its temperature, its rule."""
    words = []
    for key in TOLD:
        value = group.models[key]
        if value != main.models[key]:
            shown = f"temperature {setting(value)}" if key == TOLD[1] else model(value)
            words.append("no verifier" if key == TOLD[2] and value is None else shown)
    words += [rule] if rule != usual else []
    return f" ({', '.join(words)})" if words else ""


def _of_references(evidence: Evidence) -> str:
    """Returns what the rows without a search were measured in."""
    return "".join(
        f"{found.name[0].upper()}{found.name[1:]}, without a search or a verifier: {found.source}. "
        for found in references(evidence)
    )


FAILED = (
    " Failed: searches that broke, over all seeds; their problems are left out of the row, and of both sides "
    "of every comparison."
)


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


def _covered_by(found: Reference) -> str:
    """The coverage of a baseline: that of one answer is its accuracy, that of several is not known."""
    return MISSING if found.kind == MAJORITY else percent(found.overall)


def search_table(evidence: Evidence) -> Table:
    """Returns what each option's searches found and were charged, per problem."""
    counted = {name: count for name, count in COUNTED.items() if any(count(o) for o in evidence.main.options)}
    merged = ["copies, %"] if any(_copies(option) is not None for option in evidence.main.options) else []
    beside = 1 + len(merged) + len(counted)
    rows = [
        [found.name, _covered_by(found), si(found.flops), "0"] + [MISSING] * (3 + beside)
        for found in references(evidence)
    ]
    keys: list[str | None] = [None] * len(rows)
    for option in in_order(evidence.main):
        keys.append(evidence.key_of(option))
        distinct = np.mean([_distinct(cell) for cell in option.cells])
        costs = ("flops", "verifier_flops", "generator_tokens")
        cost = {key: float(mean_known(option.cost(key))) for key in costs}
        rows.append(
            [
                *(name(option), percent(covered(option)), si(cost["flops"])),
                f"{100 * cost['verifier_flops'] / cost['flops']:.0f}" if cost["flops"] else MISSING,
                f"{cost['generator_tokens']:,.0f}",
                MISSING if np.isnan(distinct) else f"{distinct:.1f}",
                f"{100 * np.mean([cell.exhausted.mean() for cell in option.cells]):.0f}",
                *(_copies(option) or MISSING for _ in merged),
                *(f"{count(option):,}" for count in counted.values()),
                budget(option),
            ]
        )
    columns = ("coverage, %", "FLOPs charged", "verifier's, %", "tokens", "distinct answers", "cut short, %")
    return Table(
        "What the searches found, and their cost",
        ["strategy", *columns, *merged, *counted, "budget"],
        rows,
        1,
        "Means over problems and seeds. Coverage: a correct answer is among the solutions. "
        "Cut short: problems whose share of the budget ended before the "
        "strategy did."
        + (" Copies: samples that were equal to an earlier sibling." if merged else "")
        + (" Failed, not scored, skipped: counts of problems, paths and problems." if counted else ""),
        keys,
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
    chosen = [choice.strategy for row in policy.rows for choice in row.bins]
    by_row = [tuple(_varied(choice.strategy, chosen) for choice in row.bins) for row in policy.rows]
    rows = []
    for choices, same in groupby(zip(by_row, policy.rows, strict=True), key=lambda each: each[0]):
        budgets = [row.budget for _, row in same]
        rows.append([" to ".join(map(si, dict.fromkeys((budgets[0], budgets[-1])))), *choices])
    return Table(
        "The compute-optimal policy",
        ["FLOPs a problem", *(f"bin {b + 1}" for b in range(len(policy.thresholds) + 1))],
        rows,
        len(policy.thresholds) + 2,
        f"Bins by the verifier's mean score of {policy.samples} samples, which cost "
        f"{in_flops(policy.estimate_flops)} a problem; {100 * agreement.exact:.0f} % of the problems are in "
        f"their oracle bin, {100 * agreement.within_one:.0f} % at most one beside, Spearman "
        f"{agreement.spearman:.2f}. ttc fit writes it, with all "
        "parameters, as a file that a run can use.",
    )


def _varied(strategy: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Returns a strategy with its size, and those parameters in which others of its name differ from it."""
    alike = [other for other in others if other["name"] == strategy["name"]]
    kept = {
        key: value
        for key, value in strategy.items()
        if key in ("name", "n") or any(other.get(key) != value for other in alike)
    }
    return words(kept)


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
