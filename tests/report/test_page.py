"""ttc report on a stored sweep: the table, the page, and what it says where something is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.options import Option
from orchestrator.analysis.store import Experiment, load_directory
from orchestrator.analysis.words import MISSING
from orchestrator.commands.cli import run_command
from orchestrator.report.choice import recommended
from orchestrator.report.claims import findings
from orchestrator.report.evidence import gather
from orchestrator.report.headline import headline
from orchestrator.report.larger_model import against_larger, matched_table
from orchestrator.report.page import draw, page
from orchestrator.report.series import MOST_CURVES, series, shown_in_figure
from orchestrator.report.table import MOST_ROWS, Table, markdown, thinned
from orchestrator.report.tables import _copies, accuracy_table, savings_table, search_table
from orchestrator.report.text import name as option_name
from orchestrator.report.text import si
from orchestrator.tracking.tracker import local_uri
from tests.report.conftest import PROBLEMS
from tests.support.stored import cell as plain_cell
from tests.support.stored import lab_config, store
from tests.support.swept import search, sweep

OWN_SCRIPTS = 1
"""Scripts of the page's own; whatever its texts say, there is no other."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Two runs of one configuration and one of other problems, in a directory and in MLflow."""
    directory = tmp_path_factory.mktemp("stored")
    for name, count in (("a", 6), ("b", 6), ("c", 5)):
        sizes = ("strategy.n=4", f"budget.flops={count}e6")
        config = lab_config("strategy.name=best_of_n", *sizes, "cluster.price=3.5")
        store(directory / "study" / name, local_uri(directory), config, search([0.5] * count, 4, 0))
    return directory


def test_the_table_has_every_option_of_all_models_and_every_bin(evidence):
    table = accuracy_table(evidence)
    assert len(table.rows) == len(table.keys) == 1 + sum(len(group.options) for group in evidence.groups)
    assert list(table.columns[:3]) == ["strategy", "all", "FLOPs charged"]
    assert list(table.columns[3:8]) == [f"bin {b}" for b in range(1, 6)]
    assert list(table.columns[8:]) == ["budget"], "the names tell the models apart"
    assert all(len(row) == len(table.columns) for row in table.rows)
    names = [row[0] for row in table.rows]
    assert len(set(names)) == len(names)
    assert "best_of_n n=16 (prm-weak)" in names
    assert names[-1] == "best_of_n n=1 (generator-m, temperature 0)"
    option = evidence.main.by_n("best_of_n")[16]
    expected = option.accuracy("weighted")
    (row,) = [row for row in table.rows if row[0] == "best_of_n n=16"]
    assert row[1] == f"{100 * expected.value:.1f} [{100 * expected.low:.0f}, {100 * expected.high:.0f}]"
    bins = [float(word.split()[0]) for word in row[3:8]]
    assert sum(bins) / 5 == pytest.approx(100 * expected.value, abs=0.06), "bins of equal size"


def test_savings_are_of_every_curve_but_best_of_n_at_each_of_its_sizes(evidence):
    table = savings_table(evidence)
    sizes = evidence.main.by_n("best_of_n")
    assert [column.partition(":")[0] for column in table.columns] == ["strategy", *(f"n={n}" for n in sizes)]
    names = [row[0] for row in table.rows]
    assert names[0].startswith("compute-optimal policy")
    assert "best of n" not in names
    assert len(names) == len(set(names)) == len({c.label for c in series(evidence.main)} - {"best of n"}) + 1
    found = evidence.fit.charged["predicted"].savings
    for word, saving in zip(table.rows[0][1:], found, strict=True):
        expected = MISSING if saving.flops is None else f"{saving.factor.value:.2f} ["
        assert word.removeprefix("≥ ").startswith(expected)
    assert {saving.flops is None for saving in found} == {True, False}, "both are shown"


def test_the_matched_table_says_what_the_bars_show(evidence):
    (one,) = against_larger(evidence)
    table = matched_table(evidence)
    assert list(table.columns) == [
        "larger model",
        "R",
        "verifier's FLOPs",
        "all",
        *(f"bin {b}" for b in range(1, 6)),
    ]
    assert len(table.rows) == 6
    for row in table.rows:
        matches = one.matches if row[2] == "counted" else one.free
        for number, word in enumerate(row[3:]):
            (match,) = (m for m in matches if m.bin == number and f"{m.ratio:g}" == row[1])
            assert word.startswith(f"{100 * match.difference.value:.0f} [")
            assert word.endswith("]") == (match.reach == "measured")


@pytest.mark.parametrize(
    ("table", "words"), [("bars", "allowed: accuracy, runs,"), ("matched", "has no data for it")]
)
def test_a_table_that_is_not_there_is_one_line(stored, capsys, monkeypatch, table, words):
    monkeypatch.chdir(stored)
    assert run_command(["report", "./study", "--table", table]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("problems", [1, 3, 8])
def test_few_problems_are_reported_without_what_they_cannot_tell(tmp_path, problems):
    found = sweep(tmp_path / "few", problems=problems, seeds=1, sizes=(4,))
    few = gather(found)
    assert few.fit is None
    assert "problems; needed: 10 at least" in few.policy
    assert any(MISSING in row[3:8] for row in accuracy_table(few).rows) == (problems < 5)
    assert not any(
        "[0, 0]" in word or "[100, 100]" in word for row in accuracy_table(few).rows for word in row
    )
    assert "needed: 10 at least" in page(few, [], [])


def test_the_difficulty_run_of_the_reported_problems_is_taken_whichever_came_first(small, swept):
    found, other = small, swept.difficulty
    assert gather(replace(found, difficulty=[*other, *found.difficulty])).main.bins is not None
    alone = gather(replace(found, difficulty=other))
    assert alone.main.bins is None
    assert any("other problems than the cells" in line for line in alone.left_out)
    assert page(alone, *draw(alone, 2.0))


def test_a_verifier_that_was_only_run_under_another_allocation_breaks_no_claim(small):
    found = small
    cell = next(c for c in found.cells if c.strategy["name"] == "best_of_n")
    config = {**cell.config, "verifier": {"model": "another"}, "allocation": {"name": "adaptive"}}
    assert page(gather(replace(found, cells=[*found.cells, replace(cell, config=config)])), [], [])


def test_groups_are_of_the_same_models(evidence):
    weak, larger = evidence.groups[1:]
    assert weak.models["verifier.model"].endswith("prm-weak")
    assert larger.models["generator.model"].endswith("generator-m")
    assert evidence.main.bins is not None
    assert weak.bins.tolist() == evidence.main.bins.tolist(), "the same problems are as hard"


def test_distinct_answers_are_those_of_the_solutions(evidence):
    cell = evidence.main.by_n("best_of_n")[4].cells[0]
    table = search_table(evidence)
    assert all(len(row) == len(table.columns) for row in table.rows)
    distinct = list(table.columns).index("distinct answers")
    rows = {row[0]: row for row in table.rows}
    answers = cell.solutions.answer
    by_problem = [len(set(answers[4 * i : 4 * i + 4])) for i in range(PROBLEMS)]
    other = evidence.main.by_n("best_of_n")[4].cells[1].solutions.answer
    by_problem += [len(set(other[4 * i : 4 * i + 4])) for i in range(PROBLEMS)]
    row = rows["best_of_n n=4"]
    assert row[distinct] == f"{sum(by_problem) / (2 * PROBLEMS):.1f}"


def test_the_page_needs_no_other_file_and_no_network(evidence, rendered):
    html = page(evidence, rendered, [])
    assert html.count("<script") == OWN_SCRIPTS
    assert "http:" not in html.replace("http://www.w3.org", "")
    assert "https:" not in html
    assert all(uri.startswith(("data:", "#")) for uri in re.findall(r'(?:src|href)="([^"]*)"', html))
    targets = set(re.findall(r'(?<!xlink:)href="#([^"]*)"', html))
    assert {"searches", "claims", "accuracy", "table-accuracy"} <= targets
    assert all(f'id="{target}"' in html for target in targets)


def test_what_was_written_by_others_is_escaped(stored):
    found = load_directory(stored / "study")
    for cell in found.cells:
        cell.config["generator"]["model"] = "<script>alert(1)</script>"
    html = page(gather(found), [], [])
    assert html.count("<script") == OWN_SCRIPTS
    assert "script&gt;" in html


def measured(right: np.ndarray, flops: float, name: str, n: int = 16) -> Cell:
    found = plain_cell(right, flops, strategy={"name": name, "n": n}, budget=2 * flops)
    return replace(found, correct={"weighted": right, "majority": right})


def test_a_long_table_is_thinned_on_the_page_and_says_so():
    table = Table("t", ["a"], [[f"{i}"] for i in range(500)], 1, "Note.")
    found = thinned(table)
    assert len(found.rows) == MOST_ROWS
    assert (found.rows[0], found.rows[-1]) == (["0"], ["499"])
    gaps = np.diff([int(row[0]) for row in found.rows])
    assert set(gaps) <= {8, 9}
    assert found.note == "60 of 500 rows, evenly spaced; ttc report --table prints all. Note."
    assert thinned(found) is found


def test_of_many_cells_the_page_has_a_bounded_size_and_names_how_many_it_leaves_out():
    rng = np.random.default_rng(0)
    cells = [
        measured(rng.random(10) < 0.5, 100.0 * n, name, n)
        for name in ["best_of_n", *(f"own{i}" for i in range(34))]
        for n in (1, 2)
    ]
    others = [f"run {i}: it has other problems than those that are compared" for i in range(500)]
    evidence = replace(gather(Experiment("many", cells, [])), left_out=others)
    curves, words = shown_in_figure(evidence.main, "weighted")
    assert len(curves) == MOST_CURVES
    assert curves[0].strategy == "best_of_n"
    assert words == " 23 curves that reach a lower accuracy are left out."
    html = page(evidence, [], [])
    assert html.count("<tr>") < 200
    assert "480 more runs" in html
    assert "run 19:" in html
    assert "run 20:" not in html


def test_the_first_lines_say_what_to_use_and_what_it_buys(evidence):
    said = headline(evidence)
    use = recommended(evidence)
    assert said.use.startswith(f"Use {option_name(use)}: {100 * use.accuracy('weighted').value:.1f} % [")
    assert said.reasons[0].startswith("Over one sample (")
    html = page(evidence, [], [])
    assert f'<div class="headline"><p>{said.use}</p>' in html
    assert f"<li>{said.reasons[0]}</li>" in html


def test_a_cheaper_configuration_is_recommended_only_where_it_is_hardly_worse_beyond_doubt():
    right = np.arange(400) % 2 == 0
    best, cheap = measured(right, 400.0, "beam_search"), measured(right, 100.0, "rebase")
    plain = measured(np.arange(400) % 4 == 0, 100.0, "best_of_n", 4)
    said = headline(gather(Experiment("x", [best, cheap, plain], [])))
    assert said.use.startswith("Use rebase n=16: 50.0 %")
    baseline, most = said.reasons
    assert baseline.startswith("Over best-of-N of the same FLOPs it buys +25.0 points [+")
    assert "It is the most accurate, and no cheaper one is beyond doubt within 2 points of it." in most
    one_better = measured(right | (np.arange(400) == 1), 400.0, "beam_search")
    said = headline(gather(Experiment("x", [one_better, cheap, plain], [])))
    assert said.use.startswith("Use rebase n=16: 50.0 %")
    assert said.reasons[-1].startswith("The most accurate is beam_search n=16: 50.2 % [")
    assert ": 4.0 times as many FLOPs, and beyond doubt within 2 points." in said.reasons[-1]


def test_where_no_solution_is_right_the_answers_are_to_be_read_and_no_other_search_is_advised():
    none = np.zeros(20, dtype=bool)
    reasons = headline(gather(Experiment("x", [measured(none, 400.0, "beam_search")], []))).reasons
    assert "No solution was right: read some first, and how they are judged (problems.answers)." in reasons
    assert not any("only other search" in reason for reason in reasons)


def test_what_is_reached_for_a_fraction_of_the_flops_is_told():
    best = measured(np.arange(400) % 2 == 0, 400.0, "beam_search")
    cheap = measured(np.arange(400) % 4 == 0, 80.0, "rebase")
    said = headline(gather(Experiment("x", [best, cheap], [])))
    assert said.use.startswith("Use beam_search n=16: 50.0 %")
    assert said.reasons[-1].startswith("For 5.0 times fewer FLOPs: rebase n=16: 25.0 % [")
    assert "-25.0 points [" in said.reasons[-1]


def test_a_pipe_does_not_break_a_table():
    text = markdown(Table("t", ["a", "b"], [["x|y", "1"]]))
    assert "| x\\|y |" in text
    assert len({len(line) for line in text.splitlines()[2:]}) == 1


def test_without_a_difficulty_run_there_are_no_bins_and_the_page_says_so(stored):
    evidence = gather(load_directory(stored / "study"))
    assert list(accuracy_table(evidence).columns) == ["strategy", "all", "FLOPs charged", "budget"]
    assert "there is no difficulty run" in page(evidence, *draw(evidence, 2.0))


def test_another_verifiers_difficulty_run_bins_the_problems_and_teaches_no_policy(small):
    found = small
    weak = {**found.difficulty[0].config, "verifier": {"model": "lab/checkpoints/prm-weak"}}
    other = replace(found, difficulty=[replace(found.difficulty[0], config=weak)])
    evidence = gather(other)
    assert evidence.main.models["verifier.model"].endswith("checkpoints/prm")
    assert evidence.main.bins.tolist() == gather(found).main.bins.tolist()
    assert evidence.fit is None
    assert "verifier.model" in evidence.policy
    assert "has other models" in page(evidence, [], [])


def test_runs_that_cannot_be_compared_are_left_out_by_name(stored):
    evidence = gather(load_directory(stored / "study"))
    assert [option.cells[0].run_id for option in evidence.main.options] == ["b"]
    assert list(evidence.left_out) == [
        "run a: run b has the same configuration",
        "run c: it has other problems than those that are compared",
    ]


def test_the_command_prints_the_table_alone(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", str(stored / "study"), "--table"]) == 0
    printed = capsys.readouterr()
    assert "| best_of_n n=4" in printed.out
    assert printed.err == (
        "left out: run a: run b has the same configuration\n"
        "left out: run c: it has other problems than those that are compared\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_command_prints_what_each_claim_was_found_to_be(stored, capsys, monkeypatch):
    monkeypatch.chdir(stored)
    assert run_command(["report", "./study", "--table", "claims"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    told = [(row[0].removeprefix("| "), row[1].strip()) for row in rows]
    found = findings(gather(load_directory(stored / "study")))
    assert list(dict.fromkeys(statement.partition(".")[0] for statement, _ in told)) == [
        str(each.number) for each in found
    ]
    for each in found:
        verdicts = {verdict for statement, verdict in told if statement.startswith(f"{each.number}.")}
        assert verdicts == {each.verdict}
    measured = [str(part) for each in found for part in each.parts if part.estimate is not None]
    assert measured
    assert [row[2].strip() for row in rows if row[2].strip()] == measured


def test_the_command_keeps_the_page_in_mlflow(stored, tmp_path, capsys):
    from mlflow import MlflowClient

    out = tmp_path / "report.html"
    assert run_command(["report", "lab", "--runs", str(stored), "--out", str(out)]) == 0
    assert capsys.readouterr().err == f"report in {out}\n"
    client = MlflowClient(local_uri(stored))
    experiment = client.get_experiment_by_name("lab")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`ttc.role` = 'report'")
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert run.data.params["price"] == "3.5", "the configuration's"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rule", "loudest"], "--rule: 'loudest'"),
        (["--samples", "0"], "--samples: 0"),
        (["--price", "-1"], "--price: -1"),
        (["--price", "nan"], "--price: nan"),
        (["--generator", "generator-xl"], "--generator: 'generator-xl'"),
        (["--out", "no/where/report.html"], "a directory that exists"),
        (["--out", "."], "--out: '.' is not usable"),
    ],
)
def test_what_cannot_be_reported_is_one_readable_line(stored, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", str(stored / "study"), *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flops", "words"), [(999, "999"), (1e3, "1 k"), (999_960, "1 M"), (1.234e9, "1.23 G"), (0, "0")]
)
def test_flops_in_words(flops, words):
    assert si(flops) == words


def test_the_share_of_copies_is_over_all_seeds_and_missing_where_no_samples_were_compared():
    def option(*counts: dict[str, int]) -> Option:
        cells = [replace(measured(np.ones((1, 8), bool), 1.0, "beam_search"), counts=each) for each in counts]
        return Option("o", tuple(cells))

    assert _copies(option({"compared": 30, "copies": 20}, {"compared": 50, "copies": 20})) == "50"
    assert _copies(option({})) is None
