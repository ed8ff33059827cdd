"""Searches that broke: a run with too many of them is none, and the problems of the others are left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.cross_validation import Outcomes, choose
from orchestrator.analysis.difficulty import independent_samples
from orchestrator.analysis.estimators import wilson
from orchestrator.analysis.failures import commonest, failure, told, too_many
from orchestrator.analysis.options import options
from orchestrator.analysis.policy_fit import fit, study
from orchestrator.analysis.store import Experiment, find, load, load_directory
from orchestrator.commands.cli import run_command
from orchestrator.commands.sweep import report_command
from orchestrator.errors import BadInput
from orchestrator.report.evidence import gather
from orchestrator.report.figures import pictures
from orchestrator.report.page import page
from orchestrator.report.tables import accuracy_table, runs_table, search_table
from orchestrator.tracking.tracker import local_uri
from tests.support.stored import cell, difficulty, lab_config, sampled, store

BUDGET = "budget.flops=8000"
ERROR = "RequestFailed: the score of step 1 is nan"
WHY = f"40 of 40 problems failed, all with {ERROR} (more than 5 % make it a failed run)"


def broken(found: Cell, *places: int) -> Cell:
    """The cell, in which the searches of these problems broke and found nothing."""
    lost = np.isin(np.arange(len(found.problems)), places)
    correct = {rule: right & ~lost for rule, right in found.correct.items()}
    return replace(found, correct=correct, errors=[ERROR if each else None for each in lost])


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A sound run, one of which one search in forty broke, and one of which all did."""
    runs = tmp_path_factory.mktemp("stored")
    for name, lost in (("sound", 0), ("scratched", 1), ("broken", 40)):
        config = lab_config("strategy.name=best_of_n", "strategy.n=2", BUDGET, f"seed={lost}")
        results = sampled([0.5] * 40, 2, 1)
        for i in range(lost):
            wrong = dict.fromkeys(results[i].correct, False)
            results[i] = replace(results[i], solutions=(), correct=wrong, error=ERROR)
        store(runs / "study" / name, local_uri(runs), config, results)
    return runs


def test_more_than_5_of_100_searches_are_too_many():
    assert [too_many(*each) for each in ((0, 10), (1, 10), (5, 100), (6, 100), (1, 20))] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_the_commonest_error_is_told_with_its_count():
    errors = commonest(["a", None, "b", "b", "c", "d", "d", "d"])
    assert errors == {"d": 3, "b": 2, "a": 1}
    assert told(7, 8, errors) == "7 of 8 problems failed, 3 of them with d"
    assert told(8, 8, {"x": 8}) == "8 of 8 problems failed, all with x"
    assert told(1, 8, {}) == "1 of 8 problems failed"
    assert failure(1, 20, {"x": 1}) is None
    assert (
        failure(2, 20, {"x": 2}) == "2 of 20 problems failed, all with x (more than 5 % make it a failed run)"
    )


@pytest.mark.parametrize("where", ["mlflow", "directory"])
def test_a_run_of_which_all_searches_broke_is_left_out_by_name_and_the_others_are_used(stored, where):
    found = find("lab", None, str(stored)) if where == "mlflow" else load_directory(stored / "study")
    assert sorted(each.run_id for each in found.cells) == ["scratched", "sound"]
    assert found.left_out == [f"run broken has failed: {WHY}"]
    evidence = gather(found)
    html = page(evidence, [], [])
    assert "run broken has failed: 40 of 40" in html
    assert "1 search broke" in html
    table = accuracy_table(evidence)
    (row,) = (row for row in table.rows if row[0] == "best_of_n n=2")
    assert row[list(table.columns).index("failed")] == "1"
    assert not any("0.0 ± 0.0" in word for row in table.rows for word in row)
    assert runs_table(evidence).rows[0][-3] == "1"
    found, _ = pictures(evidence, 2.0)
    assert all(
        each.drawing.caption.endswith("Searches that broke: 1; their problems are left out.")
        for each in found
    )
    _, row = search_table(evidence).rows
    assert row[list(search_table(evidence).columns).index("failed")] == "1"


def test_an_experiment_of_failed_runs_alone_is_refused_in_one_line_with_their_error(stored, tmp_path, capsys):
    shutil.copytree(stored / "study" / "broken", tmp_path / "study" / "broken")
    out = str(tmp_path / "report.html")
    assert run_command(["report", f"{tmp_path}/study", "--out", out]) == 2
    err = capsys.readouterr().err
    assert f"its only run has failed; run broken has failed: {WHY}" in err
    assert err.count("\n") == 1
    assert not Path(out).exists()


def test_what_is_left_out_is_told_with_every_table(stored, capsys):
    assert run_command(["report", f"{stored}/study", "--table", "runs"]) == 0
    printed = capsys.readouterr()
    assert f"Left out: 1 (run broken has failed: {WHY})." in printed.out
    assert printed.err == f"left out: run broken has failed: {WHY}\n"


def test_a_sweep_is_found_by_its_name_and_its_report_is_kept_in_its_experiment(stored, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(stored, runs)
    shutil.copy(runs / "study" / "sound" / "config.yaml", runs / "study" / "sweep.yaml")
    found = find("study", None, str(runs))
    assert ({cell.run_id for cell in found.cells}, found.kept_in) == ({"sound", "scratched"}, "lab")
    assert find("lab", None, str(runs)).kept_in == "lab"
    (runs / "mlflow.db").rename(runs / "away.db")
    assert find("study", None, str(runs)).kept_in is None, "no store keeps it"
    (runs / "away.db").rename(runs / "mlflow.db")
    with pytest.raises(BadInput, match=r"'studi' is not usable; did you mean study\? allowed: lab or study"):
        find("studi", None, str(runs))


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        (["runs=runs"], "ttc report lab"),
        (["runs=elsewhere"], "ttc report lab --runs elsewhere"),
        (["runs=runs", "tracking.uri=http://h:5000"], "ttc report lab --uri http://h:5000"),
        (["runs=runs", "tracking.uri=http://u:pass@h:5000"], "ttc report runs/lab/"),
        (["runs=runs", "tracking.uri=${oc.env:HOME}/m"], "ttc report runs/lab/"),
    ],
)
def test_a_sweep_names_the_command_of_its_report(overrides, command):
    assert report_command(lab_config(*overrides)) == command


def test_the_directory_of_one_run_is_reported(stored, tmp_path):
    out = tmp_path / "report.html"
    assert run_command(["report", f"{stored}/study/sound", "--out", str(out)]) == 0
    assert "best_of_n n=2" in out.read_text()


def test_a_store_that_was_moved_is_read_from_where_it_is_now(stored, tmp_path, capsys):
    here = {each.run_id for each in load("lab", local_uri(stored)).cells}
    there = tmp_path / "moved"
    shutil.copytree(stored, there)
    for path in (stored, there):
        (path / "study").rename(path / "away")  # the artifacts alone are left, and those of the old place go
    (stored / "artifacts").rename(stored / "gone")
    try:
        assert {each.run_id for each in find("lab", None, str(there)).cells} == here
        with pytest.raises(BadInput, match=r"config.yaml is not in .* nor at"):
            find("lab", None, str(stored))
        out = str(tmp_path / "report.html")
        assert run_command(["report", "lab", "--runs", str(there), "--out", out]) == 0
        assert "not kept in MLflow: the store was moved" in capsys.readouterr().err
        assert not (stored / "artifacts").exists(), "nothing is written where it was"
    finally:
        (stored / "gone").rename(stored / "artifacts")
        (stored / "away").rename(stored / "study")


def test_one_run_is_no_study_and_what_is_missing_is_said(stored, capsys):
    assert run_command(["fit", f"{stored}/study/sound"]) == 2
    err = capsys.readouterr().err
    assert "it has 1 run (best_of_n) and no difficulty run; needed: a sweep with sweep.difficulty" in err
    assert err.count("\n") == 1


def test_a_problem_whose_search_broke_counts_in_no_mean():
    sound, lost = cell([1, 1, 0, 0]), broken(cell([1, 1, 0, 0], seed=1), 0, 2)
    (option,) = options([sound, lost])
    assert option.failed == 2
    assert option.correct("weighted").tolist() == [1, 1, 0, 0], "by the seed in which it did not break"
    (alone,) = options([lost])
    assert np.isnan(alone.correct("weighted")).tolist() == [True, False, True, False]
    assert alone.accuracy("weighted") == wilson(1, 2)
    assert np.isnan(alone.cost()).tolist() == [True, False, True, False]


def test_a_choice_is_made_on_the_problems_whose_searches_did_not_break():
    good, bad = np.ones(20), np.zeros(20)
    good[:10] = np.nan
    found = Outcomes(["good", "bad"], np.ones(2), np.array([good, bad]), np.ones((2, 20)), np.zeros(2, bool))
    everything, bins = np.ones(20, dtype=bool), np.ones(20, dtype=int)
    for margin in (0.0, 1.0):
        assert choose(found, bins, everything, np.array([1.0]), 1, margin).tolist() == [[0]]
    assert choose(found, bins, np.arange(20) < 10, np.array([1.0]), 1, 0.0).tolist() == [[1]], "nothing known"


def test_problems_that_broke_in_the_difficulty_run_are_left_out_of_the_whole_study():
    p = np.linspace(0.1, 0.9, 40)
    bins = broken(difficulty(p, 8, seed=9), 3, 17)
    bins.__dict__["solutions"] = difficulty(p, 8, seed=9).solutions
    cells = [cell(np.random.default_rng(n).random(40) < p, n * 100, budget=n * 100.0) for n in (2, 8)]
    experiment = Experiment("x", cells, [bins])
    found = study(experiment)
    assert found.left_out == ["2 problems whose difficulty search broke"]
    assert {len(option.cells[0].problems) for option in found.options} == {38}
    assert "p3" not in found.difficulty.problems
    learned = fit(found, samples=4)
    assert sum(choice.problems for choice in learned.policy.rows[0].bins) == 38
    evidence = gather(experiment)
    assert len(evidence.main.problems) == 38
    assert any(line.startswith("2 problems, in all runs") for line in evidence.left_out)
    assert independent_samples([bins]) == (8, pytest.approx(independent_samples([found.difficulty])[1]))
