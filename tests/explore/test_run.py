"""The directory of a run, read whole, cut short or damaged: the list of problems, and what is said of it."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orchestrator.durability.journal import Journal, JournalDamaged
from orchestrator.errors import BadInput
from orchestrator.explore.description import SHAPES, fields
from orchestrator.explore.page import write
from orchestrator.explore.run import log_of_replicas, read_results
from orchestrator.problems.problem import Problem
from orchestrator.runs.results_file import ResultsFile
from tests.support.explored import PROBLEMS, reader, searched


async def test_the_list_has_what_the_table_of_results_has(tmp_path: Path):
    results = await searched(tmp_path / "run", "beam_search", n=4, width=2)
    with reader(tmp_path / "run") as run:
        trees = [*run.trees()]
        explored = run.explored()
    assert [row.problem for row in explored.rows] == ["p", "q/1"]
    for row, tree, result in zip(explored.rows, trees, results, strict=True):
        assert row.flops == result.usage.flops
        assert row.agree == (len(set(result.selected.values())) == 1)
        assert row.answered == any(answer is not None for answer in result.selected.values())
        assert dict(zip(explored.rules, row.correct, strict=True)) == result.correct
        assert (row.nodes, row.endings) == (len(tree.nodes), len(result.solutions))
    assert explored.rows[0].attributes == "level 2"
    assert explored.spent == sum(cost.generator + cost.verifier for cost in explored.costs)
    (replica,) = explored.replicas
    assert (replica.name, replica.samples) == ("scripted", sum(row.nodes for row in explored.rows))
    assert explored.notes == ()


async def test_a_run_that_was_cut_short_shows_what_its_journal_has(tmp_path: Path):
    await searched(tmp_path / "run", "beam_search", n=4, width=2)
    for name in ("summary.json", "results.parquet"):
        (tmp_path / "run" / name).unlink()
    with reader(tmp_path / "run", problems=PROBLEMS) as run:
        trees = [*run.trees()]
        explored = run.explored()
    assert [tree.prompt for tree in trees] == ["1+1?", "2+2?"]
    assert {node.fate for tree in trees for node in tree.nodes} <= {"open", "copy"}
    assert not any(row.ended for row in explored.rows)
    assert all(row.flops > 0 for row in explored.rows)
    assert explored.notes == ("This run is not finished: 0 searches have ended, 2 had begun.",)


async def test_a_journal_that_is_being_written_is_read_and_left_alone(tmp_path: Path):
    await searched(tmp_path / "run", "best_of_n", n=2)
    before = (tmp_path / "run" / "journal.sqlite").read_bytes()
    journal = Journal(tmp_path / "run" / "journal.sqlite")
    try:
        with reader(tmp_path / "run") as run:
            assert [len(tree.nodes) for tree in run.trees()] == [2, 2]
    finally:
        journal.close()
    assert (tmp_path / "run" / "journal.sqlite").read_bytes() == before


async def test_a_journal_that_is_missing_or_not_what_was_written_is_refused(tmp_path: Path):
    await searched(tmp_path / "run", "best_of_n", n=2)
    path = tmp_path / "run" / "journal.sqlite"
    database = sqlite3.connect(path)
    database.execute("UPDATE commits SET operations = replace(operations, '\"end\"', '\"step\"')")
    database.commit()
    database.close()
    with (
        reader(tmp_path / "run") as run,
        pytest.raises(JournalDamaged, match="of p are not what was written"),
    ):
        next(run.trees())
    path.unlink()
    with pytest.raises(JournalDamaged, match=r"journal\.sqlite cannot be read: unable to open"):
        reader(tmp_path / "run")
    assert not path.exists()


def test_the_log_tells_of_replicas_that_were_lost(tmp_path: Path):
    log = tmp_path / "run.log"
    log.write_text(
        "2026-01-01 00:00:00,000 INFO orchestrator.runs.run: run r\n"
        "2026-01-01 00:00:01,000 WARNING actors.pool: generator-1 is lost: it has died\n"
        "Traceback (most recent call last):\n"
        "2026-01-01 00:00:02,000 WARNING orchestrator.search.performing: path 0 is not scored\n"
    )
    assert [*log_of_replicas(log)] == ["2026-01-01 00:00:01,000 generator-1 is lost: it has died"]
    assert [*log_of_replicas(tmp_path / "none")] == []


def test_the_page_is_told_the_fields_of_every_value():
    found = fields()
    assert found["Piece"] == ("text", "score", "sort")
    for shape in SHAPES:
        assert shape.__struct_config__.array_like
        (empty,) = [msgspec.json.encode(found[shape.__name__])]
        assert len(msgspec.json.decode(empty)) == len(shape.__struct_fields__)


async def test_scores_that_are_no_numbers_are_read_from_the_lines_and_from_the_table(tmp_path: Path):
    first, *others = await searched(tmp_path / "run", "beam_search", n=4, width=2)
    odd = [replace(one, score=math.nan, step_scores=(math.nan, 0.5)) for one in first.solutions]
    results = [replace(first, solutions=tuple(odd), seconds=math.nan), *others]
    (tmp_path / "run" / "results.parquet").unlink()
    file = ResultsFile(tmp_path / "run")
    for result in results:
        file.add(result)
    for _ in range(2):
        with reader(tmp_path / "run") as run:
            (explored,) = write([run], tmp_path / "page.html")
        assert explored.rows[0].seconds is None
        assert explored.rows[0].endings == len(odd)
        file.close(results)


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing"])
async def test_a_table_of_results_that_is_torn_is_said_in_a_line(tmp_path: Path, content: bytes):
    await searched(tmp_path / "run", "best_of_n", n=2)
    (tmp_path / "run" / "results.parquet").write_bytes(content)
    with pytest.raises(BadInput, match=r"^run_id: 'run' is not usable; its results\.parquet cannot be read"):
        reader(tmp_path / "run")


@pytest.mark.parametrize("content", ["[1]", "null", '{"accuracy": null', "7"])
async def test_a_summary_that_is_none_counts_as_missing(tmp_path: Path, content: str):
    await searched(tmp_path / "run", "best_of_n", n=2)
    (tmp_path / "run" / "summary.json").write_text(content)
    with reader(tmp_path / "run") as run:
        assert len([*run.trees()]) == 2
        assert "This run is not finished" in run.explored().notes[0]


async def test_a_line_of_results_that_is_no_row_costs_only_itself(tmp_path: Path):
    results = await searched(tmp_path / "run", "best_of_n", n=2)
    (tmp_path / "run" / "results.parquet").unlink()
    file = ResultsFile(tmp_path / "run")
    file.add(results[0])
    with (tmp_path / "run" / "results.jsonl").open("ab") as lines:
        lines.write(b'[1]\n{"problem": 7}\n{"problem": "p", "pr\n\xff\n')
    file.add(results[1])
    with (tmp_path / "run" / "results.jsonl").open("ab") as lines:
        lines.write(b'{"problem": "torn')
    assert [row["problem"] for row in read_results(tmp_path / "run")] == ["p", "q/1"]


async def test_a_problem_may_be_named_as_what_stands_beside_the_searches(tmp_path: Path):
    problems = [Problem("baseline/1", "1+1?", "2"), Problem("judge/😀|<script>", "2+2?", "4")]
    await searched(tmp_path / "run", "best_of_n", n=2, problems=problems)
    for name in ("summary.json", "results.parquet"):
        (tmp_path / "run" / name).unlink()
    with reader(tmp_path / "run", problems=problems) as run:
        assert [tree.problem for tree in run.trees()] == [problem.id for problem in problems]


async def test_a_summary_whose_parts_are_none_costs_only_those(tmp_path: Path):
    await searched(tmp_path / "run", "beam_search", n=4, width=2)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    wrong = {"accuracy": "x", "intervals": -1, "budget": [1], "flops": 3}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | wrong))
    with reader(tmp_path / "run") as run:
        assert len([*run.trees()]) == 2
        assert run.explored().seconds == 1.0
