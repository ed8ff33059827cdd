"""What is reached without a search: where it is read from, and what a search gains over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.baseline import Baseline, BaselineByProblem
from orchestrator.analysis.difficulty import pass_at_1
from orchestrator.analysis.estimators import Estimate, mean_difference, mean_over_problems, wilson
from orchestrator.analysis.store import Experiment, read_cell
from orchestrator.report.baselines import one_sample, references
from orchestrator.report.evidence import gather
from orchestrator.report.gains import gains
from orchestrator.report.headline import headline
from orchestrator.report.tables import accuracy_table, search_table
from orchestrator.runs.results_file import add_baseline, write_parquet
from tests.support.stored import cell, difficulty, result

BESIDE = Baseline(16, Estimate(0.48, 0.31, 0.66), Estimate(0.65, 0.43, 0.82), 7000, 39.5, 350.0)
HALF = np.arange(20) % 2 == 0


def gathered(cells, runs=()):
    found = [replace(each, correct={**each.correct, "majority": each.correct["weighted"]}) for each in cells]
    return gather(Experiment("x", found, list(runs)))


def searched(**config):
    found = cell(HALF, 100.0, strategy={"name": "beam_search", "n": 4})
    return replace(found, config={**found.config, **config})


def test_one_sample_is_the_share_of_right_samples_of_the_largest_best_of_n(evidence):
    found = one_sample(evidence)
    largest = evidence.main.by_n("best_of_n")[16]
    assert found.right == pytest.approx(np.mean([pass_at_1(cell) for cell in largest.cells], axis=0))
    assert 0 < found.flops < largest.flops / 16
    assert "best_of_n n=16" in found.source


def test_without_best_of_n_the_difficulty_run_tells_it_problem_by_problem():
    run = difficulty(np.linspace(0.05, 0.95, 20))
    backwards = run.only(np.ones(20, dtype=bool))
    order = np.arange(20)[::-1]
    backwards = replace(run, problems=tuple(run.problems[i] for i in order))
    for each, expected in ((run, pass_at_1(run)), (backwards, pass_at_1(run)[::-1])):
        if each is backwards:
            each.__dict__["solutions"] = run.__dict__["solutions"]
        found = one_sample(gathered([searched()], [each]))
        assert found.right == pytest.approx(expected)
        assert "difficulty run" in found.source
    other = replace(run, config={**run.config, "generator": {"model": "g", "temperature": 0.2}})
    other.__dict__["solutions"] = run.__dict__["solutions"]
    assert one_sample(gathered([searched()], [other])) is None, "its generator is used in another way"


def test_a_run_alone_has_what_it_sampled_beside_its_search():
    evidence = gathered([replace(searched(), baseline=BESIDE)])
    one, majority = references(evidence)
    assert (one.name, one.overall, one.flops) == ("one sample", BESIDE.one, 39.5)
    assert (majority.name, majority.overall, majority.flops) == ("majority of 16", BESIDE.majority, 350.0)
    for table in (accuracy_table(evidence), search_table(evidence)):
        assert [row[0] for row in table.rows] == ["one sample", "majority of 16", "beam_search n=4"]
    assert accuracy_table(evidence).rows[0][:3] == ["one sample", "48.0 [31, 66]", "39.5"]


def test_a_gain_over_samples_beside_the_search_is_paired_where_they_are_known_by_problem():
    by_problem = BaselineByProblem(np.linspace(0, 1, 20), HALF)
    evidence = gathered([replace(searched(), baseline=BESIDE, baseline_by_problem=by_problem)])
    one, majority = references(evidence)
    assert "of independent samples" in gains(evidence, 2.0).caption
    assert one.right == pytest.approx(by_problem.one)
    assert one.overall == mean_over_problems(by_problem.one)
    assert majority.overall == wilson(10, 20)
    (option,) = evidence.main.options
    gain = majority.gain(option, "weighted")
    unpaired = replace(majority, right=None).gain(option, "weighted")
    assert gain.value == pytest.approx(unpaired.value)
    assert gain.high < 0.7 * unpaired.high, "what is right on the same problems is no difference"
    half = replace(searched(), baseline=BESIDE, baseline_by_problem=by_problem).only(HALF)
    assert references(gathered([half]))[1].overall.value == 1.0


def test_a_table_has_the_baseline_of_each_problem_and_older_ones_and_graded_ones_none(tmp_path: Path):
    table, found = (
        tmp_path / "results.parquet",
        BaselineByProblem(np.array([0.25, 1.0]), np.array([False, True])),
    )
    write_parquet([result("a", []), result("b", [])], table)
    config = {"seed": 0, "strategy": {}, "generator": {}}
    assert read_cell("r", "cell", config, 1.0, 1.0, table, baseline=BESIDE).baseline_by_problem is None
    add_baseline(table, found)
    read = read_cell("r", "cell", config, 1.0, 1.0, table, baseline=BESIDE).baseline_by_problem
    assert read.one.tolist() == [0.25, 1.0]
    assert read.majority.tolist() == [False, True]
    rows, name = pq.read_table(table), "baseline_one"
    none = pa.nulls(2, pa.float64())
    graded = rows.set_column(rows.column_names.index(name), name, none)
    pq.write_table(graded, table)
    assert read_cell("r", "cell", config, 1.0, 1.0, table, baseline=BESIDE).baseline_by_problem is None


def test_a_greedy_answer_is_that_of_the_same_generator_alone():
    greedy = {"strategy": {"name": "best_of_n", "n": 1}, "generator": {"model": "g", "temperature": 0}}
    larger = {**greedy, "generator": {"model": "larger", "temperature": 0}}
    right = np.arange(20) < 5
    runs = [searched(), *(replace(cell(right, 10.0, seed=i), config={**searched().config, **how})
                          for i, how in enumerate((greedy, larger)))]  # fmt: skip
    evidence = gathered(runs)
    if evidence.main.models["generator.temperature"] == 0:
        evidence = replace(
            evidence, groups=sorted(evidence.groups, key=lambda g: g.models["generator.temperature"] == 0)
        )
    (found,) = references(evidence)
    assert found.name == "greedy"
    assert found.overall == mean_over_problems(right)
    assert found.flops == 5.0, "without its verifier"


def test_a_gain_is_paired_where_each_problem_is_known_and_wider_where_not(evidence):
    found, option = one_sample(evidence), evidence.main.by_n("beam_search", width=4)[16]
    paired = found.gain(option, "weighted")
    assert paired == mean_difference(option.correct("weighted") - found.right)
    apart = replace(found, right=None).gain(option, "weighted")
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > paired.high - paired.low


def test_what_is_not_decided_over_any_baseline_is_no_advice():
    cheap = cell(HALF, 50.0, strategy={"name": "rebase", "n": 4})
    said = headline(gathered([replace(searched(), baseline=BESIDE), cheap]))
    assert said.use.startswith("So far, ")
    assert said.use.endswith("a problem; 20 problems did not decide what it buys.")
    none = replace(BESIDE, one=Estimate(0.0, 0.0, 0.0), majority=Estimate(0.0, 0.0, 0.0))
    assert headline(gathered([replace(searched(), baseline=none), cheap])).use.startswith("Use ")
