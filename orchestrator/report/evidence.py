"""Gathers what a report shows: options grouped by models, difficulty bins, the learned policy.

A missing run does not stop a report: the report says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.allocation.policy import same_model
from orchestrator.analysis.cells import Cell
from orchestrator.analysis.difficulty import oracle_bins
from orchestrator.analysis.estimators import Floats, Ints
from orchestrator.analysis.options import Option, options
from orchestrator.analysis.policy_fit import Fit, Study, fit, study
from orchestrator.analysis.store import Experiment
from orchestrator.errors import BadInput, one_of
from orchestrator.search.selection import ALL

UNIFORM = "uniform"
"""Name of the allocation that gives every problem an equal share."""


@dataclass(frozen=True, eq=False)
class Group:
    """Options of the same models over the same problems."""

    models: Mapping[str, Any]
    """``Cell.models``, which all cells share."""
    options: Sequence[Option]
    """By mean FLOPs per problem."""
    bins: Ints | None = None
    """Difficulty bin of each problem, 1 the easiest; None without a difficulty run."""

    @property
    def problems(self) -> tuple[str, ...]:
        return self.options[0].cells[0].problems

    @property
    def failed(self) -> int:
        """Searches that broke."""
        return sum(option.failed for option in self.options)

    @property
    def rules(self) -> list[str]:
        """The selection rules that every option has."""
        return sorted(set.intersection(*(set(c.correct) for option in self.options for c in option.cells)))

    def named(self, name: str, *, allocation: str = UNIFORM, **parameters: Any) -> list[Option]:
        """Returns the options of a strategy with these parameters, by mean FLOPs."""
        return [
            option
            for option in self.options
            if option.strategy["name"] == name
            and allocation_of(option) == allocation
            and all(option.strategy.get(key) == value for key, value in parameters.items())
        ]

    def by_n(self, name: str, **parameters: Any) -> dict[int, Option]:
        """Returns the options of a strategy by their ``n``, ascending. Of several with one ``n`` it is the
        one of the largest budget, which cuts its searches least."""
        found: dict[int, Option] = {}
        for option in sorted(self.named(name, **parameters), key=lambda option: option.budget):
            if "n" in option.strategy:
                found[int(option.strategy["n"])] = option
        return dict(sorted(found.items()))

    @property
    def revisions(self) -> list[Option]:
        """Revision chains of the reviser and prompt format with the most options."""
        return max(self.by_reviser, key=len, default=[])

    @property
    def by_reviser(self) -> list[list[Option]]:
        """Revision chains of each reviser and prompt format."""
        found: dict[str, list[Option]] = {}
        for option in self.named("revisions"):
            found.setdefault(repr(option.cells[0].extras), []).append(option)
        return list(found.values())

    def inside(self, *numbers: int) -> Floats | None:
        """Returns 1.0 for each problem of these bins, else 0.0; None where the bins are unknown or empty."""
        if self.bins is None or not np.isin(self.bins, numbers).any():
            return None
        return np.isin(self.bins, numbers).astype(float)


def allocation_of(option: Option) -> str:
    """Returns the name of an option's allocation."""
    return str(option.cells[0].setting["allocation.name"] or UNIFORM)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a report's tables, figures and claims read."""

    name: str
    """Name of the experiment."""
    rule: str
    """Selection rule by which accuracy counts."""
    groups: Sequence[Group]
    """The report is about the first one."""
    policy: Fit | str
    """Policy learned from the first group, or the reason why there is none."""
    options: Sequence[Option] = ()
    """Options that the policy chose among."""
    difficulty: Cell | None = None
    """Difficulty run that bins the first group's problems."""
    left_out: Sequence[str] = ()
    """Runs that are not compared, each with the reason."""

    @property
    def main(self) -> Group:
        return self.groups[0]

    @cached_property
    def fit(self) -> Fit | None:
        """The learned policy; None where there is none."""
        return None if isinstance(self.policy, str) else self.policy

    @cached_property
    def _keys(self) -> dict[Option, str]:
        numbered = (
            (g, i, option) for g, group in enumerate(self.groups) for i, option in enumerate(group.options)
        )
        return {option: f"point-{g}-{i}" for g, i, option in numbered}

    def key_of(self, option: Option) -> str | None:
        """Returns the name of an option in the page's addresses; None for one that is in no group."""
        return self._keys.get(option)

    def link_of(self, option: Option) -> str | None:
        """Returns the address, in the page, of an option's runs; None for one that is in no group."""
        key = self.key_of(option)
        return None if key is None else f"#{key}"

    def rule_of(self, group: Group) -> str:
        """Returns the rule by which a group's accuracy counts: ``majority`` where it has no verifier."""
        return self.rule if self.rule in group.rules else "majority"


def gather(
    experiment: Experiment, rule: str | None = None, *, generator: str | None = None, samples: int = 4
) -> Evidence:
    """Gathers the evidence of an experiment.

    The report is about ``generator``, or about the group with the most options. ``samples`` is as for
    ``fit``; ``rule`` None is the weighted vote, and the report is of a group with scores, or the majority
    where no group has any. What generative selection took counts by its own rule alone. Raises BadInput
    where no run is left to report, or where its cells lack the rule.
    """
    left_out = list(experiment.left_out)
    found = _groups(experiment, left_out)
    if generator is not None:
        known = sorted({str(group.models["generator.model"]) for group in found})
        found.sort(key=lambda group: not same_model(group.models["generator.model"], generator))
        if not found or not same_model(found[0].models["generator.model"], generator):
            raise BadInput("--generator", generator, one_of(known))
    if not found:
        raise BadInput("experiment", experiment.name, "it has no finished run but those for difficulty")
    if rule is None:
        found.sort(key=lambda group: "weighted" not in group.rules)
        rule = "weighted" if "weighted" in found[0].rules else "majority"
    rules = found[0].rules
    if rule not in rules:
        raise BadInput("--rule", rule, one_of(rules))
    if rule in ALL:
        found = [_searched(group) for group in found]
    difficulty = _difficulty(experiment.difficulty, found[0])
    if difficulty is not None:
        if set(difficulty.problems) == set(found[0].problems):
            if broken := int(difficulty.failed.sum()):
                left_out.append(f"{broken} problems, in all runs: their search in the difficulty run broke")
                difficulty = difficulty.only(~difficulty.failed)
                found = [_only(group, set(difficulty.problems)) for group in found]
            number = dict(zip(difficulty.problems, oracle_bins(difficulty), strict=True))
            found = [_binned(group, number) for group in found]
        else:
            left_out.append(f"difficulty run {difficulty.run_id}: it has other problems than the cells")
            difficulty = None
    learned: Study | None = None
    policy: Fit | str = "there is no difficulty run, whose samples tell how hard each problem is"
    if difficulty is not None and difficulty.models != found[0].models:
        differ = [k for k, v in found[0].models.items() if difficulty.models[k] != v]
        policy = (
            f"difficulty run {difficulty.run_id} has other models than the runs that are compared (its "
            f"{', '.join(differ)}): it bins their problems, but its scores and costs are not theirs"
        )
    elif difficulty is not None:
        try:
            cells = [cell for option in found[0].options for cell in option.cells]
            learned = study(replace(experiment, cells=cells, difficulty=[difficulty]), rule)
            policy = fit(learned, samples=samples)
        except BadInput as error:
            policy = f"{error.key}: {error.allowed}"
    return Evidence(
        experiment.name, rule, found, policy, learned.options if learned else (), difficulty, left_out
    )


def apart(groups: Sequence[Group]) -> list[str]:
    """Returns the keys of ``Group.models`` in which these groups differ."""
    return [key for key in groups[0].models if len({repr(group.models[key]) for group in groups}) > 1]


def _difficulty(runs: Sequence[Cell], group: Group) -> Cell | None:
    """Returns the run that bins a group's problems: one of the group's models, or else of its generator.

    A run of the same problems goes first; a run of other problems is returned only where there is none.
    """
    runs = sorted(runs, key=lambda run: set(run.problems) != set(group.problems))  # the sort is stable
    alike = [run for run in runs if run.models == group.models]
    name = group.models["generator.model"]
    return next(iter([*alike, *(r for r in runs if same_model(r.setting["generator.model"], name))]), None)


def _searched(group: Group) -> Group:
    """Returns the group without what generative selection was charged."""
    options = [replace(o, cells=tuple(cell.without_selection() for cell in o.cells)) for o in group.options]
    return replace(group, options=sorted(options, key=lambda option: option.flops))


def _only(group: Group, problems: Set[str]) -> Group:
    """Returns the group with these problems alone, as far as it has them."""
    kept = np.array([problem in problems for problem in group.problems])
    if kept.all() or not kept.any():
        return group
    options = [replace(o, cells=tuple(cell.only(kept) for cell in o.cells)) for o in group.options]
    return replace(group, options=options)


def _binned(group: Group, number: Mapping[str, int]) -> Group:
    """Returns the group with the bin of each problem id, or unchanged where one has no bin."""
    if not all(problem in number for problem in group.problems):
        return group
    return Group(group.models, group.options, np.array([number[problem] for problem in group.problems]))


def _groups(experiment: Experiment, left_out: list[str]) -> list[Group]:
    """Groups the cells by models, the group with the most options first.

    Of a group's cells, those count that share their problems and searched the most of them, all together; of
    two runs of one configuration, the later one. The others are added to ``left_out``.
    """
    by_models: dict[str, list[Cell]] = {}
    for cell in experiment.cells:
        by_models.setdefault(repr(cell.models), []).append(cell)
    groups = []
    for cells in by_models.values():
        searched: dict[tuple[str, ...], int] = {}
        for cell in cells:
            searched[cell.problems] = searched.get(cell.problems, 0) + len(cell.problems)
        most = max(searched, key=lambda problems: searched[problems])
        once: dict[str, Cell] = {}
        for cell in cells:
            key = repr((cell.setting, sorted(cell.strategy.items()), round(cell.budget), cell.seed))
            if cell.problems != most:
                left_out.append(f"run {cell.run_id}: it has other problems than those that are compared")
            elif key in once:
                left_out.append(f"run {once[key].run_id}: run {cell.run_id} has the same configuration")
                once[key] = cell
            else:
                once[key] = cell
        groups.append(Group(cells[0].models, options(once.values())))
    return sorted(groups, key=lambda group: -len(group.options))
