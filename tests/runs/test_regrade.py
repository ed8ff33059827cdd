"""A finished run is graded again from its table: no engine, the old files kept, nothing else changed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from actors.messages import ScoreResult
from orchestrator.analysis.solutions import read_solutions
from orchestrator.commands.cli import run_command
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.config.written import to_yaml
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.results import summarise
from orchestrator.runs.results_file import write_parquet
from orchestrator.search.context import Usage
from orchestrator.tracking.tracker import Tracker, local_uri
from tests.support.public_models import save_language_model
from tests.support.scripted import flops_budget
from tests.support.stored import lab_config

TEXTS = {
    "half": (["so \\boxed{0.5}", "so \\boxed{\\frac12}", "so \\boxed{3}"], "50\\%", ()),
    "two": (["<think>\\boxed{7}</think> The answer is 2.", "cut off at \\boxed{9", "It is 9."], "1", ("2",)),
}


def solution(index: int, text: str, finish: str) -> Solution:
    return Solution(str(index), text, 3, text, False, 0.1 + 0.1 * index, (0.5,), finish)


@pytest.fixture
def run(tmp_path):
    """A run that was graded by ``exact``, so that nothing is right."""
    results = []
    for name, (texts, truth, also) in TEXTS.items():
        solutions = tuple(
            solution(i, text, "end" if "cut off" not in text else "length") for i, text in enumerate(texts)
        )
        problem = Problem(name, "?", truth, also=also)
        wrong = dict.fromkeys(("majority", "best", "weighted"), False)
        results.append(
            SearchResult(problem, solutions, dict.fromkeys(wrong, texts[0]), wrong, Usage(), seconds=1.0)
        )
    directory = tmp_path / "runs" / "r"
    directory.mkdir(parents=True)
    write_parquet(results, directory / "results.parquet")
    made = summarise(
        "r",
        results,
        Usage(generator_flops=7_500_000),
        budget=flops_budget(10**7),
        seconds=1.0,
        startup_seconds=1.0,
        utilisation={},
    )
    (directory / "summary.json").write_text(json.dumps(made.to_dict()))
    config = replace(lab_config(), runs=str(tmp_path / "runs"))
    (directory / "config.yaml").write_text(to_yaml(config))
    return directory


def regraded(run, capsys, *overrides: str) -> dict:
    assert run_command(["regrade", "r", "--runs", str(run.parent), "--json", *overrides]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_solutions_are_graded_again_and_what_depends_on_them_is_written(run, capsys):
    was = pq.read_table(run / "results.parquet").to_pylist()
    found = regraded(run, capsys, "problems.answers=math")
    assert found["before"]["accuracy"] == {"majority": 0.0, "best": 0.0, "weighted": 0.0}
    assert found["after"]["accuracy"] == {"majority": 1.0, "best": 0.0, "weighted": 0.5}
    assert found["after"]["coverage"] == 1.0
    assert json.loads((run / "summary.json").read_text()) == found["after"]
    half, two = pq.read_table(run / "results.parquet").to_pylist()
    assert [one["answer"] for one in half["solutions"]] == ["0.5", "\\frac12", "3"]
    assert [one["correct"] for one in half["solutions"]] == [True, True, False]
    assert half["selected_majority"] == "0.5"
    assert [one["answer"] for one in two["solutions"]] == ["2", None, "9"]
    assert [one["correct"] for one in two["solutions"]] == [True, False, False]
    graded = {"solutions", "covered"} | {name for name in half if name.startswith(("selected_", "correct_"))}
    for old, new in zip(was, (half, two), strict=True):
        assert {k: v for k, v in old.items() if k not in graded} == {
            k: v for k, v in new.items() if k not in graded
        }
    first, second, *_ = read_solutions(run / "results.parquet").answer
    assert first == second
    assert "answers: math" in (run / "config.yaml").read_text()


def test_the_files_as_the_run_left_them_are_kept_however_often_it_is_graded(run, capsys):
    names = ("results", "summary", "config")
    ends = ("parquet", "json", "yaml")
    before = [(run / f"{name}.{end}").read_bytes() for name, end in zip(names, ends, strict=True)]
    regraded(run, capsys, "problems.answers=math")
    again = regraded(run, capsys, "problems.answers=exact")
    kept = [(run / f"{n}.before-regrade.{e}").read_bytes() for n, e in zip(names, ends, strict=True)]
    assert kept == before
    assert again["before"]["coverage"] == 1.0
    assert again["after"]["coverage"] == 0.0


def test_without_a_change_the_grades_are_those_of_the_run(run, capsys):
    found = regraded(run, capsys)
    assert found["after"]["accuracy"] == found["before"]["accuracy"]


def test_a_checker_that_takes_no_answer_is_doubted(run, capsys):
    assert regraded(run, capsys, "problems.answers=math")["warnings"] == []
    assert run_command(["regrade", "r", "--runs", str(run.parent), "problems.answers=exact"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "warning: problems.answers=exact takes no answer of the run for right (it reads an answer of 2 of 2 "
        "problems); before, 100.0 % of the problems had a right one"
    ) in said


def test_a_table_shows_before_and_after(run, capsys):
    assert run_command(["regrade", "r", "--runs", str(run.parent), "problems.answers=math"]) == 0
    shown = capsys.readouterr()
    assert "100.0 %" in shown.out
    assert "accuracy, majority" in shown.out
    assert "before-regrade" in shown.err


def test_what_cannot_be_judged_is_counted_and_said(run, capsys, tmp_path):
    file = tmp_path / "grade.py"
    file.write_text("def grade(text, truth):\n    raise ValueError('no grade')\n")
    found = regraded(run, capsys, f"problems.answers={file}:grade")
    assert found["after"]["ungraded"] == {"failed": 5}
    log = (run / "run.log").read_text()
    assert "no grade" in log
    assert f"{file}:2 in grade" in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no"], "run_id: 'no' is not usable; allowed: a run in"),
        (
            ["r", "seed=1"],
            "seed: '1' is not usable; the solutions are what they are; allowed: problems.answers",
        ),
        (
            ["r", "problems.answers=maths"],
            "problems.answers: 'maths' is not usable; did you mean math? allowed: exact, math",
        ),
    ],
)
def test_bad_input_is_one_line(run, capsys, arguments, said):
    assert run_command(["regrade", *arguments, "--runs", str(run.parent)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_run_that_is_not_finished_is_refused(run, capsys):
    (run / "summary.json").unlink()
    assert run_command(["regrade", "r", "--runs", str(run.parent)]) == 2
    assert "needed: a finished run; it has no summary.json" in capsys.readouterr().err


def test_the_runs_numbers_in_mlflow_are_the_new_ones(run, capsys):
    tracker = Tracker(run.parent, "r", "lab", {"problems.answers": "exact"})
    end = json.loads((run / "summary.json").read_text())["flops"]["spent"] // 1_000_000
    tracker.metrics([("accuracy", 0.25, end), ("accuracy/majority", 0.0, 0), ("seconds", 1.0, 0)])
    assert tracker.close() is None
    regraded(run, capsys, "problems.answers=math")
    (found,) = MlflowClient(local_uri(run.parent)).search_runs([tracked_in(run)])
    assert found.data.metrics["accuracy"] == 0.5, "the newest point, at the end of the run's curve"
    assert found.data.metrics["accuracy/majority"] == 1.0
    assert found.data.metrics["seconds"] == 1.0
    assert found.info.status == "FINISHED"


def tracked_in(run) -> str:
    client = MlflowClient(local_uri(run.parent))
    return client.get_experiment_by_name("lab").experiment_id


@pytest.mark.parametrize(
    ("answers", "said"),
    [("choice", "a letter from A to J"), ("code", "JSON"), ("reasoning_gym", "an entry of reasoning_gym")],
)
def test_a_checker_that_cannot_judge_by_the_answers_is_refused_and_nothing_changes(
    run, capsys, answers, said
):
    was = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".parquet", ".json")}
    command = ["regrade", "r", "--runs", str(run.parent), f"problems.answers={answers}"]
    assert run_command(command) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert was == {path.name: path.read_bytes() for path in run.iterdir() if path.name in was}


@pytest.mark.parametrize("summary", ["[]", "null", "{}", "{"])
def test_a_summary_that_is_none_is_told_in_a_line(run, capsys, summary):
    (run / "summary.json").write_text(summary)
    assert run_command(["regrade", "r", "--runs", str(run.parent)]) == 2
    assert "run_id" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["problem", "difficulty", "solutions", "selected_mine", "path", ""])
def test_a_table_that_is_not_a_runs_is_told_in_a_line(run, capsys, column):
    path = run / "results.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        if column == "selected_mine":
            row[column] = "1"
        elif column == "path":
            row["solutions"] = [{k: v for k, v in one.items() if k != "path"} for one in row["solutions"]]
        elif column:
            del row[column]
    path.unlink()
    if column:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert run_command(["regrade", "r", "--runs", str(run.parent)]) == 2
    assert (column or "results.parquet") in capsys.readouterr().err


@pytest.mark.parametrize("method", ["extract", "key"])
def test_a_users_class_that_returns_no_string_is_counted_as_failed(run, capsys, tmp_path, method):
    body = {"extract": "text", "key": "answer"} | {method: "12"}
    (tmp_path / "own.py").write_text(
        "class Own:\n"
        f"    def extract(self, text): return {body['extract']}\n"
        f"    def key(self, answer): return {body['key']}\n"
        "    def accepts(self, truth, answer): return True\n"
    )
    found = regraded(run, capsys, f"problems.answers={tmp_path}/own.py:Own")
    assert found["after"]["ungraded"]["failed"] > 0


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_failed_run_that_was_graded_again_is_resumed_as_it_was_begun_and_graded_again(
    run, capsys, monkeypatch, as_json
):
    stored = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**stored, "failed": stored["problems"]}))
    regraded(run, capsys, "problems.answers=math")
    begun = []

    def resumed(prepared, as_json, errors, *, run_id, shown, page=None):
        assert not shown
        begun.append((run_id, prepared.config.problems.answers, fingerprint(prepared)))
        assert "answers: exact" in (run / "config.yaml").read_text()
        assert json.loads((run / "summary.json").read_text())["coverage"] == 0.0
        return 0

    monkeypatch.setattr("orchestrator.commands.launch.run", resumed)
    assert run_command(["resume", "r", "--runs", str(run.parent), *as_json]) == 0
    out = capsys.readouterr().out
    then = lab_config("strategy.distinct=false")  # the run's configuration does not have this parameter yet
    assert begun == [("r", "exact", fingerprint(prepare(replace(then, runs=str(run.parent)))))]
    if as_json:
        assert json.loads(out)["after"]["coverage"] == 1.0
    assert json.loads((run / "summary.json").read_text())["coverage"] == 1.0
    assert "answers: math" in (run / "config.yaml").read_text()


def test_a_judge_grades_again_and_is_asked_once(run, capsys, monkeypatch, tmp_path):
    asked = []

    @asynccontextmanager
    async def judge_alone(config, judge, observer):
        observer.starting(["judge-0"])

        async def ask(request):
            asked.append(judge.question.tokenizer.decode(request.tokens))
            return ScoreResult(request.id, (float("answer:\n3\n" in asked[-1]),), 0, "judge-0")

        yield ask

    monkeypatch.setattr("orchestrator.runs.session.judge_alone", judge_alone)
    save_language_model(tmp_path / "judge", "qwen3")
    judged = ["problems.answers=judge", f"judge.model={tmp_path}/judge", "judge.choices={N: 0, Y: 1}"]
    found = regraded(run, capsys, *judged)
    half, two = pq.read_table(run / "results.parquet").to_pylist()
    assert [one["correct"] for one in half["solutions"]] == [True, True, True]
    assert [one["correct"] for one in two["solutions"]] == [True, False, False]
    assert len(asked) == 2
    assert found["after"]["flops"]["judge"] > 0
    assert regraded(run, capsys)["after"] == found["after"]
    assert len(asked) == 2, "the verdicts are journaled"
    assert run_command(["regrade", "r", "--runs", str(run.parent)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("starting Ray and 1 replica")
    assert said[1] == "grading 2 problems; 2 verdicts of the judge known from before"
    without = regraded(run, capsys, "problems.answers=math")
    assert without["after"]["accuracy"]["majority"] == 1.0, "no judge is asked for any more"
    assert "model: null" in (run / "config.yaml").read_text().partition("judge:")[2]


def test_rules_by_confidence_are_made_again_and_the_generators_own_pick_stands(run, capsys):
    table = pq.read_table(run / "results.parquet")
    rows = table.to_pylist()
    for row in rows:
        for i, one in enumerate(row["solutions"]):
            one["confidence"] = (0.2, 0.9, 0.3)[i]
        # What was picked is the second solution of the first problem, and the third of the other.
        picked = row["solutions"][1 if row["problem"] == "half" else 2]["answer"]
        row.update(selected_confident="x", correct_confident=False)
        row.update(selected_generative=picked, correct_generative=False)
    pq.write_table(pa.Table.from_pylist(rows), run / "results.parquet")
    regraded(run, capsys, "problems.answers=math")
    half, two = pq.read_table(run / "results.parquet").to_pylist()
    assert (half["selected_confident"], two["selected_confident"]) == ("0.5", "9"), "one was cut off"
    assert (half["selected_generative"], half["correct_generative"]) == ("\\frac12", True)
    assert (two["selected_generative"], two["correct_generative"]) == ("9", False)
