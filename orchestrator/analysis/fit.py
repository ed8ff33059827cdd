"""``ttc fit``: from a sweep to a policy, with what the policy is worth on problems it was not chosen on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.policy import COMPUTE_OPTIMAL, SAMPLES, Choice, Policy, Row, known_as, same_model
from orchestrator.analysis.cells import Cell, Option, options
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
from orchestrator.analysis.estimators import Floats, Ints
from orchestrator.analysis.store import Experiment
from orchestrator.analysis.validation import (
    Comparison,
    Outcomes,
    Validated,
    budget_levels,
    choose,
    compare,
    cross_validate,
)
from orchestrator.errors import BadInput, one_of


@dataclass(frozen=True, eq=False)
class Study:
    """What a policy is learned from: options of one setting, and the run that bins their problems."""

    name: str
    rule: str
    options: Sequence[Option]
    difficulty: Cell

    @property
    def outcomes(self) -> Outcomes:
        return Outcomes.of(self.options, self.rule)

    @property
    def baseline(self) -> Outcomes:
        """Best-of-N at each of its sizes."""
        found = [option for option in self.options if option.strategy["name"] == SAMPLES]
        return Outcomes.of(found, self.rule)


def study(
    experiment: Experiment,
    rule: str = "weighted",
    generator: str | None = None,
    verifier: str | None = None,
) -> Study:
    """The cells of an experiment that a policy may choose among: of the same problems and setting (models,
    temperature, …) as the difficulty run. ``generator`` and ``verifier`` tell which one where there are
    several. Raises BadInput where something that is needed is missing."""
    runs = experiment.difficulty
    for name, asked in (("generator", generator), ("verifier", verifier)):
        runs = [cell for cell in runs if asked is None or same_model(cell.setting[f"{name}.model"], asked)]
        known = sorted({str(cell.setting[f"{name}.model"]) for cell in experiment.difficulty})
        if not runs or (asked is None and len({cell.setting[f"{name}.model"] for cell in runs}) > 1):
            why = f"the experiment has difficulty runs of {len(known)}"
            raise BadInput(f"--{name}", asked, f"{why}; {one_of(known or ['a sweep with one'])}")
    if len(runs) > 1:
        raise BadInput("experiment", experiment.name, f"it has {len(runs)} difficulty runs of these models")
    (difficulty,) = runs
    if difficulty.setting["verifier.model"] is None:
        raise BadInput("experiment", experiment.name, "its difficulty run has no verifier, so no scores")
    if len(difficulty.problems) < 2 * BINS:
        needed = f"it has {len(difficulty.problems)} problems; needed: {2 * BINS} at least, two of each bin"
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
    rules = sorted(set.intersection(*(set(cell.correct) for cell in cells)))
    if rule not in rules:
        raise BadInput("--rule", rule, one_of(rules))
    return Study(experiment.name, rule, options(cells), difficulty)


@dataclass(frozen=True, eq=False)
class Fit:
    """The policy, and by ``oracle`` and ``predicted`` bins: what was measured in cross-validation, and
    how that compares with best-of-N, the estimate's FLOPs ``charged`` or not."""

    policy: Policy
    agreement: Agreement
    validated: Mapping[str, Validated]
    charged: Mapping[str, Comparison]
    uncharged: Mapping[str, Comparison]


def fit(study: Study, *, samples: int = 4, margin: float = 1.0, seed: int = 0) -> Fit:
    """Learn the policy that bins by ``samples`` samples. ``margin``: see ``choose``; ``seed`` halves the
    problems. Oracle bins are estimated by all samples of the difficulty run, and charged for them.
    Raises BadInput where a problem has fewer samples."""
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

    half = halves(scores, seed)
    without = [predicted_bins(scores, thresholds(scores[half != side])) for side in (0, 1)]
    validated = {
        "oracle": measured(halves(oracle, seed), [oracle, oracle], cell.flops.astype(float)),
        "predicted": measured(half, without, estimate),
    }
    cuts = thresholds(scores)
    bins = predicted_bins(scores, cuts)
    everything = np.ones(len(bins), dtype=bool)
    chosen = choose(outcomes, bins, everything, levels, BINS, margin)
    rows = tuple(
        Row(float(level), tuple(_choice(study, outcomes, row[b], bins == b + 1) for b in range(BINS)))
        for level, row in zip(levels, chosen, strict=True)
    )
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
    )
    return Fit(
        policy,
        agreement(cell, samples, seed=seed),
        validated,
        {name: compare(each, study.baseline, charged=True) for name, each in validated.items()},
        {name: compare(each, study.baseline, charged=False) for name, each in validated.items()},
    )


def _choice(study: Study, outcomes: Outcomes, index: int, inside: np.ndarray) -> Choice:
    """What was chosen for the problems ``inside`` a bin, and how it did there (NaN for an empty bin)."""
    count = int(inside.sum())
    return Choice(
        study.options[index].strategy,
        float(outcomes.accuracy[index, inside].mean()) if count else float("nan"),
        float(outcomes.flops[index, inside].mean()) if count else float("nan"),
        count,
    )
