"""A run in numbers: what is counted, and what is not claimed."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.analysis.estimators import pass_at_k as unbiased
from orchestrator.analysis.estimators import wilson
from orchestrator.commands.display import summary_table
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.metrics import ALONG_THE_CURVE, AnytimeCurve, last_points, metrics
from orchestrator.runs.results import groups, pass_at_k, summarise
from orchestrator.runs.results_file import ResultsFile
from orchestrator.runs.summary_text import summary_rows
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


def summary(results, usage: Usage | None = None):
    usage = usage or Usage()
    return summarise(
        "r", results, usage, budget=flops_budget(1), seconds=1.0, startup_seconds=1.0, utilisation={}
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
    assert logged["accuracy/majority_low"] == logged["accuracy_low"] == pytest.approx(expected.low, rel=1e-4)
    assert logged["pass_at/2"] == s.pass_at_k[2].value == pytest.approx(0.5)
    assert logged["pass_at/2_low"] <= logged["pass_at/2"] <= logged["pass_at/2_high"]


def test_a_summary_tells_apart_what_broke_after_an_answer_and_what_returned_nothing():
    answered, none = replace(result(solution("0", True)), selected={"majority": "a"}), result()
    found = [replace(answered, error="x"), replace(none, error="x"), replace(none, dropped=3), answered]
    summary = summarise(
        "r", found, Usage(), budget=flops_budget(1), seconds=1.0, startup_seconds=1.0, utilisation={}
    )
    assert (summary.answered, summary.failed, summary.failed_answered) == (2, 2, 1)
    assert summary.returned_nothing == 1
    assert metrics(summary)["problems/returned_nothing"] == 1.0
    shown = Console(file=io.StringIO(), width=120)
    shown.print(summary_table(summary))
    text = " ".join(shown.file.getvalue().split())
    assert "4, 2 answered, 2 failed, 1 of them after an answer" in text
    assert "of 1 problem the strategy returned none, though it had paid for finished ones (run.log)" in text


def test_a_run_without_a_right_solution_doubts_how_its_answers_are_judged():
    wrong = replace(result(solution("0", False)), selected={"majority": "b"})
    right = replace(result(solution("0", True)), selected={"majority": "a"})

    def doubted(*found: SearchResult) -> bool:
        summary = summarise(
            "r", found, Usage(), budget=flops_budget(1), seconds=1.0, startup_seconds=1.0, utilisation={}
        )
        return "warning: answers" in dict(summary_rows(summary))

    assert doubted(wrong, wrong)
    assert not doubted(wrong, right)
    assert not doubted(result()), "nothing was answered"


def test_a_summary_is_json_whose_keys_are_words():
    import json

    loaded = json.loads(json.dumps(summary([samples(True, False)]).to_dict()))
    assert loaded["pass_at_k"]["1"]["value"] == 0.5
    assert loaded["intervals"]["coverage"][1] <= 1


def test_a_run_of_which_too_many_searches_broke_has_failed_and_names_the_commonest_error():
    broken = [result(error="ValueError: no"), result(error="ValueError: no"), result(error="KeyError: 'x'")]
    few, many = summary([samples(True)] * 57 + broken), summary([samples(True)] * 56 + broken)
    assert few.broken is None, "3 of 60 are 5 %"
    assert many.broken.startswith("3 of 59 problems failed, 2 of them with ValueError: no (more than 5 %")
    assert many.errors == {"ValueError: no": 2, "KeyError: 'x'": 1}
    assert metrics(few)["problems/failed"] == 3
    shown = Console(width=120, file=io.StringIO())
    shown.print(summary_table(few))
    text = shown.file.getvalue()
    assert "3 of 60 problems failed, 2 of them with ValueError: no" in text
    assert "95.0 % [86, 98]" in text


@pytest.mark.parametrize(
    ("allocation", "shown"),
    [
        ({}, ""),
        ({"passed_on": 0}, ""),
        ({"passed_on": 12_000}, "12 kFLOPs that problems left of their shares, to those after them"),
        ({"rounds": 3, "solved": 2}, "between problems in 3 rounds, 2 needed no more"),
    ],
)
def test_what_was_moved_between_problems_is_told(allocation, shown):
    found = replace(summary([samples(True)]), allocation=allocation)
    (said,) = [value for name, value in summary_rows(found) if name.strip() == "moved"] or [""]
    assert said == shown
    logged = {key: value for key, value in metrics(found).items() if key.startswith("allocation/")}
    assert logged == {f"allocation/{key}": value for key, value in allocation.items()}


@pytest.mark.parametrize(
    ("pools", "line"),
    [(("generator", "verifier"), "  generator"), (("generator", "reviser"), "  generator, reviser")],
)
def test_what_a_reviser_has_written_stands_beside_what_the_generator_has(pools, line):
    found = replace(summary([samples(True)]), utilisation=dict.fromkeys(pools, 1.0))
    assert line in dict(summary_rows(found))


def test_a_run_without_a_verifier_has_no_line_for_one():
    without = replace(summary([samples(True)]), scores=None)
    found = replace(without, flops=replace(without.flops, verifier=7))
    assert ("  verifier" in dict(summary_rows(found)), "  verifier" in dict(summary_rows(without))) == (
        True,
        False,
    )


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


def of(
    right: bool, choices: tuple[str, ...] = (), difficulty: float | None = None, **attributes
) -> SearchResult:
    problem = Problem("p", "1?", "", difficulty, attributes=tuple(attributes.items()), choices=choices)
    return replace(samples(right), problem=problem)


LEVELS = [
    of(True, level=1, url="a"),
    of(True, level=1, url="b"),
    of(False, level=10, url="c"),
    of(True, level=2),
]


def test_accuracy_by_an_attribute_with_few_values():
    found = groups(LEVELS)
    assert list(found) == ["level"], "each url is another"
    assert [(value, group.problems) for value, group in found["level"].items()] == [
        ("1", 2),
        ("2", 1),
        ("10", 1),
    ]
    expected = wilson(2, 2)
    assert found["level"]["1"].accuracy == {"majority": expected}
    assert found["level"]["10"].coverage == wilson(0, 1)
    assert groups([of(True, number=i // 2) for i in range(26)]) == {}, "13 values are many"
    assert groups([of(True, level=1)] * 3) == {}, "one value tells nothing apart"


def test_accuracy_by_the_attribute_that_is_asked_for():
    results = [of(i % 2 == 0, difficulty=float(i // 2)) for i in range(40)]
    assert groups(results) == {}
    found = groups(results, "difficulty")["difficulty"]
    assert list(found) == [str(float(i)) for i in range(20)]
    assert {group.accuracy["majority"].value for group in found.values()} == {0.5}


def test_what_is_asked_for_is_in_the_table_and_in_mlflow_and_the_skipped_are_counted(capsys):
    s = summarise(
        "r",
        LEVELS,
        Usage(),
        budget=flops_budget(1),
        seconds=1.0,
        startup_seconds=1.0,
        utilisation={},
        skipped=12,
        by="level",
    )
    logged = metrics(s)
    assert (logged["by_level/1/majority"], logged["by_level/10/coverage"]) == (1.0, 0.0)
    assert logged["problems/skipped"] == 12
    assert json.loads(json.dumps(s.to_dict()))["groups"]["level"]["1"]["problems"] == 2
    Console(width=120).print(summary_table(s))
    table = capsys.readouterr().out
    assert "12 skipped: too long" in table
    assert "level 10" in table
    assert "2: coverage 100.0 % [34, 100], majority 100.0 % [34, 100]" in table
    plain = metrics(summary(LEVELS))
    assert not [name for name in plain if name.startswith("by_")]
    assert plain["problems/skipped"] == 0


def test_results_have_the_attributes_and_the_choices(tmp_path):
    row = of(True, choices=("x", "y"), level=3, subject="Ä")
    table = pq.read_table(ResultsFile(tmp_path).close([row, samples(True)])).to_pylist()
    assert json.loads(table[0]["attributes"]) == {"level": 3, "subject": "Ä"}
    assert table[0]["prompt"] == "1?\n\n(A) x\n(B) y"
    assert (table[1]["attributes"], table[1]["prompt"]) == ("{}", "")


def test_what_a_failed_search_has_found_counts_and_what_it_did_not_come_to_is_wrong():
    failed = replace(samples(True), error="ValueError: no")
    estimates = pass_at_k([samples(False, True, False, False), failed])
    assert {k: e.value for k, e in estimates.items()} == {
        k: (unbiased(4, 1, k) + unbiased(4, 1, k)) / 2 for k in (1, 2, 4)
    }


def test_a_path_that_is_returned_again_is_no_further_attempt():
    twice = result(*[solution("0", True)] * 3, solution("1", False))
    assert {k: e.value for k, e in pass_at_k([twice]).items()} == {1: 0.5, 2: 1.0}


def test_samples_of_which_equal_ones_became_one_are_no_independent_draws():
    compared = replace(samples(True, False), usage=Usage(compared=4, copies=2))
    assert pass_at_k([samples(True, False)]) != {}
    assert pass_at_k([compared]) == {}


def test_the_summary_says_how_many_samples_were_copies(capsys):
    usage = Usage(generator_flops=1, compared=80, copies=30)
    found = summary([samples(True, False)], usage)
    assert (found.compared, found.copies) == (80, 30)
    assert {name: metrics(found)[f"search/{name}"] for name in ("compared", "copies")} == {
        "compared": 80.0,
        "copies": 30.0,
    }
    Console(width=160).print(summary_table(found), summary_table(summary([samples(True)])))
    told = [line for line in capsys.readouterr().out.splitlines() if "copies" in line]
    assert len(told) == 1, "where samples were compared"
    assert "37.5 % of 80 samples were equal to an earlier sibling" in told[0]


def test_a_summary_is_made_fast_for_very_many_samples_or_problems():
    many = [samples(*[i == 0 for i in range(20_000)])]
    assert pass_at_k(many)[16_384].value == pytest.approx(0.8192)
    assert pass_at_k([samples(True, False)] * 20_000)[1].value == 0.5


def test_numbers_that_no_file_can_hold_do_not_keep_results_from_it(tmp_path):
    found = samples(True)
    odd = replace(found.solutions[0], score=math.nan, step_scores=(math.nan,), answer="\ud800", text="\ud800")
    usage = Usage(generator_flops=2**64, generator_tokens=7)
    row = replace(found, solutions=(odd,), usage=usage, selected={"majority": "\ud800"}, seconds=math.nan)
    file = ResultsFile(tmp_path)
    file.add(row)
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    read = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (read["flops"], read["seconds"], read["solutions"][0]["score"]) == (2**64, None, None)
    (table,) = pq.read_table(file.close([row])).to_pylist()
    assert (table["flops"], table["generator_tokens"]) == (float(2**64), 7)
    assert table["solutions"][0]["answer"] == table["selected_majority"] == r"\ud800"


def test_a_table_that_cannot_be_written_leaves_the_lines_and_no_part_of_itself(tmp_path):
    file = ResultsFile(tmp_path)
    file.add(samples(True))
    with pytest.raises(Exception, match="boolean"):
        file.close([replace(samples(True), exhausted="no")])
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_summary_is_json_whatever_its_numbers_are():
    found = summary([replace(samples(True), seconds=math.nan)])
    assert found.to_dict()["latency"] == {"p50": None, "p95": None}
    json.dumps(found.to_dict(), allow_nan=False)
    at_once = summarise(
        "r", [samples(True)], Usage(), budget=flops_budget(1), seconds=0.0, startup_seconds=0, utilisation={}
    )
    assert at_once.tokens_per_second == 0


def test_the_accuracy_is_drawn_against_flops_and_ends_where_its_curve_does():
    spent, logged = SimpleNamespace(spent=0), []
    curve = AnytimeCurve(3, spent, logged.append)
    results = [samples(True), samples(False), samples(True)]
    for found in results:
        spent.spent += 2_500_000
        curve.add(found)
    steps = [[step for name, _, step in point if name in ALONG_THE_CURVE] for point in logged]
    assert steps == [[2] * 6, [5] * 6, [7] * 6]
    ended = last_points(summary(results, Usage(generator_flops=spent.spent)))
    assert {name: step for name, _, step in ended if step} == dict.fromkeys(ALONG_THE_CURVE, 7)
    last = {name: value for name, value, _ in logged[-1]}
    assert all(value == last[name] for name, value, step in ended if step)


@pytest.mark.parametrize("problems", [1, 7, 200, 201, 100_000])
def test_a_curve_has_a_bounded_number_of_points_and_its_last_is_exact(problems):
    logged: list = []
    curve = AnytimeCurve(problems, SimpleNamespace(spent=5_000_000), logged.append)
    right, wrong = samples(True), samples(False)
    for i in range(problems):
        curve.add(right if i % 3 == 0 else wrong)
    assert len(logged) == min(problems, 200)
    last = {name: value for name, value, _ in logged[-1]}
    share = pytest.approx(len(range(0, problems, 3)) / problems, rel=1e-4)
    assert last["progress/coverage_of_all"] == last["progress/coverage_of_decided"] == share
    assert [name for name, *_ in logged[0][:2]] == ["accuracy", "accuracy_low"], "MLflow shows them first"
    assert last["accuracy"] == last["coverage"] == share
    assert last["accuracy_low"] < last["accuracy"] < last["accuracy_high"] or problems == 1
    decided = [value for point in logged for name, value, _ in point if name == "progress/problems_decided"]
    assert decided == sorted(decided)
    assert decided[-1] == problems
    first = {name: value for name, value, _ in logged[0]}
    assert first["progress/coverage_of_decided"] >= first["progress/coverage_of_all"] > 0
