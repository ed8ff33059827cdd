"""Files that a machine which went down has left torn or garbled: a run goes on, or says what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis.store import load_directory
from orchestrator.commands.cli import run_command
from orchestrator.config.loading import load_begun
from orchestrator.errors import BadInput
from orchestrator.runs.legs import FILE, Legs, read
from orchestrator.runs.run import SUMMARY, stored_summary
from tests.support.paths import LAB_CONFIG
from tests.support.stored import lab_config, sampled, store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LINES = [
    ["leg", 1.0, {"generator": 2}],
    ["begun", "p", 0.5],
    ["tick", 3.0, 5, {"generator": 1.0}],
    ["ended", "p", 2.0, True],
]
KINDS = st.sampled_from([kind for kind, *_ in LINES])
WRITTEN = st.sampled_from(LINES) | st.builds(lambda kind, rest: [kind, *rest], KINDS, st.lists(JSON)) | JSON


@pytest.fixture(scope="module")
def one_directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("one")


@given(lines=st.lists(WRITTEN, max_size=6), cut=st.integers(0, 40))
@settings(max_examples=60)
def test_whatever_the_lines_of_legs_are_what_can_be_read_of_them_is_summed(one_directory, lines, cut):
    text = "\n".join(map(json.dumps, lines))
    (one_directory / FILE).write_text(text[: max(0, len(text) - cut)])
    spent = read(one_directory / FILE)
    numbers = [spent.seconds, spent.startup_seconds, spent.tokens]
    assert all(isinstance(one, int | float) for one in [*numbers, *spent.problems.values()])
    assert all(math.isnan(share) or share <= 1 for share in spent.utilisation.values())


def test_a_leg_that_follows_a_torn_line_is_a_leg_of_its_own(tmp_path):
    (tmp_path / FILE).write_text('["leg", 1.0, {"generator": 2}]\n["tick", 3.0, 5, {}]\n["tick", 9')
    legs = Legs(tmp_path)
    legs.begin(2.0, {"generator": 2})
    legs._write("tick", 4.0, 7, {})
    spent = read(tmp_path / FILE)
    assert spent == legs.spent
    assert (len(spent.legs), spent.seconds, spent.startup_seconds, spent.tokens) == (2, 7.0, 3.0, 12)


@given(value=JSON)
@settings(max_examples=40)
def test_a_summary_that_no_run_has_written_makes_no_run_a_finished_one(one_directory, value):
    (one_directory / SUMMARY).write_text(json.dumps(value))
    assert stored_summary(one_directory) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    store(runs / "lab", f"sqlite:///{runs}/mlflow.db", lab_config(f"runs={runs}"), sampled([0.5], 2, 0))
    return runs / "lab"


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "results.parquet"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"run_id": "x"}', b"\xff\xfe", b"{", b"5", b"PAR1"])
def test_a_report_names_the_run_whose_files_are_not_what_a_run_writes(finished, tmp_path, name, content):
    for path in finished.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert len(load_directory(tmp_path).cells) == 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as refused:
        load_directory(tmp_path)
    assert str(refused.value).startswith(f"experiment: '{tmp_path}' is not usable; its files cannot be read")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [0, 20, 300])
def test_a_run_that_cannot_go_on_names_the_file_that_is_not_whole(finished, tmp_path, capsys, size):
    run = tmp_path / "lab"
    run.mkdir()
    whole = (finished / "config.yaml").read_bytes()
    assert b"strategy:" in whole[300:], "what is left has no strategy"
    (run / "config.yaml").write_bytes(whole[:size])
    assert run_command(["resume", "lab", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert str(run / "config.yaml") in said
    assert said.count("\n") == 1


def test_a_fault_is_told_with_the_file_of_a_begun_run_unless_it_is_in_what_was_given(tmp_path):
    file = tmp_path / "config.yaml"
    for text, overrides, named in (
        ("base: gone.yaml", [], True),
        (f"base: {LAB_CONFIG}\nseed: x", [], True),
        (f"base: {LAB_CONFIG}\ngenerator: 3", ["generator.replicas=2"], True),
        (f"base: {LAB_CONFIG}", ["seed=x"], False),
        (f"base: {LAB_CONFIG}", ["nonsense"], False),
    ):
        file.write_text(text)
        with pytest.raises(BadInput) as refused:
            load_begun(file, overrides)
        assert (str(file) in str(refused.value)) == named, refused.value


def test_a_store_that_is_no_database_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    assert run_command(["report", "lab", "--runs", str(tmp_path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ttc: DatabaseError: ")
    assert "not a database" in last
