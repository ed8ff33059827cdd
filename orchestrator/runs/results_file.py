"""The results of a run on disk: a table with a row for each problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.analysis.baseline import COLUMNS, BaselineByProblem
from orchestrator.durability.files import naming, replacing
from orchestrator.problems.problem import filled
from orchestrator.runs.controller import SearchResult

COUNTED = (
    *("flops", "generator_flops", "verifier_flops", "selection_flops"),
    *("generator_tokens", "verifier_tokens", "selection_tokens"),
)
"""Counters of a search that the table has."""


PROBLEMS = "problems.json"
"""The answers, problem by problem, as a table that MLflow shows and compares."""
MOST_SHOWN = 1000
"""The most problems of the table that MLflow shows."""
MOST_CHARACTERS = 2000
"""The most characters of a text in it."""


class ResultsFile:
    """The results of a run on disk: a line of JSON for each search as it ends, and one Parquet file at the
    end.

    A run that is cut short leaves the lines. One that goes on writes them again, from its journal.
    """

    def __init__(self, directory: Path) -> None:
        self._lines = directory / "results.jsonl"
        self._parquet = directory / "results.parquet"
        self._lines.unlink(missing_ok=True)

    def add(self, result: SearchResult) -> None:
        """Appends one result. Raises OSError, with the file's name, where the disk does not take it."""
        with naming(self._lines), self._lines.open("ab") as file:
            file.write(msgspec.json.encode(_row(result), enc_hook=float) + b"\n")

    def close(self, results: Sequence[SearchResult]) -> Path:
        """Writes all results to the Parquet file, in this order, in the place of the lines. Returns its
        path."""
        write_parquet(results, self._parquet)
        self._lines.unlink(missing_ok=True)
        return self._parquet


def write_parquet(results: Sequence[SearchResult], path: Path) -> None:
    """Writes one row a problem, with its solutions nested in it. A column of counters of which one has more
    than 63 bits has floating-point numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rules = list(results[0].correct)
    solution = pa.struct(
        [
            ("path", pa.string()),
            ("text", pa.string()),
            ("tokens", pa.int64()),
            ("answer", pa.string()),
            ("correct", pa.bool_()),
            ("score", pa.float64()),
            ("step_scores", pa.list_(pa.float64())),
            ("finish", pa.string()),
            ("key", pa.string()),
            ("confidence", pa.float64()),
        ]
    )
    rows = [_row(result) for result in results]
    large = {name for name in COUNTED if any(row[name] >> 63 for row in rows)}
    for row in rows:
        row.update((name, float(row[name])) for name in large)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("problem", "prompt", "answer")),
            ("also", pa.list_(pa.string())),
            ("difficulty", pa.float64()),
            ("attributes", pa.string()),
            *((f"selected_{rule}", pa.string()) for rule in rules),
            *((f"correct_{rule}", pa.bool_()) for rule in rules),
            ("covered", pa.bool_()),
            ("exhausted", pa.bool_()),
            ("error", pa.string()),
            ("strategy", pa.string()),
            *((name, pa.float64() if name in large else pa.int64()) for name in COUNTED),
            ("seconds", pa.float64()),
            ("solutions", pa.list_(solution)),
        ]
    )
    with replacing(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)


def add_baseline(path: Path, found: BaselineByProblem) -> None:
    """Adds to a run's table, whose problems are in the same order, what its baseline reaches on each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name, column in zip(COLUMNS, (found.one, found.majority), strict=True):
        table = table.append_column(name, pa.array(column))
    with replacing(path) as part:
        pq.write_table(table, part)


def write_table(results: Sequence[SearchResult], path: Path) -> None:
    """Writes the first ``MOST_SHOWN`` problems as MLflow's tables are: JSON, in the form that pandas calls
    ``split``."""
    rules = list(results[0].correct)
    columns = [
        *("problem", "prompt", "expected", "difficulty"),
        *(f"{what}, {rule}" for rule in rules for what in ("answer", "right")),
        *("any solution right", "solutions", "FLOPs", "seconds", "cut short", "error"),
    ]
    rows = [
        [
            *(r.problem.id, _start(filled("{problem}", r.problem)), _start(r.problem.answer)),
            r.problem.difficulty,
            *(x for rule in rules for x in (_start(r.selected[rule]), r.correct[rule])),
            *(r.covered, len(r.solutions), r.usage.flops, round(r.seconds, 3), r.exhausted, r.error),
        ]
        for r in results[:MOST_SHOWN]
    ]
    with replacing(path) as part:
        part.write_bytes(msgspec.json.encode({"columns": columns, "data": rows}, enc_hook=float))


def _start(text: str | None) -> str | None:
    kept = _written(text)
    return kept if kept is None or len(kept) <= MOST_CHARACTERS else f"{kept[:MOST_CHARACTERS]} …"


def _row(result: SearchResult) -> dict[str, Any]:
    return {
        "problem": result.problem.id,
        "prompt": filled("{problem}", result.problem),
        "answer": result.problem.answer,
        "also": list(result.problem.also),
        "difficulty": result.problem.difficulty,
        "attributes": json.dumps(dict(result.problem.attributes), ensure_ascii=False),
        **{f"selected_{rule}": _written(answer) for rule, answer in result.selected.items()},
        **{f"correct_{rule}": right for rule, right in result.correct.items()},
        "covered": result.covered,
        "exhausted": result.exhausted,
        "error": result.error,
        "strategy": _written(result.strategy),
        **{name: getattr(result.usage, name) for name in COUNTED},
        "seconds": result.seconds,
        "solutions": [
            {
                **asdict(s),
                "text": _written(s.text),
                "answer": _written(s.answer),
                "key": _written(s.key or s.answer),
            }
            for s in result.solutions
        ],
    }


def _written(text: str | None) -> str | None:
    """A text that a file can hold, whatever a user's own checker has made of it."""
    return None if text is None else text.encode(errors="backslashreplace").decode()
