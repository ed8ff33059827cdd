"""Learns the compute-optimal policy from a sweep, and measures it on problems that it was not chosen on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.policy import COMPUTE_OPTIMAL, SAMPLES, Choice, Policy, Row, known_as, same_model
from orchestrator.analysis.cells import Cell, correct_of_first
from orchestrator.analysis.cross_validation import (
    Outcomes,
    Validated,
    budget_levels,
    choose,
    cross_validate,
)
from orchestrator.analysis.difficulty import (
    BINS,
    Agreement,
    agreement,
    estimate_flops,
    halves,
    mean_final_score,
    oracle_bins,
    predicted_bins,
    thresholds,
)
from orchestrator.analysis.estimators import Floats, Ints, mean_known
from orchestrator.analysis.options import Option, options
from orchestrator.analysis.savings import PolicyComparison, compare
from orchestrator.analysis.store import Experiment
from orchestrator.errors import BadInput, one_of
from orchestrator.search.selection import ALL

SPLITS, SPLIT_PROBLEMS = 20, 20_000
"""The most splits into halves over which a policy is cross-validated, and the most problems in all of them.
On few problems the result of one split is chance; on many it is not."""


@dataclass(frozen=True, eq=False)
class Study:
    """The runs that a policy is learned from, all of one setting."""

    name: str
    """Name of the experiment."""
    rule: str
    """Selection rule by which accuracy counts."""
    options: Sequence[Option]
    difficulty: Cell
    """The run whose samples bin the problems."""
    left_out: Sequence[str] = ()
    """Runs and problems that are not used since searches broke, each in a line."""

    @property
    def outcomes(self) -> Outcomes:
        """Outcomes of all options."""
        return Outcomes.of(self.options, self.rule)

    @property
    def baseline(self) -> Outcomes:
        """Outcomes of best-of-N at each of its sizes."""
        found = [option for option in self.options if option.strategy["name"] == SAMPLES]
        return Outcomes.of(found, self.rule)


def study(
    experiment: Experiment,
    rule: str | None = None,
    generator: str | None = None,
    verifier: str | None = None,
) -> Study:
    """Selects the cells that a policy may choose among: those with the problems and the setting (models,
    temperature, …) of the difficulty run.

    ``rule`` None is the weighted vote; ``generator`` and ``verifier`` name the difficulty run's models where
    there are several such runs. Raises BadInput where a run that is needed is missing.
    """
    runs = experiment.difficulty
    if not runs:
        named = ", ".join(sorted({str(cell.strategy["name"]) for cell in experiment.cells}))
        has = f"it has {len(experiment.cells)} run{'s' if len(experiment.cells) != 1 else ''} ({named})"
        needed = f"{has} and no difficulty run; needed: a sweep with sweep.difficulty and {SAMPLES}"
        raise BadInput("experiment", experiment.name, "; ".join([needed, *experiment.left_out[:1]]))
    for name, asked in (("generator", generator), ("verifier", verifier)):
        runs = [cell for cell in runs if asked is None or same_model(cell.setting[f"{name}.model"], asked)]
        known = sorted({str(cell.setting[f"{name}.model"]) for cell in experiment.difficulty})
        if not runs or (asked is None and len({cell.setting[f"{name}.model"] for cell in runs}) > 1):
            why = f"the experiment has difficulty runs of {len(known)}"
            raise BadInput(f"--{name}", asked, f"{why}; {one_of(known)}")
    if len(runs) > 1:
        raise BadInput("experiment", experiment.name, f"it has {len(runs)} difficulty runs of these models")
    (difficulty,) = runs
    if difficulty.setting["verifier.model"] is None:
        raise BadInput("experiment", experiment.name, "its difficulty run has no verifier, so no scores")
    broken = int(difficulty.failed.sum())
    if (count := len(difficulty.problems) - broken) < 2 * BINS:
        needed = f"it has {count} problems; needed: {2 * BINS} at least, two of each bin"
        raise BadInput("experiment", experiment.name, needed)
    cells = [
        cell
        for cell in experiment.cells
        if cell.setting == difficulty.setting
        and cell.problems == difficulty.problems
        and cell.strategy["name"] != COMPUTE_OPTIMAL
    ]
    if not any(cell.strategy["name"] == SAMPLES for cell in cells):
        needed = f"it has no {SAMPLES} of the setting and the problems of its difficulty run"
        raise BadInput("experiment", experiment.name, needed)
    # Not the generator's own choice, which cannot be made again among the samples of an estimate.
    rules = sorted(set(ALL).intersection(*(cell.correct for cell in cells)))
    rule = rule or "weighted"
    if rule not in rules:
        raise BadInput("--rule", rule, one_of(rules))
    cells = [cell.without_selection() for cell in cells]
    left_out = list(experiment.left_out)
    if broken:
        left_out.append(f"{broken} problems whose difficulty search broke")
        kept = ~difficulty.failed
        cells, difficulty = [cell.only(kept) for cell in cells], difficulty.only(kept)
    return Study(experiment.name, rule, options(cells), difficulty, left_out)


@dataclass(frozen=True, eq=False)
class Fit:
    """A policy with its measured worth. The keys of the mappings are ``oracle`` and ``predicted`` bins."""

    policy: Policy
    """Learned on all problems."""
    agreement: Agreement
    validated: Mapping[str, Validated]
    """Cross-validated accuracy and FLOPs."""
    charged: Mapping[str, PolicyComparison]
    """Comparison with best-of-N, the difficulty estimate's FLOPs charged."""
    uncharged: Mapping[str, PolicyComparison]
    """Comparison with best-of-N, the difficulty estimate's FLOPs not charged."""


def fit(study: Study, *, samples: int = 4, margin: float = 1.0, seed: int = 0) -> Fit:
    """Learns the policy that bins problems by ``samples`` samples each.

    ``margin`` is as for ``choose``; ``seed`` splits the problems into halves, up to ``SPLITS`` times. Oracle
    bins use all samples of the difficulty run and are charged for them. Raises BadInput where a problem has
    fewer samples.
    """
    cell, outcomes = study.difficulty, study.outcomes
    try:
        scores = mean_final_score(cell, samples)
    except ValueError as error:
        raise BadInput("--samples", samples, str(error)) from error
    levels = budget_levels(outcomes.budgets)
    estimate = estimate_flops(cell, samples)
    oracle = oracle_bins(cell)

    def measured(half: Ints, bins: Sequence[Ints], cost: Floats) -> Validated:
        return cross_validate(outcomes, bins, half, levels, cost, count=BINS, margin=margin)

    by_oracle, by_score = [], []
    splits = max(1, min(SPLITS, SPLIT_PROBLEMS // len(scores)))
    for split in range(seed * SPLITS, seed * SPLITS + splits):
        by_oracle.append(measured(halves(oracle, split), [oracle, oracle], cell.flops.astype(float)))
        half = halves(scores, split)
        without = [predicted_bins(scores, thresholds(scores[half != side])) for side in (0, 1)]
        by_score.append(measured(half, without, estimate))
    validated = {"oracle": Validated.mean(by_oracle), "predicted": Validated.mean(by_score)}
    cuts = thresholds(scores)
    bins = predicted_bins(scores, cuts)
    everything = np.ones(len(bins), dtype=bool)
    chosen = choose(outcomes, bins, everything, levels, BINS, margin)
    measured_apart = validated["predicted"].accuracy
    rows = tuple(
        Row(float(level), tuple(_choice(study, outcomes, row[b], apart, bins == b + 1) for b in range(BINS)))
        for level, row, apart in zip(levels, chosen, measured_apart, strict=True)
    )
    first = correct_of_first(cell, samples, study.rule)
    setting = cell.setting
    policy = Policy(
        study.name,
        study.rule,
        known_as(setting["generator.model"]),
        known_as(setting["verifier.model"]),
        setting["verifier.aggregation"],
        samples,
        cuts,
        float(estimate.mean()),
        rows,
        tuple(float(first[bins == b + 1].mean()) if (bins == b + 1).any() else 0.0 for b in range(BINS)),
    )
    return Fit(
        policy,
        agreement(cell, samples, seed=seed),
        validated,
        {bins: compare(found, study.baseline, charged=True) for bins, found in validated.items()},
        {bins: compare(found, study.baseline, charged=False) for bins, found in validated.items()},
    )


def _choice(study: Study, outcomes: Outcomes, index: int, apart: Floats, inside: np.ndarray) -> Choice:
    """Returns the choice for the problems ``inside`` a bin, with its outcome there (NaN without any).

    ``apart`` is the accuracy of what the other half of the problems chose for each one: that of the option
    itself, on the problems on which it was chosen as the best, would be too high.
    """
    return Choice(
        study.options[index].strategy,
        float(mean_known(apart[inside])),
        float(mean_known(outcomes.flops[index, inside])),
        int(inside.sum()),
    )
