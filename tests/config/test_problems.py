"""The keys of ``problems`` through the real loading: what fits no source, ready sets, old runs."""

from __future__ import annotations

import json

import pytest

from orchestrator.config.fingerprint import fingerprint as config_fingerprint
from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.errors import BadInput
from orchestrator.problems.problem import BESIDE, filled
from tests.support.paths import LAB_CONFIG


def prepared(directory, *overrides):
    return prepare(load(LAB_CONFIG, [f"runs={directory}/runs", *overrides]))


def file(directory, *rows, name="p.jsonl"):
    (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["problems.source=file", f"problems.path={directory / name}"]


def test_the_fingerprint_of_a_run_of_an_earlier_version_is_still_its_own(tmp_path):
    """The values are those that the versions before these keys gave: their journals go on."""
    then = ["strategy.n=16", "strategy.distinct=false", "allocation.pass_on=false"]
    config = load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", *then])
    assert config_fingerprint(config) == "4f729ba1c068b3c81485ac53c4b1098f08ed136cad86694bbc46b76be2d73973"
    assert fingerprint(prepare(config)) == "20e4ad99c7b5d76672e6f4695e5f0a9596be3bf3f730f75cf582b4a271640acb"
    file(
        tmp_path,
        {"problem": "12", "answer": "3"},
        {"id": "b", "problem": "21", "answer": "3", "unique_id": "u", "difficulty": 2},
        name="problems.jsonl",
    )
    own = [
        "problems.source=jsonl",
        f"problems.path={tmp_path}/problems.jsonl",
        "problems.answers=math",
        *then,
    ]
    earlier = "427adb7ee2b952fcc78c0b49f2b7614c4c97682182de66093853ae5254259f88"
    assert fingerprint(prepared(tmp_path, *own)) == earlier
    renamed = [*own, "problems.source=file"]
    assert fingerprint(prepared(tmp_path, *renamed)) == earlier, "the same problems by the new name"
    (tmp_path / "problems.jsonl").write_text(
        (tmp_path / "problems.jsonl").read_text().replace('"id": "b", ', "")
    )
    assert fingerprint(prepared(tmp_path, *renamed)) != fingerprint(prepared(tmp_path, *own)), "other ids"


def test_the_fingerprint_covers_what_is_read_and_not_what_is_shown(tmp_path):
    rows = [{"problem": "12", "answer": ["3"], "level": 1}, {"problem": "21", "answer": ["4"], "level": 2}]
    own = file(tmp_path, *rows)
    before = fingerprint(prepared(tmp_path, *own))
    assert fingerprint(prepared(tmp_path, *own, "problems.by=level")) == before
    assert fingerprint(prepared(tmp_path, *own, "problems.columns={problem: problem}")) != before
    file(tmp_path, {**rows[0], "answer": ["3", "three"]}, rows[1])
    assert fingerprint(prepared(tmp_path, *own)) != before
    hub = ["problems.source=datasets", "problems.path=owner/name"]
    others = [[], ["problems.subset=main"], ["problems.revision=abc"]]
    assert len({config_fingerprint(load(LAB_CONFIG, [*hub, *also])) for also in others}) == 3


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["source=parquet"],
            "problems.source: 'parquet' is not usable; allowed: lab, coins, file, jsonl, datasets or",
        ),
        (
            ["source=datasets"],
            "problems.path: null is not usable; needed with problems.source=datasets: a data set",
        ),
        (
            ["source=reasoning_gym"],
            "problems.path: null is not usable; needed with problems.source=reasoning_gym",
        ),
        (
            ["source=reasoning_gym", "path=basic_arithmetic", "answers=math"],
            "problems.answers: 'math' is not usable; it cannot read what problems.source=reasoning_gym has",
        ),
        (
            ["subset=main"],
            "problems.subset: 'main' is not usable; problems.source=lab has none; allowed: datasets",
        ),
        (
            ["source=file", "path=a", "revision=v"],
            "problems.revision: 'v' is not usable; problems.source=file has",
        ),
        (["source=file", "path=a", "options={size: 3}"], "problems.options: {'size': 3} is not usable"),
        (["columns={problem: q}"], "problems.source=lab has none; allowed: file, jsonl or datasets"),
        (["by=level"], "problems.by: 'level' is not usable; the problems have no attributes; allowed: null"),
        (["template='{problem} {choices}'"], "it has {choices}, and no problem has any"),
    ],
)
def test_what_fits_no_source_is_one_line(tmp_path, overrides, said):
    with pytest.raises(BadInput) as error:
        prepared(tmp_path, "problems.limit=2", *(f"problems.{each}" for each in overrides))
    assert said in str(error.value)


def test_the_attribute_to_tell_results_apart_by_is_one_that_is_there(tmp_path):
    own = file(tmp_path, {"problem": "1", "answer": "1", "level": 3, "subject": "a"})
    assert prepared(tmp_path, *own, "problems.by=level").config.problems.by == "level"
    with pytest.raises(BadInput, match=r"problems\.by: 'topic' is not usable; allowed: level or subject"):
        prepared(tmp_path, *own, "problems.by=topic")
    assert prepared(tmp_path, "problems.limit=2", "problems.by=difficulty").problems


def test_choices_are_in_the_prompt(tmp_path):
    own = file(tmp_path, {"problem": "1?", "choices": ["12", "21"], "answer": 1})
    (problem,), (prompt,) = (found := prepared(tmp_path, *own)).problems, found.prompts
    assert (problem.answer, filled("{problem}", problem)) == ("B", "1?\n\n(A) 12\n(B) 21")
    assert prompt == found.codec.encode("1?\n\n(A) 12\n(B) 21")


def test_a_file_may_have_several_bases_of_which_a_later_one_wins(tmp_path):
    (tmp_path / "model.yaml").write_text("generator: {max_tokens: 7, temperature: 0.5}\nseed: 1\n")
    (tmp_path / "set.yaml").write_text("problems: {limit: 3}\nseed: 2\ngenerator: {temperature: 0.25}\n")
    path = tmp_path / "run.yaml"
    path.write_text(f"base: [{LAB_CONFIG}, model.yaml, set.yaml]\nname: mine\n")
    config = load(path)
    assert (config.name, config.seed, config.problems.limit) == ("mine", 2, 3)
    assert (config.generator.max_tokens, config.generator.temperature) == (7, 0.25)
    path.write_text("base: [set.yaml, 3]\n")
    with pytest.raises(
        BadInput, match="base: 3 is not usable; allowed: the path of another YAML file, or a list"
    ):
        load(path)
    path.write_text("base: [set.yaml, run.yaml]\n")
    with pytest.raises(BadInput, match="cannot inherit from itself"):
        load(path)


@pytest.mark.parametrize("what", BESIDE)
def test_a_name_that_a_journal_needs_for_another_problem_is_refused(tmp_path, what):
    row = {"problem": "1", "answer": "1"}
    own = file(tmp_path, {**row, "id": "p"}, {**row, "id": f"{what}/p"})
    with pytest.raises(BadInput, match=f"problems: id: '{what}/p' is not usable"):
        prepared(tmp_path, *own)
    assert prepared(tmp_path, *file(tmp_path, {**row, "id": f"{what}/p"})).problems, "alone it is a name"
