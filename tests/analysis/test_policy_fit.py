"""ttc fit on a stored sweep whose truth is known: the policy, its file, its MLflow run, its price."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from orchestrator.allocation.policy import read_policy
from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.options import options
from orchestrator.analysis.policy_fit import SPLITS, fit, study
from orchestrator.analysis.store import load
from orchestrator.commands.cli import run_command
from orchestrator.commands.fit_display import show, warning
from orchestrator.errors import BadInput
from orchestrator.tracking.tracker import local_uri
from tests.support.stored import lab_config, sampled, store

EASY, HARD = 0.95, 0.15
P = [EASY] * 30 + [HARD] * 30
"""Easy problems gain nothing from more samples; hard ones do from a better strategy."""
UNIT = 90 * len(P)
"""FLOPs of a sample of each problem."""


def one(directory: Path, name: str, results, *overrides: str, role: str = "cell") -> None:
    config = lab_config(*overrides)
    store(directory / "study" / name, local_uri(directory), config, results, role=role)


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of best-of-N and of a beam search that is the better one on hard problems and costs as
    much as best-of-N; and a larger model's cell, which is nobody's option."""
    directory = tmp_path_factory.mktemp("swept")
    better = [EASY] * 30 + [0.6] * 30
    for n in (2, 8):
        budget = f"budget.flops={n * UNIT + 30 * len(P)}"
        for seed in (0, 1):
            best, beam = sampled(P, n, seed), sampled(better, n, seed + 100)
            name = f"n{n}-s{seed}"
            named = (f"strategy.n={n}", f"seed={seed}", budget)
            one(directory, f"best-{name}", best, "strategy.name=best_of_n", *named)
            one(directory, f"beam-{name}", beam, "strategy.width=2", *named)
    one(
        directory,
        "difficulty",
        sampled(P, 64, 9),
        "strategy.name=best_of_n",
        "strategy.n=64",
        "seed=9",
        role="difficulty",
    )
    one(
        directory,
        "larger",
        sampled([1.0] * 60, 1, 0),
        "strategy.name=best_of_n",
        "strategy.n=1",
        "generator.model=${lab:generator-m}",
    )
    return directory


def test_a_policy_uses_the_better_strategy_where_it_is_better(swept):
    found = study(load("lab", local_uri(swept)))
    assert len(found.options) == 4, "the larger model's run is no option"
    learned = fit(found, samples=4)
    small, large = learned.policy.rows
    assert small.budget == pytest.approx(2 * 90 + 30)
    assert all(each.strategy["n"] == 2 for each in small.bins), "what a budget does not pay is no choice"
    assert [each.strategy["name"] for each in large.bins[3:]] == ["beam_search"] * 2
    easiest = large.bins[0]
    assert easiest.flops == pytest.approx(210), "where all are right the cheapest is taken"
    assert sum(each.problems for each in large.bins) == len(P)
    assert learned.policy.estimate_flops == pytest.approx(30 + 90 * 4, rel=0.1)
    first = learned.policy.estimate_accuracy
    assert len(first) == 5
    assert np.mean(first[:2]) > 0.9, "four samples of an easy problem"
    assert 0.1 < np.mean(first[3:]) < 0.6


def test_the_accuracy_of_a_choice_is_not_that_by_which_it_was_chosen(tmp_path):
    """Many options are equally good: the one that looks best on few problems is only lucky there."""
    for width in range(1, 17):
        results = sampled([0.5] * 40, 1, 1000 + width)
        one(tmp_path, f"beam-{width}", results, f"strategy.width={width}", "strategy.n=720720")
    one(tmp_path, "best", sampled([0.5] * 40, 1, 7), "strategy.name=best_of_n", "strategy.n=1")
    hardness = ["strategy.name=best_of_n", "strategy.n=16", "seed=9"]
    one(tmp_path, "difficulty", sampled([0.5] * 40, 16, 9), *hardness, role="difficulty")
    found = study(load("lab", local_uri(tmp_path)))
    (row,) = fit(found, samples=4, margin=0.0).policy.rows
    told = np.average([each.accuracy for each in row.bins], weights=[each.problems for each in row.bins])
    best_of_each = [found.outcomes.accuracy[:, i::5].mean(axis=1).max() for i in range(5)]
    assert np.mean(best_of_each) > 0.75, "what the luckiest of 17 has on 8 problems"
    assert told == pytest.approx(0.5, abs=0.12)


def test_the_price_of_the_estimate_is_charged_and_shown_apart(swept):
    found = study(load("lab", local_uri(swept)))
    learned = fit(found, samples=4)
    for bins, cost in (("predicted", learned.policy.estimate_flops), ("oracle", 30 + 90 * 64)):
        paid, free = learned.charged[bins].levels, learned.uncharged[bins].levels
        assert [p.accuracy for p in paid] == [f.accuracy for f in free]
        problems = np.arange(len(P))
        for i, (more, less) in enumerate(zip(paid, free, strict=True)):
            level = learned.validated[bins].option[:, i]
            own = found.outcomes.flops[level, problems]
            sampled = found.outcomes.samples[level]
            assert less.flops == pytest.approx(own.mean())
            expected = np.where(sampled, np.maximum(own, cost), own + cost).mean()
            assert more.flops == pytest.approx(expected, rel=1e-6)
    best = learned.uncharged["predicted"].savings[-1]
    assert best.baseline == "best_of_n n=8"
    assert best.factor.value > learned.charged["predicted"].savings[-1].factor.value > 0


def test_the_measured_accuracy_is_one_that_the_options_really_had(swept):
    found = study(load("lab", local_uri(swept)))
    learned = fit(found, samples=4)
    for validated in learned.validated.values():
        assert validated.option.shape == (SPLITS, *validated.accuracy.shape)
        expected = found.outcomes.accuracy[validated.option, np.arange(len(P))].mean(axis=0)
        assert validated.accuracy == pytest.approx(expected)


def test_the_command_writes_a_policy_and_keeps_it_in_mlflow(swept, tmp_path, capsys):
    from mlflow import MlflowClient

    out = tmp_path / "policy.yaml"
    for _ in range(2):
        status = run_command(
            ["fit", "lab", "--runs", str(swept), "--out", str(out), "--json", "--samples", "8"]
        )
        printed = capsys.readouterr()
        assert status == 0, printed.err
        assert printed.err == ""
    policy = read_policy(out)
    assert (policy.experiment, policy.samples, len(policy.thresholds)) == ("lab", 8, 4)
    numbers = json.loads(printed.out)
    assert np.sum(numbers["agreement"]["confusion"]) == len(P)
    lines = numbers["accuracy_fits"]
    assert set(lines) == {"best of n", "beam search"}
    gain = np.mean([0.5 * (1 - (1 - p) ** 8 - 1 + (1 - p) ** 2) for p in P])  # a doubling, from 2 to 8
    assert lines["best of n"]["beta"]["value"] == pytest.approx(
        gain, abs=3 * lines["best of n"]["beta"]["error"]
    )
    law = numbers["coverage_fit"]
    assert np.exp(law["a"]["value"]) == pytest.approx(np.mean(P), abs=0.1)
    assert law["b"]["value"] < -3 * law["b"]["error"]

    client = MlflowClient(local_uri(swept))
    experiment = client.get_experiment_by_name("lab")
    runs = client.search_runs([experiment.experiment_id], "tags.`ttc.role` = 'fit'")
    assert len(runs) == 2
    assert {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)} == {
        "policy.yaml",
        "fit.json",
    }
    assert runs[0].data.params == {"rule": "weighted", "samples": "8", "margin": "1.0"}
    saving = numbers["charged"]["predicted"]["savings"][-1]["factor"]["value"]
    assert runs[0].data.metrics["predicted_charged/saving"] == saving
    versions = client.search_model_versions("name = 'lab-policy'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    assert {version.run_id for version in versions} == {run.info.run_id for run in runs}
    assert len(options(load("lab", local_uri(swept)).cells)) == 5, "a fit is no cell"


def test_the_command_reads_a_directory_and_shows_tables(swept, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "policy.yaml"
    assert run_command(["fit", str(swept / "study"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "predicted bins, estimate charged: on problems it was not chosen on" in printed.out
    assert "left out" not in printed.err
    assert "best_of_n n=8" in printed.out
    assert "accuracy = α + β · log₂ FLOPs" in printed.out
    assert "coverage of k samples = exp(a · k^b)" in printed.out
    assert f"strategy.policy={out}" in printed.err


def test_budgets_that_change_nothing_are_one_row_and_a_policy_that_is_worse_is_told(swept):
    learned = fit(study(load("lab", local_uri(swept))), samples=4)
    comparison = learned.charged["predicted"]
    one = replace(comparison.levels[0], budget=1000.0, verdict="not decided")
    same, worse = replace(one, budget=4000.0), Estimate(-0.25, -0.4, -0.1)
    bad = replace(one, budget=9000.0, flops=1.0, difference=worse, verdict="worse")
    told = replace(
        learned, charged={**learned.charged, "predicted": replace(comparison, levels=(one, same, bad))}
    )
    screen = Console(file=io.StringIO(), width=80)
    show(told, screen)
    text = screen.file.getvalue()
    assert "1 k – 4 k" in text
    assert [line.split()[0] for line in text.splitlines() if line.rstrip().endswith("worse")] == ["9", "k"][
        :1
    ]
    assert "at 1 of 3 budgets the policy is worse" in warning(told)
    assert "by up to -25.0 [-40.0, -10.0] points" in warning(told)
    assert warning(replace(told, charged={"predicted": replace(comparison, levels=(one,))})) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lab", "--rule", "loudest"], "--rule: 'loudest'"),
        (["lab", "--samples", "65"], "has 64 scored samples; 65 are asked for"),
        (["lab", "--samples", "0"], "--samples: 0"),
        (["lab", "--margin", "-1"], "--margin"),
        (["lab", "--generator", "generator-m"], "--generator: 'generator-m'"),
        (["lab", "--out", "no/where/policy.yaml"], "a directory that exists"),
        (["lab", "--out", "."], "--out: '.' is not usable"),
        (["elsewhere"], "allowed: "),
        (["no/where"], "no finished run"),
    ],
)
def test_what_cannot_be_fitted_is_one_readable_line(swept, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run_command(["fit", *arguments, "--runs", str(swept)]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "policy.yaml").exists()


def test_an_experiment_without_what_is_compared_is_refused(swept):
    found = load("lab", local_uri(swept))
    beams = [cell for cell in found.cells if cell.strategy["name"] == "beam_search"]
    with pytest.raises(BadInput, match="no best_of_n"):
        study(replace(found, cells=beams))
    with pytest.raises(BadInput, match="no best_of_n of the setting and the problems"):
        study(replace(found, cells=[replace(cell, problems=("x",)) for cell in found.cells]))
    (one,) = found.difficulty
    other = replace(one, config={**one.config, "verifier": {"model": "weak"}})
    both = replace(found, difficulty=[one, other])
    with pytest.raises(BadInput, match=r"--verifier.* weak"):
        study(both)
    assert study(both, verifier="prm").difficulty is one
    with pytest.raises(BadInput, match="2 difficulty runs of these models"):
        study(replace(found, difficulty=[one, one]))
