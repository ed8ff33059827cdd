"""``ttc explore``: the page in the run's directory and in MLflow; what is said where something is missing."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from pathlib import Path

import pytest
from mlflow import MlflowClient

from actors.messages import SampleResult
from orchestrator.commands.cli import run_command
from orchestrator.config.generator import codec_of
from orchestrator.config.loading import load
from orchestrator.config.schema import LAB_MODELS
from orchestrator.config.written import to_yaml
from orchestrator.durability.journal import Journal
from orchestrator.explore.description import Explored
from orchestrator.problems.codec import load_tokenizer
from orchestrator.problems.lab import problems as lab_problems
from orchestrator.tracking.tracker import Tracker, local_uri
from tests.support.paths import LAB_CONFIG


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Holds the run ``lab``, which was cut short after two samples of its first problem."""
    directory = tmp_path / "lab"
    directory.mkdir()
    model = tmp_path / "model"
    shutil.copytree(LAB_MODELS / "generator-s", model)
    config = load(LAB_CONFIG, [f"generator.model={model}", "problems.limit=2", f"runs={tmp_path}"])
    (directory / "config.yaml").write_text(to_yaml(config))
    codec = codec_of(config.generator)
    (problem,) = lab_problems("test")[:1]
    journal = Journal(directory / "journal.sqlite")
    for path in ("0", "1"):
        tokens = codec.continuation(problem.answer.split("\n")[0] + "\n")
        result = SampleResult(f"{problem.id}/sample/{path}", tokens, "step", 40, "generator-0")
        journal.record(problem.id, result.id, result, 1000)
    journal.close()
    return tmp_path


def test_a_run_that_was_cut_short_has_a_page_with_the_questions(
    runs: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["explore", "lab", "--runs", str(runs)]) == 0
    said = capsys.readouterr().err
    assert f"{runs}/lab/explore.html: 1 search, 2 samples, " in said
    assert "lab: This run is not finished: 0 searches have ended, 1 had begun." in said
    assert (runs / "lab" / "explore.html").stat().st_size > 10_000
    out = runs / "other.html"
    assert run_command(["explore", "lab", "--runs", str(runs), "--out", str(out)]) == 0
    assert out.is_file()


def test_the_page_leads_to_the_report_of_its_run(runs: Path):
    def led_to(page: Path) -> tuple[str | None, str]:
        (packed,) = re.findall(r'id="runs">([^<]*)<', page.read_text())
        (run,) = json.loads(zlib.decompress(base64.b64decode(packed)))
        known = dict(zip(Explored.__struct_fields__, run, strict=True))
        return known["report"], known["report_by"]

    def explored(*more: str) -> int:
        return run_command(["explore", "lab", "--runs", str(runs), *more])

    assert explored() == 0
    assert led_to(runs / "lab" / "explore.html")[0] is None, "it was cut short"
    (runs / "lab" / "summary.json").write_text("{}")
    assert explored() == 0
    command = f"ttc report lab --runs {runs}"
    assert led_to(runs / "lab" / "explore.html") == ("report.html", command), "where it will be"
    (runs / "lab" / "report.html").touch()
    assert explored() == 0
    assert led_to(runs / "lab" / "explore.html") == ("report.html", "")
    assert explored("--out", str(runs / "a.html")) == 0
    assert led_to(runs / "a.html") == ("lab/report.html", "")


def test_the_page_is_an_artifact_of_the_run_which_stays_as_it_was(runs: Path):
    tracker = Tracker(runs, "lab", "lab", {})
    tracker.artifact(runs / "lab" / "config.yaml")
    assert tracker.close("KILLED") is None
    client = MlflowClient(local_uri(runs))
    before = client.get_run(tracker.mlflow_run_id).info
    assert run_command(["explore", "lab", "--runs", str(runs)]) == 0
    assert [file.path for file in client.list_artifacts(before.run_id)] == ["config.yaml", "explore.html"]
    after = client.get_run(before.run_id).info
    assert (after.status, after.end_time) == ("KILLED", before.end_time)


def test_what_is_missing_is_said_in_a_line(runs: Path, capsys: pytest.CaptureFixture[str]):
    def said(*arguments: str) -> str:
        assert run_command(["explore", *arguments, "--runs", str(runs)]) == 2
        return capsys.readouterr().err

    assert "run_id: 'none' is not usable; allowed: a run in " in said("none")
    assert "--out: " in said("lab", "--out", str(runs))
    for own in ("journal.sqlite", "config.yaml", "summary.json"):  # the last one would end the run
        before = (runs / "lab" / "config.yaml").read_bytes()
        line = said("lab", "--out", str(runs / "lab" / own))
        assert "is not usable; allowed: a .html file, or one elsewhere; runs keep files here" in line
        assert (runs / "lab" / "config.yaml").read_bytes() == before
    shutil.rmtree(runs / "model")
    load_tokenizer.cache_clear()
    lines = said("lab").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"ttc: generator.model: '{runs}/model' is not usable; ")
    assert "only it can read the token ids in the journal of lab" in lines[0]


def test_without_a_journal_there_is_nothing_to_see(runs: Path, capsys: pytest.CaptureFixture[str]):
    (runs / "lab" / "journal.sqlite").unlink()
    assert run_command(["explore", "lab", "--runs", str(runs)]) == 1
    assert "journal.sqlite cannot be read: unable to open database file" in capsys.readouterr().err
    assert not (runs / "lab" / "explore.html").exists()
