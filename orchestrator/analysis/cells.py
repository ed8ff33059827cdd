"""Finished runs as columns: what every analysis starts from.

A ``Cell`` is one run (one strategy, budget and seed) with an array for each quantity, by problem. An
``Option`` is the same configuration over its seeds: what a policy chooses among.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.policy import known_as
from orchestrator.analysis.estimators import Estimate, Floats, Ints, mean_over_problems, wilson
from orchestrator.search.selection import AGGREGATIONS, Candidate, rules

Bools = npt.NDArray[np.bool_]

COSTS = ("flops", "generator_flops", "verifier_flops", "generator_tokens", "verifier_tokens")
"""What a search is charged: FLOPs, and tokens of each model."""
SETTING = (
    *("generator.model", "generator.temperature", "generator.top_p", "generator.dtype", "generator.chat"),
    *("generator.step_delimiter", "generator.end_of_thinking"),
    *("generator.max_step_tokens", "generator.max_tokens"),
    *("verifier.model", "verifier.kind", "verifier.aggregation", "verifier.dtype"),
    *("problems.template", "problems.answers"),
    *("reviser.model", "reviser.format", "reviser.dtype"),
    *("allocation.name", "allocation.confidence", "allocation.round", "allocation.parallel"),
    *("allocation.exploration", "allocation.min_gain"),
)
"""The keys of a configuration that its results depend on, but for seed, strategy and budget, and for which
problems they are, which the tables of results tell."""
ADAPTIVE = [key for key in SETTING if key.startswith("allocation.") and key != "allocation.name"]
"""Those of the adaptive allocation alone."""
OPTIONAL = ("reviser.", "allocation.")
"""How the keys of it begin that belong to an option: these are compared, as strategies are."""


@dataclass(frozen=True, eq=False)
class Solutions:
    """All solutions of a cell, problem by problem in the order in which the search returned them.

    ``problem`` is the index of a solution's problem; ``score`` NaN where nothing was scored. One entry a
    solution in each.
    """

    problem: Ints
    path: Sequence[str]
    answer: Sequence[str | None]
    correct: Bools
    score: Floats
    tokens: Ints
    step_scores: Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run. Every array has one entry a problem, in the order of ``problems`` (their ids).

    ``role``: ``cell``, or ``difficulty`` for the run whose samples serve only to bin the problems.
    ``budget``: FLOPs a problem that it was given. ``correct``: by selection rule. ``costs``: FLOPs and
    tokens charged, by the names in ``COSTS``. ``latency``: seconds from a problem's start to its answer,
    beside the others. ``results``: its table of solutions (Parquet). ``seconds``: wall time of all problems
    together. Both are NaN where they are not known.
    """

    run_id: str
    role: str
    config: Mapping[str, Any]
    budget: float
    problems: tuple[str, ...]
    correct: Mapping[str, Bools]
    covered: Bools
    exhausted: Bools
    costs: Mapping[str, Ints]
    latency: Floats
    results: Path | None = None
    seconds: float = float("nan")

    @property
    def strategy(self) -> dict[str, Any]:
        """The strategy's name and parameters."""
        return dict(self.config["strategy"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def setting(self) -> dict[str, Any]:
        """What else of its configuration a run's results depend on (``SETTING``); None for a key that an
        older run did not have, and for the adaptive allocation's own keys under another."""
        found = {name: self._configured(name) for name in SETTING}
        if found["allocation.name"] == "adaptive":
            return found
        return {name: None if name in ADAPTIVE else value for name, value in found.items()}

    @property
    def models(self) -> dict[str, Any]:
        """The part of ``setting`` that makes cells comparable: models, and how they are used."""
        return {key: value for key, value in self.setting.items() if not key.startswith(OPTIONAL)}

    @property
    def extras(self) -> dict[str, Any]:
        """The rest of it, which is compared: a reviser belongs to the strategy that uses it, and who gets
        the next FLOP is itself a choice."""
        return {key: value for key, value in self.setting.items() if key.startswith(OPTIONAL)}

    def _configured(self, key: str) -> Any:
        """The value of a dotted key; None where it is not in the configuration."""
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def flops(self) -> Ints:
        """FLOPs charged, verifier included."""
        return self.costs["flops"]

    def accuracy(self, rule: str) -> Estimate:
        """With Wilson's interval."""
        return wilson(int(self.correct[rule].sum()), len(self.problems))

    @cached_property
    def solutions(self) -> Solutions:
        """Read from the table on first use, without the solutions' texts. Raises ValueError where the
        cell has none."""
        if self.results is None:
            raise ValueError(f"run {self.run_id}: its solutions are not stored")
        return read_solutions(self.results)


def read_cell(
    run_id: str, role: str, config: Mapping[str, Any], budget: float, seconds: float, results: Path
) -> Cell:
    """A cell from its table of results. ``budget`` in FLOPs, of all problems together, as ``seconds``."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    names = [name for name in file.schema_arrow.names if name.startswith("correct_")]
    timed = [name for name in file.schema_arrow.names if name == "seconds"]  # not in the runs of before
    table = file.read(columns=["problem", "covered", "exhausted", *COSTS, *timed, *names])
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "problem"}
    return Cell(
        run_id,
        role,
        config,
        budget / len(table),
        tuple(table["problem"].to_pylist()),
        {name.removeprefix("correct_"): columns[name] for name in names},
        columns["covered"],
        columns["exhausted"],
        {name: columns[name] for name in COSTS},
        columns["seconds"] if timed else np.full(len(table), np.nan),
        results,
        seconds,
    )


def read_solutions(results: Path) -> Solutions:
    """The solutions of a table of results, all but their texts."""
    import pyarrow.parquet as pq

    names = ("path", "answer", "correct", "score", "tokens", "step_scores")
    leaves = [f"solutions.list.element.{name}" for name in names]
    column = pq.ParquetFile(results).read(columns=leaves)["solutions"].combine_chunks()
    flat = dict(zip(names, (column.flatten().field(name) for name in names), strict=True))
    counts = column.value_lengths().fill_null(0).to_numpy()
    return Solutions(
        np.repeat(np.arange(len(counts)), counts),
        flat["path"].to_pylist(),
        flat["answer"].to_pylist(),
        flat["correct"].to_numpy(zero_copy_only=False).astype(bool),
        flat["score"].fill_null(float("nan")).to_numpy(zero_copy_only=False).astype(float),
        flat["tokens"].to_numpy(),
        flat["step_scores"].to_pylist(),
    )


def correct_by_aggregation(cell: Cell) -> dict[tuple[str, str], Bools]:
    """For each (selection rule, aggregation of step scores): whether the answer is correct, by problem.

    One run gives all of them, since its table keeps every step's score. Majority uses no scores: it is
    there once, under the aggregation ``-``. Solutions without step scores do not vote in the others.
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
            candidates[problem].append(Candidate(answer, score, path.partition(".")[0]))
            right[problem][answer] = bool(correct)
        for name, rule in asked.items():
            key = (name, "-" if name == "majority" else aggregation)
            chosen[key] = np.array([r.get(rule(c), False) for c, r in zip(candidates, right, strict=True)])
    return chosen


@dataclass(frozen=True, eq=False)
class Option:
    """One configuration over its seeds; arrays are means over the seeds, one entry a problem.

    ``label`` names the strategy and what varies of its parameters, its reviser and its allocation's own
    keys in the experiment.
    """

    label: str
    cells: tuple[Cell, ...]

    @property
    def strategy(self) -> dict[str, Any]:
        return self.cells[0].strategy

    @property
    def budget(self) -> float:
        """FLOPs a problem that it was given."""
        return self.cells[0].budget

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(cell.seed for cell in self.cells)

    def correct(self, rule: str) -> Floats:
        """The share of the seeds in which each problem is answered correctly."""
        return np.mean([cell.correct[rule] for cell in self.cells], axis=0)

    @cached_property
    def covered(self) -> Floats:
        return np.mean([cell.covered for cell in self.cells], axis=0)

    def cost(self, name: str = "flops") -> Floats:
        """What each problem was charged: FLOPs or tokens, by a name in ``COSTS``."""
        return np.mean([cell.costs[name] for cell in self.cells], axis=0)

    def accuracy(self, rule: str, problems: npt.ArrayLike | None = None) -> Estimate:
        """Mean over problems (all, or those that ``problems`` selects) and seeds, with a bootstrap
        interval over problems: seeds of one problem are no independent evidence about another."""
        values = self.correct(rule)
        return mean_over_problems(values if problems is None else values[np.asarray(problems)])


def options(cells: Iterable[Cell]) -> list[Option]:
    """The cells grouped by setting, strategy, parameters and budget, each group over its seeds; by mean
    FLOPs a problem. Of two with one seed the later counts: the same run, made again. Raises ValueError
    where they do not all have the same problems."""
    cells = list(cells)
    groups: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        if cell.problems != cells[0].problems:
            raise ValueError(f"run {cell.run_id} has other problems than run {cells[0].run_id}")
        key = repr((cell.setting, sorted(cell.strategy.items()), round(cell.budget)))
        groups.setdefault(key, {})[cell.seed] = cell
    seeds = [tuple(group[seed] for seed in sorted(group)) for group in groups.values()]
    labels = _labels([group[0] for group in seeds])
    found = [Option(label, group) for label, group in zip(labels, seeds, strict=True)]
    return sorted(found, key=lambda option: float(option.cost().mean()))


def _labels(cells: Sequence[Cell]) -> list[str]:
    """A strategy's name, and of its parameters ``n`` and those in which its namesakes differ; so of its
    reviser and its allocation, whose name ``tables.name`` adds."""
    told = [
        {
            key: value
            for key, value in (*cell.strategy.items(), *cell.extras.items())
            if key != "allocation.name" and not (key in ADAPTIVE and value is None)
        }
        for cell in cells
    ]
    values: dict[tuple[str, str], set[str]] = {}
    for each in told:
        for key, value in each.items():
            values.setdefault((each["name"], key), set()).add(repr(value))
    return [
        " ".join(
            [
                str(each["name"]),
                *(
                    f"{short(key)}={shown(value)}"
                    for key, value in each.items()
                    if key == "n" or (key != "name" and len(values[each["name"], key]) > 1)
                ),
            ]
        )
        for each in told
    ]


def shown(value: Any) -> str:
    """A value in a table: a number as it is read, a model by its name, white space visibly."""
    if isinstance(value, float):
        return f"{value:g}"
    text = known_as(str(value))
    return text if text.split() == [text] else repr(text)


def short(key: str) -> str:
    """What a table calls a key of ``SETTING``: a model by whose it is, others by their last part where that
    names one key only."""
    section, _, last = key.rpartition(".")
    if last == "model":
        return section
    alone = sum(other.endswith(f".{last}") for other in SETTING) < 2
    return last if alone else f"{section} {last}"
