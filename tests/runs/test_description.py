"""What MLflow says of a run: a name that tells what it found, a description with its table, its problems."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.analysis.estimators import wilson
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.schema import EndpointConfig, to_dict
from orchestrator.runs.description import (
    dataset,
    description,
    parameters,
    strategy_words,
    study,
    tags,
    title,
)
from orchestrator.runs.metrics import plain_names
from orchestrator.runs.results import Group, Summary
from orchestrator.runs.results_file import write_table
from orchestrator.tracking.about import AGAIN, LONGEST_STUDY
from tests.runs.test_results import result, solution, summary
from tests.support.paths import LAB_CONFIG


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "best_of_n", "n": 16}, "best_of_n n=16"),
        ({"name": "beam_search", "n": 16, "width": 4, "distinct": True}, "beam_search n=16"),
        (
            {"name": "beam_search", "n": 16, "width": 8, "distinct": False},
            "beam_search n=16 width=8 distinct=False",
        ),
        ({"name": "mine/own.py:until_two_agree", "limit": 8}, "own.py:until_two_agree limit=8"),
    ],
)
def test_a_strategy_is_told_by_its_size_and_what_is_not_usual(section, words):
    assert strategy_words(section) == words


def found() -> Summary:
    return summary([result(solution("0", True, "a|b")), result(solution("0", False, "c"))])


def test_the_name_of_a_run_says_what_it_searched_with_and_what_it_found():
    config = load(LAB_CONFIG, ["seed=3", "allocation.name=adaptive"])
    assert title(config) == "beam_search n=32 adaptive · seed 3"
    assert title(config, found()).startswith("beam_search n=32 adaptive · 50.0 % [")
    assert title(config, found()).endswith("FLOPs a problem · seed 3")
    assert title(config, role="difficulty") == "difficulty adaptive · seed 3"


def test_a_model_of_the_hub_is_logged_with_the_commit_that_was_read(tmp_path, monkeypatch):
    for revision, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        snapshot = tmp_path / "models--lab--one" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        ref = tmp_path / "models--lab--one" / "refs" / revision
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = ["generator.model=lab/one", "reviser.model=lab/one", "reviser.revision=v1"]
    config = load(LAB_CONFIG, [*asked, "verifier.model=lab/absent", "verifier.revision=v2"])
    told = parameters(config)
    assert (told["generator"]["model"], told["generator"]["revision"]) == ("lab/one", "a" * 40)
    assert told["reviser"]["revision"] == "b" * 40
    assert told["verifier"]["revision"] == "v2", "it is as it was asked for: there is no copy here"
    assert to_dict(config)["generator"]["revision"] is None, "what is kept with the run is what was asked"
    of_directories = parameters(load(LAB_CONFIG))
    assert of_directories["generator"]["revision"] is None
    assert of_directories["judge"]["revision"] is None
    served = replace(config.generator, endpoint=EndpointConfig(url="http://127.0.0.1:1"))
    assert parameters(replace(config, generator=served))["generator"]["revision"] is None


def test_the_description_has_the_table_and_the_way_to_repeat_it():
    config = load(LAB_CONFIG)
    assert "has not ended yet" in description(config, "lab-1")
    told = description(config, "lab-1", found())
    assert "| problems | 2, " in told
    assert "ttc run config.yaml" in told
    assert "runs/lab-1" in told
    assert all(line.count("|") - line.count("\\|") == 3 for line in told.splitlines() if line.startswith("|"))


def test_runs_are_filtered_by_tags_and_the_same_problems_have_the_same_digest():
    prepared = prepare(load(LAB_CONFIG, ["problems.limit=3"]))
    assert tags(prepared) | {"host": "", "mlflow.source.git.commit": ""} == {
        "strategy": "beam_search",
        "generator": "generator-s",
        "verifier": "prm",
        "allocation": "uniform",
        "budget": "1e+11 flops",
        "seed": "0",
        "problems": "lab test",
        "cluster": "this machine",
        "steered": "no",
        "host": "",
        "mlflow.source.git.commit": "",
    }
    told = study(prepared, "lab-1")
    assert told == (
        "**lab**: `beam_search n=32` on 3 problems of lab: generator-s, scored by prm."
        f"{AGAIN}`ttc run runs/lab-1/config.yaml`"
    )
    prepared.config.runs = f"my runs/{'x' * LONGEST_STUDY}"
    told, _, command = study(prepared, "lab-1").rpartition(AGAIN)
    assert told.startswith("**lab**: `beam_search n=32` on 3 problems of lab"), "a long command leaves words"
    assert command == f"`ttc run 'my runs/{'x' * LONGEST_STUDY}/lab-1/config.yaml'`"
    again = prepare(load(LAB_CONFIG, ["problems.limit=3", "seed=1", "strategy.n=8"]))
    other = prepare(load(LAB_CONFIG, ["problems.limit=3", "problems.split=bins"]))
    assert dataset(prepared) == dataset(again)
    assert dataset(prepared).digest != dataset(other).digest
    assert (dataset(prepared).name, dataset(prepared).problems) == ("lab test", 3)


def test_the_table_of_problems_is_as_pandas_splits_it(tmp_path):
    path = tmp_path / "problems.json"
    write_table([result(solution("0", True)), result(error="ValueError: no")], path)
    table = json.loads(path.read_text())
    first, second = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (first["any solution right"], first["solutions"]) == (True, 1)
    assert (second["right, majority"], second["error"]) == (False, "ValueError: no")


def test_odd_and_long_parameters_of_a_users_strategy_stay_in_one_short_line():
    words = strategy_words({"name": "own.py:mine", "prompt": "Think.\n| `x`" + "y" * 5000, "z": "w" * 500})
    assert words.startswith("own.py:mine prompt=Think.\\n| `x`yyy")
    assert len(words) < 160
    config = load(LAB_CONFIG)
    config.strategy.update(name="own.py:mine", prompt="Think.\n| `x`")
    assert "\n" not in title(config)
    assert "`own.py:mine " in description(config, "lab-1")
    assert "'x'`" in description(config, "lab-1")


def test_a_description_is_no_longer_than_mlflow_keeps():
    group = Group(1, {"majority": wilson(1, 1)}, wilson(1, 1))
    many = replace(found(), by="kind", groups={"kind": {f"{i}" + "k" * 300: group for i in range(60)}})
    told = description(load(LAB_CONFIG), "lab-1", many)
    assert len(told) < 8000
    assert "more rows |" in told
    assert told.rstrip().endswith("`runs/lab-1`.")


def test_names_of_groups_are_those_that_mlflow_takes_and_none_is_lost():
    names = plain_names(["a/b", "a_b", "", ".", "..", "v" * 300, "v" * 301, "ü", "a/b"])
    assert names == {
        **{"a/b": "a_b", "a_b": "a_b 2", "": "_", ".": "_ 2", "..": "__", "ü": "ü"},
        **{"v" * 300: "v" * 100, "v" * 301: "v" * 100 + " 2"},
    }


def test_a_long_template_leaves_the_dataset_as_long_as_mlflow_takes():
    config = load(LAB_CONFIG, ["problems.limit=2"])
    prepared = prepare(config)
    config.problems.template = "{problem}" + "x" * 100_000
    assert len(dataset(prepared).source) < 10_000
