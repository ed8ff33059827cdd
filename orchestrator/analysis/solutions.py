"""Reads the solutions in a run's table of results (``results.parquet``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.estimators import Floats, Ints

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Solutions:
    """All solutions of a run, problem by problem, in the order in which the search returned them.

    Every field has one entry per solution.
    """

    problem: Ints
    """Index of the solution's problem in the run."""
    path: Sequence[str]
    """Path of the solution in the search tree, for example ``3.0.1``."""
    answer: Sequence[str | None]
    """What tells equal answers: the key, or in tables without it the answer itself; None where there is
    none."""
    correct: Bools
    score: Floats
    """The verifier's score of the solution; NaN where it was not scored."""
    tokens: Ints
    """Tokens of the solution, without the prompt."""
    step_scores: Sequence[Sequence[float]]
    """The verifier's score of each step; empty where nothing was scored."""
    confidence: Floats
    """The generator's own; NaN where it was not asked for."""

    def only(self, problems: Ints) -> Solutions:
        """Returns the solutions of these problems, ascending indices, which become 0, 1, 2, …"""
        kept = np.flatnonzero(np.isin(self.problem, problems))
        return Solutions(
            np.searchsorted(problems, self.problem[kept]),
            [self.path[i] for i in kept],
            [self.answer[i] for i in kept],
            self.correct[kept],
            self.score[kept],
            self.tokens[kept],
            [self.step_scores[i] for i in kept],
            self.confidence[kept],
        )


def read_solutions(results: Path) -> Solutions:
    """Returns the solutions of a table of results, without their texts."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    key, sure = _key(file), _has(file, "confidence")
    names = ("path", key, "correct", "score", "tokens", "step_scores", *(["confidence"] if sure else []))
    leaves = [f"solutions.list.element.{name}" for name in names]
    column = file.read(columns=leaves)["solutions"].combine_chunks()
    flat = dict(zip(names, (column.flatten().field(name) for name in names), strict=True))
    counts = column.value_lengths().fill_null(0).to_numpy()
    return Solutions(
        np.repeat(np.arange(len(counts)), counts),
        flat["path"].to_pylist(),
        flat[key].to_pylist(),
        flat["correct"].to_numpy(zero_copy_only=False).astype(bool),
        _floats(flat["score"]),
        flat["tokens"].to_numpy(),
        flat["step_scores"].to_pylist(),
        _floats(flat["confidence"]) if sure else np.full(len(flat["score"]), np.nan),
    )


def distinct_answers(results: Path) -> float:
    """Returns the mean number of different answers per problem. Reads no other column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    key = _key(file)
    column = file.read(columns=[f"solutions.list.element.{key}"])["solutions"].combine_chunks()
    counts, keys = column.value_lengths().fill_null(0).to_numpy(), column.flatten().field(key)
    pairs = pa.table({"problem": np.repeat(np.arange(len(counts)), counts), "key": keys})
    return len(pairs.filter(keys.is_valid()).group_by(["problem", "key"]).aggregate([])) / len(counts)


def read_difficulty(results: Path) -> Floats:
    """Returns the difficulty of each problem as its data set gives it; NaN where it gives none."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    if "difficulty" not in file.schema_arrow.names:
        return np.full(file.metadata.num_rows, np.nan)
    return _floats(file.read(columns=["difficulty"])["difficulty"].combine_chunks())


def _key(file: Any) -> str:
    """The column of the keys of answers, or of the answers in tables that were written before there were
    any."""
    return "key" if _has(file, "key") else "answer"


def _has(file: Any, name: str) -> bool:
    """Tells whether a table has this column of solutions: later versions have written more."""
    return f"solutions.list.element.{name}" in {column.path for column in file.schema}


def _floats(column: Any) -> Floats:
    """A column of numbers, with NaN where there is none."""
    found: Floats = column.fill_null(float("nan")).to_numpy(zero_copy_only=False).astype(float)
    return found
