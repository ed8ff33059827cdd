"""``ttc report RUN_ID``: the report of one run, wherever the run is found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis.store import find
from orchestrator.commands.cli import run_command
from orchestrator.errors import BadInput
from orchestrator.tracking.tracker import local_uri
from tests.support.stored import lab_config, store
from tests.support.swept import search

RUN = "lab-20260101-120000-abcd"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Has two runs, of which one has not ended, and the store that keeps them."""
    directory = tmp_path_factory.mktemp("runs")
    for name in (RUN, "other"):
        config = lab_config("strategy.name=best_of_n", "strategy.n=4", f"runs={directory}")
        store(directory / name, local_uri(directory), config, search([0.5] * 6, 4, 0), runs=directory)
    unfinished = directory / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text((directory / RUN / "config.yaml").read_text())
    return directory


@pytest.mark.parametrize("named", [RUN, f"{{runs}}/{RUN}", f"{{runs}}/{RUN}/"])
def test_a_run_is_found_by_its_id_and_by_its_directory(runs, named):
    found = find(named.format(runs=runs), None, str(runs))
    assert [cell.run_id for cell in found.cells] == [RUN]
    assert found.name == RUN
    assert found.run == runs / RUN


def test_a_run_that_only_the_store_has_is_found_by_its_id(runs, tmp_path):
    found = find(RUN, local_uri(runs), str(tmp_path))
    assert [cell.run_id for cell in found.cells] == [RUN]
    assert found.kept_in == "lab"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("unfinished", "go on with it first: ttc resume unfinished"),
        (RUN[:-1] + "e", f"did you mean {RUN}?"),
        ("it's", "or the id of a run, such as"),
    ],
)
def test_what_is_no_run_that_has_ended_is_told_with_a_hint(runs, named, words):
    with pytest.raises(BadInput, match="experiment") as refused:
        find(named, None, str(runs))
    assert words in str(refused.value)


def test_a_run_without_a_verifier_is_reported_by_its_majority(tmp_path, capsys):
    config = lab_config("strategy.name=best_of_n", "strategy.n=4", "verifier.model=null", f"runs={tmp_path}")
    majority = {"selected": ("majority",), "correct": ("majority",)}
    results = [
        replace(
            found,
            **{
                name: {rule: getattr(found, name)[rule] for rule in rules} for name, rules in majority.items()
            },
        )
        for found in search([0.5] * 6, 4, 0)
    ]
    store(tmp_path / RUN, local_uri(tmp_path), config, results, runs=tmp_path)
    assert run_command(["report", RUN, "--runs", str(tmp_path), "--table", "accuracy"]) == 0
    assert "**Accuracy (majority)" in capsys.readouterr().out


def test_the_page_of_a_run_is_kept_among_its_own_artifacts(runs, tmp_path, capsys):
    from mlflow import MlflowClient

    (runs / RUN / "explore.html").touch()
    (runs / RUN / "journal.sqlite").touch()
    assert run_command(["report", RUN, "--runs", str(runs)]) == 0
    out = runs / RUN / "report.html"
    assert capsys.readouterr().err == f"report in {out}\n"
    assert 'href="explore.html"' in out.read_text()
    client = MlflowClient(local_uri(runs))
    (experiment,) = client.search_experiments(filter_string="name = 'lab'")
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 2, "no run of role report beside them"
    (run,) = (run for run in found if run.data.tags["ttc.run_id"] == RUN)
    (kept,) = (a.path for a in client.list_artifacts(run.info.run_id) if a.path == "report.html")
    text = Path(client.download_artifacts(run.info.run_id, kept, str(tmp_path))).read_text()
    assert 'href="explore.html"' not in text, "from there it leads nowhere"
    assert f"ttc explore {RUN}" in text


@pytest.mark.parametrize(
    "wrong", [{"run_id": None}, {"seconds": None}, {"seconds": []}, {"flops": 3}, {"flops": {"budget": "x"}}]
)
def test_a_summary_that_is_not_what_a_run_writes_is_told_in_a_line(runs, tmp_path, wrong):
    run = tmp_path / "run"
    shutil.copytree(runs / RUN, run)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | wrong))
    with pytest.raises(BadInput, match="its files cannot be read") as refused:
        find(str(run), None, str(runs))
    assert "Expected `" in str(refused.value)
