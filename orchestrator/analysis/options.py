"""Cells grouped into options: one configuration over its seeds, which a policy or a table compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import known_as
from orchestrator.analysis.cells import ALLOCATION, SETTING, Cell
from orchestrator.analysis.estimators import Estimate, Floats, mean_known, mean_over_problems


@dataclass(frozen=True, eq=False)
class Option:
    """One configuration over its seeds.

    Arrays are means over the seeds in which the problem's search did not break, one entry per problem; NaN
    where it broke in all of them.
    """

    label: str
    """The strategy, and those parameters, reviser keys and allocation keys that vary in the experiment."""
    cells: tuple[Cell, ...]
    """One cell per seed, by seed."""

    @property
    def strategy(self) -> dict[str, Any]:
        return self.cells[0].strategy

    @property
    def budget(self) -> float:
        """FLOPs per problem that the runs were given."""
        return self.cells[0].budget

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(cell.seed for cell in self.cells)

    @cached_property
    def failed(self) -> int:
        """Searches that broke, over all seeds."""
        return int(sum(cell.failed.sum() for cell in self.cells))

    def mean(self, of: Callable[[Cell], npt.ArrayLike]) -> Floats:
        """Returns the mean over the seeds of a cell's array."""
        known = [np.where(cell.failed, np.nan, np.asarray(of(cell), dtype=float)) for cell in self.cells]
        return mean_known(known)

    def correct(self, rule: str) -> Floats:
        """Returns the share of the seeds in which each problem is answered correctly."""
        return self.mean(lambda cell: cell.correct[rule])

    @cached_property
    def covered(self) -> Floats:
        """The share of the seeds in which each problem has a correct solution."""
        return self.mean(lambda cell: cell.covered)

    def cost(self, name: str = "flops") -> Floats:
        """Returns what each problem was charged, in FLOPs or tokens. ``name`` is one of ``COSTS``."""
        return self.mean(lambda cell: cell.costs[name])

    @cached_property
    def flops(self) -> float:
        """FLOPs charged per problem, the mean over problems and seeds."""
        return float(mean_known(self.cost()))

    def accuracy(self, rule: str, problems: npt.ArrayLike | None = None) -> Estimate:
        """Returns the mean over problems and seeds, with an interval over problems.

        ``problems`` (``bool[n]``) selects some of them. Two seeds of one problem say nothing independent
        about another problem, so they are averaged first.
        """
        values = self.correct(rule)
        return mean_over_problems(values if problems is None else values[np.asarray(problems)])


def options(cells: Iterable[Cell]) -> list[Option]:
    """Groups cells by setting, strategy, parameters and budget, and sorts the groups by mean FLOPs per
    problem.

    Where two cells of a group have the same seed, the later one counts. Raises ValueError where the cells do
    not all have the same problems.
    """
    cells = list(cells)
    groups: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        if cell.problems != cells[0].problems:
            raise ValueError(f"run {cell.run_id} has other problems than run {cells[0].run_id}")
        key = repr((cell.setting, sorted(cell.strategy.items()), round(cell.budget)))
        groups.setdefault(key, {})[cell.seed] = cell
    by_seed = [tuple(group[seed] for seed in sorted(group)) for group in groups.values()]
    labels = _labels([group[0] for group in by_seed])
    found = [Option(label, group) for label, group in zip(labels, by_seed, strict=True)]
    return sorted(found, key=lambda option: option.flops)


def _labels(cells: Sequence[Cell]) -> list[str]:
    """Returns each cell's strategy name, ``n``, and the other keys in which cells of that strategy differ.

    The allocation's name is left out: ``report.text.name`` adds it.
    """
    configured = [
        {
            key: value
            for key, value in (*cell.strategy.items(), *cell.extras.items())
            if key != "allocation.name" and not (key in ALLOCATION and value is None)
        }
        for cell in cells
    ]
    values: dict[tuple[str, str], set[str]] = {}
    for keys in configured:
        for key, value in keys.items():
            values.setdefault((keys["name"], key), set()).add(repr(value))
    return [
        " ".join(
            [
                str(keys["name"]),
                *(
                    f"{short(key)}={shown(value)}"
                    for key, value in keys.items()
                    if key == "n" or (key != "name" and len(values[keys["name"], key]) > 1)
                ),
            ]
        )
        for keys in configured
    ]


def shown(value: Any) -> str:
    """Returns a configuration value as a table shows it: floats short, models by name, white space quoted."""
    if isinstance(value, float):
        return f"{value:g}"
    text = known_as(str(value))
    return text if text.split() == [text] else repr(text)


def short(key: str) -> str:
    """Returns the name of a key of ``SETTING`` in a table: ``verifier.model`` is ``verifier``; another key is
    its last part, or section and last part where several sections have it."""
    section, _, last = key.rpartition(".")
    if last == "model":
        return section
    alone = sum(other.endswith(f".{last}") for other in SETTING) < 2
    return last if alone else f"{section} {last}"
