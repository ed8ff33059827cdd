"""A run in numbers: what is counted, and what is not claimed."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.estimators import pass_at_k as unbiased
from orchestrator.analysis.estimators import wilson
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.results import ResultsFile, pass_at_k, summarise
from orchestrator.runs.run import metrics
from orchestrator.search.context import Usage
from tests.support.scripted import flops_budget


def solution(path: str, correct: bool, answer: str | None = "a") -> Solution:
    return Solution(path, "", 3, answer, correct, 0.5, (0.5,), "end")


def result(*solutions: Solution, error: str | None = None) -> SearchResult:
    right = any(s.correct for s in solutions)
    return SearchResult(
        Problem("p", "", ""), solutions, {"majority": None}, {"majority": right}, Usage(), error=error
    )


def samples(*correct: bool) -> SearchResult:
    return result(*(solution(str(i), right) for i, right in enumerate(correct)))


def test_pass_at_k_is_the_mean_over_problems_of_the_unbiased_estimate():
    estimates = pass_at_k([samples(True, False, False, False), samples(*[False] * 4)])
    assert {k: e.value for k, e in estimates.items()} == {k: unbiased(4, 1, k) / 2 for k in (1, 2, 4)}
    assert all(e.low <= e.value <= e.high for e in estimates.values())


def test_pass_at_k_uses_as_many_attempts_of_each_problem_as_every_problem_has():
    # The search of the first went on until it was right: its third attempt is no fair draw.
    estimates = pass_at_k([samples(False, False, True), samples(False, False)])
    assert {k: e.value for k, e in estimates.items()} == {1: 0.0, 2: 0.0}


def test_of_a_chain_of_revisions_only_the_first_attempt_is_an_independent_draw():
    chain = result(
        *(solution(path, path != "0" and path != "1") for path in ("0", "0.0", "0.0.0", "1", "1.0", "1.0.0"))
    )
    assert {k: e.value for k, e in pass_at_k([chain]).items()} == {1: 0.0, 2: 0.0}


def test_what_a_search_over_partial_paths_returns_has_no_pass_at_k():
    assert pass_at_k([samples(True, False), result(solution("0", True), solution("1.2", True))]) == {}


def test_a_failed_search_is_wrong_and_one_that_bought_nothing_leaves_pass_at_k_unmeasured():
    failed = result(error="ValueError: no")
    assert pass_at_k([samples(True, True), failed])[2].value == 0.5
    assert pass_at_k([samples(True, True), result()]) == {}


def summary(results):
    return summarise(
        "r", results, Usage(), budget=flops_budget(1), seconds=1.0, startup_seconds=1.0, utilisation={}
    )


def test_a_summary_counts_distinct_answers_and_says_how_sure_it_is():
    answers = [
        result(solution("0", True, "a"), solution("1", True, "a"), solution("2", False, None)),
        result(solution("0", False, "b"), solution("1", False, "c"), solution("2", False, "d")),
    ]
    s = summary(answers)
    assert s.distinct_answers == 2.0
    expected = wilson(1, 2)
    assert s.intervals == dict.fromkeys(("majority", "coverage"), (expected.low, expected.high))
    logged = metrics(s)
    assert logged["interval/majority_low"] == expected.low
    assert logged["pass_at/2"] == s.pass_at_k[2].value == pytest.approx(0.5)
    assert logged["pass_at/2_low"] <= logged["pass_at/2"] <= logged["pass_at/2_high"]


def test_a_summary_is_json_whose_keys_are_words():
    import json

    loaded = json.loads(json.dumps(summary([samples(True, False)]).to_dict()))
    assert loaded["pass_at_k"]["1"]["value"] == 0.5
    assert loaded["intervals"]["coverage"][1] <= 1


def test_a_result_is_on_disk_as_soon_as_its_search_has_ended(tmp_path):
    first, second = samples(True, False), result(error="ValueError: no")
    (tmp_path / "results.jsonl").write_text("of the part before it was killed")
    file = ResultsFile(tmp_path)
    file.add(second)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["error"] for line in lines] == ["ValueError: no"]
    file.add(first)
    rows = pq.read_table(file.close([first, second])).to_pylist()
    assert [row["covered"] for row in rows] == [True, False]
    assert len(rows[0]["solutions"]) == 2
    assert not (tmp_path / "results.jsonl").exists()
