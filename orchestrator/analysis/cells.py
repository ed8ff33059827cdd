"""A finished run as arrays: the unit that every analysis compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.analysis.baseline import Baseline, BaselineByProblem
from orchestrator.analysis.estimators import Floats, Ints
from orchestrator.analysis.solutions import Bools, Solutions, read_solutions
from orchestrator.search.selection import AGGREGATIONS, ALL, Candidate, rules

COSTS = ("flops", "generator_flops", "verifier_flops", "generator_tokens", "verifier_tokens")
"""Names of a cell's costs: FLOPs in all, and FLOPs and tokens of each model."""
SELECTION = {
    "flops": "selection_flops",
    "generator_flops": "selection_flops",
    "generator_tokens": "selection_tokens",
}
"""What generative selection took of a cost, by its name."""
SETTING = tuple(
    f"{section}.{key}"
    for section, keys in {
        "generator": (
            "model endpoint.model revision adapter temperature top_p dtype chat step_delimiter "
            "end_of_thinking stop "
            "reply top_k min_p repetition_penalty presence_penalty frequency_penalty system "
            "examples chat_template chat_options max_step_tokens max_tokens confidence"
        ),
        "verifier": (
            "model revision format kind aggregation dtype system separator template choices token_ratio"
        ),
        "problems": "template answers",
        "judge": "model endpoint.model revision dtype system template choices flops max_tokens",
        "reviser": "model revision adapter format dtype",
        "selection": "generative share group candidates max_tokens template",
        "allocation": "name pass_on confidence round parallel exploration min_gain",
    }.items()
    for key in keys.split()
)
"""Configuration keys that results depend on, except seed, strategy, budget and the choice of problems: the
tables of results say which problems were searched."""
ALLOCATION = [key for key in SETTING if key.startswith("allocation.") and key != "allocation.name"]
"""Keys of ``SETTING`` that only one of the allocations reads: the uniform one reads ``PASS_ON``, the adaptive
one the others."""
PASS_ON = "allocation.pass_on"
OPTIONAL = ("reviser.", "allocation.", "selection.")
"""Prefixes of the keys of ``SETTING`` that are compared, as strategies are, and not held equal."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run: one strategy, budget and seed. Arrays have one entry per problem."""

    run_id: str
    role: str
    """``cell``, or ``difficulty`` for a run whose samples only sort the problems into bins."""
    config: Mapping[str, Any]
    """The resolved configuration of the run."""
    budget: float
    """FLOPs per problem that the run was given."""
    problems: tuple[str, ...]
    """Ids of the problems, in the order of the arrays."""
    correct: Mapping[str, Bools]
    """By selection rule: True where the selected answer is correct."""
    covered: Bools
    """True where at least one solution is correct."""
    exhausted: Bools
    """True where the problem's budget ended before its strategy did."""
    costs: Mapping[str, Ints]
    """FLOPs and tokens charged, by the names in ``COSTS`` and, until they are taken off, ``SELECTION``."""
    latency: Floats
    """Seconds from the start of a problem's search to its answer; NaN where unknown."""
    results: Path | None = None
    """The run's table of results (Parquet)."""
    seconds: float = float("nan")
    """Wall time of all problems together; NaN where unknown."""
    errors: Sequence[str | None] = ()
    """What broke each problem's search, or None; empty where nothing broke."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Paths that were not scored (``unscored``), problems that were not searched (``skipped``), and samples
    that were ``compared`` with their siblings, of which so many were ``copies``."""
    baseline: Baseline | None = None
    """What samples beside the search reached; None where the run sampled none."""
    baseline_by_problem: BaselineByProblem | None = None
    """The same on each problem; None of runs of earlier versions too."""
    rows: Ints | None = None
    """The rows of the table of results that are the problems; None where all of them are."""

    @property
    def strategy(self) -> dict[str, Any]:
        """The strategy's name and parameters."""
        return dict(self.config["strategy"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def setting(self) -> dict[str, Any]:
        """The values of the keys in ``SETTING``. A value is None where the run's configuration lacks the
        key, for ``ALLOCATION`` keys where the allocation is another one, and for a judge's where there is
        none."""
        found = {name: self._configured(name) for name in SETTING}
        found[PASS_ON] = bool(found[PASS_ON])  # runs of earlier versions passed nothing on
        allocation = found["allocation.name"]
        read = {"uniform": {PASS_ON}, None: {PASS_ON}, "adaptive": {*ALLOCATION} - {PASS_ON}}
        unread = [name for name in ALLOCATION if name not in read.get(allocation, ())]
        if found["judge.model"] is None:
            unread += [name for name in SETTING if name.startswith("judge.")]
        if not found["selection.generative"]:
            unread += [name for name in SETTING if name.startswith("selection.")]
        return {name: None if name in unread else value for name, value in found.items()}

    @property
    def models(self) -> dict[str, Any]:
        """The part of ``setting`` that cells must share to be compared: the models and how they are used."""
        return {key: value for key, value in self.setting.items() if not key.startswith(OPTIONAL)}

    @property
    def extras(self) -> dict[str, Any]:
        """The part of ``setting`` that is compared: reviser and allocation."""
        return {key: value for key, value in self.setting.items() if key.startswith(OPTIONAL)}

    def _configured(self, key: str) -> Any:
        """Returns the value of a dotted key; None where the configuration lacks it."""
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def flops(self) -> Ints:
        """FLOPs charged, verifier included."""
        return self.costs["flops"]

    @cached_property
    def failed(self) -> Bools:
        """True where the problem's search broke."""
        if not self.errors:
            return np.zeros(len(self.problems), dtype=bool)
        return np.array([error is not None for error in self.errors])

    def without_selection(self) -> Cell:
        """Returns the cell without the costs of generative selection, as it is where a free rule counts."""
        if not any(name in self.costs for name in SELECTION.values()):
            return self
        costs = {name: self.costs[name] - self.costs.get(SELECTION.get(name, ""), 0) for name in COSTS}
        return replace(self, costs=costs)

    def only(self, kept: Bools) -> Cell:
        """Returns the cell with these of its problems (``bool[problems]``)."""
        index = np.flatnonzero(kept)
        found = replace(
            self,
            problems=tuple(self.problems[i] for i in index),
            correct={rule: right[index] for rule, right in self.correct.items()},
            covered=self.covered[index],
            exhausted=self.exhausted[index],
            costs={name: cost[index] for name, cost in self.costs.items()},
            latency=self.latency[index],
            errors=[self.errors[i] for i in index] if self.errors else (),
            baseline_by_problem=self.baseline_by_problem and self.baseline_by_problem.only(index),
            rows=index if self.rows is None else self.rows[index],
        )
        if "solutions" in self.__dict__:  # they are read already
            found.__dict__["solutions"] = self.solutions.only(index)
        return found

    @cached_property
    def solutions(self) -> Solutions:
        """The run's solutions, without their texts, read on first use.

        Raises ValueError where the cell has no table of results.
        """
        if self.results is None:
            raise ValueError(f"run {self.run_id}: its solutions are not stored")
        found = read_solutions(self.results)
        return found if self.rows is None else found.only(self.rows)


def correct_of_first(cell: Cell, samples: int, rule: str) -> Bools:
    """Selects again among each problem's first ``samples`` solutions, by their stored scores.

    Returns True for each problem whose selected answer is correct.
    """
    solutions, problems = cell.solutions, len(cell.problems)
    candidates: list[list[Candidate]] = [[] for _ in range(problems)]
    right: list[set[str | None]] = [set() for _ in range(problems)]
    for problem, path, answer, correct, score, sure in zip(
        solutions.problem,
        solutions.path,
        solutions.answer,
        solutions.correct,
        solutions.score,
        solutions.confidence,
        strict=True,
    ):
        if len(candidates[problem]) < samples:
            known, own = (None if np.isnan(value) else float(value) for value in (score, sure))
            candidates[problem].append(
                Candidate(answer, known, path.partition(".")[0], path=path, confidence=own)
            )
            if correct:
                right[problem].add(answer)
    select = ALL[rule]
    return np.array([select(c) in r for c, r in zip(candidates, right, strict=True)])


def correct_by_aggregation(cell: Cell) -> dict[tuple[str, str], Bools]:
    """Selects again from a cell's solutions, under each selection rule and aggregation of step scores.

    Returns, by (rule, aggregation), True for each problem whose selected answer is correct. Majority uses no
    scores and appears once, under the aggregation ``-``. Solutions without step scores do not vote in the
    other rules.
    """
    solutions, problems = cell.solutions, len(cell.problems)
    asked = rules(scored=any(solutions.step_scores), chains="hierarchical" in cell.correct)
    chosen: dict[tuple[str, str], Bools] = {}
    for aggregation, aggregate in AGGREGATIONS.items():
        candidates: list[list[Candidate]] = [[] for _ in range(problems)]
        right: list[dict[str | None, bool]] = [{} for _ in range(problems)]
        for problem, path, answer, correct, steps in zip(
            solutions.problem,
            solutions.path,
            solutions.answer,
            solutions.correct,
            solutions.step_scores,
            strict=True,
        ):
            score = aggregate(steps) if steps else None
            candidates[problem].append(Candidate(answer, score, path.partition(".")[0], path=path))
            right[problem][answer] = bool(correct) or right[problem].get(answer, False)
        for name, rule in asked.items():
            key = (name, "-" if name == "majority" else aggregation)
            chosen[key] = np.array([r.get(rule(c), False) for c, r in zip(candidates, right, strict=True)])
    return chosen
