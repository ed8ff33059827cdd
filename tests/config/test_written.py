"""What is written of a configuration has no secret in it, and gives the same run again."""

from __future__ import annotations

import logging
from dataclasses import replace
from unittest.mock import MagicMock

import pytest

from orchestrator.config.fingerprint import differing, fingerprint
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.written import to_yaml, tracking_uri, written
from orchestrator.errors import BadInput
from orchestrator.masking import MASK
from orchestrator.runs import grid
from orchestrator.runs.run import Run
from tests.support.paths import LAB_CONFIG

SECRETS = (
    "generator.engine.hf_token=${oc.env:SECRET_TOKEN}",
    "verifier.engine.hf_token=in-clear-secret",
    "tracking.uri=${oc.env:STORE}",
)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2secret")
    monkeypatch.setenv("STORE", "http://user:s3cretpw@127.0.0.1:9/")


def test_a_value_of_the_environment_is_written_as_it_was_given_and_read_again(
    environment, tmp_path, monkeypatch
):
    config = load(LAB_CONFIG, SECRETS)
    assert config.generator.engine["hf_token"] == "hunter2secret"
    text = to_yaml(replace(config, seed=config.seed))
    assert "${oc.env:SECRET_TOKEN}" in text
    assert written(config)["verifier"]["engine"]["hf_token"] == MASK
    assert not any(secret in text for secret in ("hunter2secret", "s3cretpw", "in-clear-secret"))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    monkeypatch.setenv("SECRET_TOKEN", "another-secret")
    again = load(path, ["verifier.engine.hf_token=in-clear-secret"])
    assert again.generator.engine["hf_token"] == "another-secret"
    assert tracking_uri(again) == "${oc.env:STORE}"
    monkeypatch.setenv("SECRET_TOKEN", "hunter2secret")
    assert fingerprint(load(path, ["verifier.engine.hf_token=in-clear-secret"])) == fingerprint(config)


def test_a_secret_that_was_not_kept_is_asked_for_by_its_key(environment, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(load(LAB_CONFIG, SECRETS)))
    with pytest.raises(BadInput, match=r"verifier\.engine\.hf_token: '\*\*\*'.*give it again"):
        prepare(load(path))
    path.write_text(to_yaml(load(LAB_CONFIG, ["tracking.uri=http://user:s3cretpw@127.0.0.1:9/"])))
    with pytest.raises(BadInput, match=r"tracking\.uri: 'http://\*\*\*@127.*give it again"):
        prepare(load(path))


def test_no_file_of_a_run_or_a_sweep_has_a_secret(environment, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.sender.Sender.start", lambda self: None)
    monkeypatch.setattr("orchestrator.runs.run.fingerprints", MagicMock(return_value=("f",)))
    prepared = prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=1"]))
    config = load(LAB_CONFIG, [f"runs={tmp_path}", *SECRETS])
    with Run(replace(prepared, config=config), "lab-1") as run:
        logging.getLogger("orchestrator.x").warning("EngineArgs(hf_token='hunter2secret')\x1b[31m")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in left}
    assert {"config.yaml", "tracking.jsonl", "run.log", "journal.sqlite"} <= names
    for path in left:
        content = path.read_bytes()
        assert not any(secret in content for secret in (b"hunter2secret", b"s3cretpw", b"in-clear-secret")), (
            path
        )
    assert "\\x1b" in (tmp_path / "lab-1" / "run.log").read_text()
    assert run.untracked is not None
    assert "s3cretpw" not in run.untracked

    path = tmp_path / "sweep.yaml"
    path.write_text(f"base: {LAB_CONFIG}\nproblems: {{limit: 1}}\nsweep: {{grid: {{seed: [0]}}}}\n")
    source = grid.read(path, [f"runs={tmp_path}", "verifier.engine.hf_token=in-clear-secret"]).source
    assert f"hf_token: '{MASK}'" in source
    assert "in-clear-secret" not in source


def test_the_keys_by_which_runs_differ_are_named():
    def of(*overrides: str):
        return load(LAB_CONFIG, overrides)

    assert differing(of(), of("generator.replicas=9", "runs=elsewhere", "log_level=debug")) == []
    assert differing(of(), of("seed=1")) == ["seed"]
    assert differing(of(), of("allocation.min_gain=0.1")) == ["allocation.min_gain"]
    assert differing(of(), of("verifier.model=${lab:prm-weak}")) == ["verifier.model"]
    assert differing(of(), of("strategy.n=8")) == ["strategy.n"]


def test_the_place_and_the_reason_of_what_is_no_yaml_are_told(tmp_path):
    for text, said in (
        ("a: 1\na: 2\n", r"c\.yaml:2:1'.*found duplicate key a"),
        ("a:\n\tb: 1\n", r"c\.yaml:2:1'.*a tab is no indentation; allowed: spaces"),
        ("a: [1,\nb: 2\n", r"c\.yaml:\d:\d+'.*',' or ']'"),
        ("name: " + "[" * 5000 + "]" * 5000, r"c\.yaml'.*nested too deeply"),
        ("7\n", r"c\.yaml'.*a YAML mapping"),
    ):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        with pytest.raises(BadInput, match=said) as raised:
            load(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(BadInput, match=r"budget: 'budget\.tokens=1000 budget\.flops=1e9'.*exactly one"):
        load(LAB_CONFIG, ["budget.tokens=1000", "budget.flops=1e9"])
    assert load(LAB_CONFIG, ["budget.flops=null", "budget.tokens=5e3"]).budget.units == ["tokens"]


def test_a_name_that_is_nearly_one_is_suggested_and_all_are_listed():
    for override, said in (
        ("bugdet.flops=1", "did you mean budget[?] allowed: name, seed"),
        ("generator.temprature=1", "did you mean temperature[?] allowed: model"),
        ("problems.split=tset", "did you mean test[?] allowed: "),
        ("generator.engine.max_num_seq=8", "did you mean max_num_seqs[?]"),
        ("problems.columns.anwser=x", "problems.source=lab"),
    ):
        with pytest.raises(BadInput, match=said):
            load(LAB_CONFIG, [override])
    with pytest.raises(BadInput, match=r"did you mean width[?] beam_search takes n, width"):
        prepare(load(LAB_CONFIG, ["strategy.widht=2"]))
    with pytest.raises(BadInput, match=r"did you mean beam_search[?] allowed: "):
        prepare(load(LAB_CONFIG, ["strategy.name=beam_serach"]))
