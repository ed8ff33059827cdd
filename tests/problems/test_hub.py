"""Data sets of the hub: a copy in a directory is read as it lies there; what the hub says is one line."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import httpx
import pytest
from huggingface_hub import errors

from orchestrator.errors import BadInput
from orchestrator.problems import hub
from orchestrator.problems.hub import read
from orchestrator.problems.problem import Wanted


def put(directory, *places):
    """Files of one problem each, whose answer is where the file is."""
    for place in places:
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            path.write_text(f"Question,Answer\n?,{place}\n")
        else:
            path.write_text(json.dumps({"question": "?", "answer": place}) + "\n")
    return str(directory)


def answers(path, **wanted):
    return [problem.answer for problem in read(Wanted(path, **wanted))]


def refused(path, **wanted):
    with pytest.raises(BadInput) as error:
        read(Wanted(path, **wanted))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_split_by_the_name_of_its_file(tmp_path):
    path = put(tmp_path / "set", "test.jsonl", "train.jsonl", "README.md", ".cache/test.jsonl")
    assert answers(path) == ["test.jsonl"]
    assert answers(path, split="train") == ["train.jsonl"]
    assert "problems.split: 'dev' is not usable; allowed: test or train" in refused(path, split="dev")
    assert read(Wanted(path))[0].id == "set-00000"


def test_shards_in_order_and_as_one_table(tmp_path):
    shards = [f"data/train-0000{i}-of-00003.jsonl" for i in range(3)]
    path = put(tmp_path, *reversed(shards), "data/test-00000-of-00001.jsonl")
    assert answers(path, split="train") == shards
    assert answers(path, split="train", limit=2) == shards[:2]


def test_a_subset_is_a_directory_or_a_file(tmp_path):
    path = put(tmp_path / "gsm8k", "main/test-00000-of-00001.jsonl", "socratic/test-00000-of-00001.jsonl")
    assert answers(path, subset="socratic") == ["socratic/test-00000-of-00001.jsonl"]
    assert (
        "problems.subset: null is not usable; several tables have this split; allowed: main or socratic"
        in (refused(path))
    )
    assert "problems.subset: 'Main'" in refused(path, subset="Main")
    gpqa = put(tmp_path / "gpqa", "gpqa_diamond.csv", "gpqa_main.csv")
    assert answers(gpqa, subset="gpqa_diamond", split="train") == ["gpqa_diamond.csv"]
    assert "problems.split: 'test' is not usable; allowed: train" in refused(gpqa, subset="gpqa_diamond")


def test_a_split_in_two_formats_is_not_read_twice(tmp_path):
    said = refused(put(tmp_path, "test.jsonl", "test.csv"))
    assert f"several files have this split; allowed: {tmp_path}/test.csv or {tmp_path}/test.jsonl" in said
    path = put(tmp_path / "dots", "v1.0-test.jsonl", "v1.1-test.jsonl")
    assert "problems.subset: null is not usable; several tables" in refused(path)
    assert answers(path, subset="v1.1-test") == ["v1.1-test.jsonl"]


def test_other_words_for_a_split_and_a_split_of_ones_own(tmp_path):
    assert answers(put(tmp_path / "a", "val.jsonl", "train.jsonl"), split="validation") == ["val.jsonl"]
    assert answers(put(tmp_path / "b", "aime25.jsonl", "train.jsonl"), split="aime25") == ["aime25.jsonl"]
    assert answers(put(tmp_path / "c", "contest.jsonl", "protest.jsonl"), split="contest") == [
        "contest.jsonl"
    ]


def test_one_file_and_a_directory_of_none(tmp_path):
    put(tmp_path, "any.jsonl")
    assert answers(str(tmp_path / "any.jsonl"), split="whatever") == ["any.jsonl"]
    (tmp_path / "empty").mkdir()
    assert "allowed: a directory with files .jsonl" in refused(str(tmp_path / "empty"))
    assert "a directory has none" in refused(str(tmp_path), revision="main")


def test_what_is_neither_there_nor_a_name_of_the_hub(tmp_path):
    for path in ("/nowhere/at/all", "a/b/c", "./x", "a b"):
        assert "needed: a data set of the hub (owner/name), or an existing" in refused(path)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in refused("owner/name")


@pytest.fixture
def package(monkeypatch):
    """Stands in for the package, which not every machine has, and the hub, which none here reaches."""
    module = ModuleType("datasets")
    asked = []

    def load_dataset(*arguments, **named):
        asked.append((arguments, named, module.config.HF_HUB_OFFLINE))
        if module.error is not None:
            raise module.error
        return [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(5)]

    module.load_dataset, module.asked, module.error = load_dataset, asked, None
    module.config = SimpleNamespace(HF_HUB_OFFLINE=False)
    module.disable_progress_bars = lambda: None
    module.logging = SimpleNamespace(set_verbosity_error=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", module)
    module.hub_says = None

    def dataset_info(self, name, *, revision, timeout):
        assert timeout <= 10
        if module.hub_says is not None:
            raise module.hub_says

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
    return module


def test_a_set_of_the_hub(package):
    found = read(Wanted("openai/gsm8k", subset="main", split="test", revision="abc", limit=2))
    assert [(p.id, p.prompt, p.answer) for p in found] == [
        ("gsm8k-00000", "0?", "0"),
        ("gsm8k-00001", "1?", "1"),
    ]
    assert package.asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": "abc"}, False)]


def test_a_hub_that_is_not_reached_leaves_this_machines_copy(package):
    package.hub_says = httpx.ConnectError("no route")
    assert len(read(Wanted("openai/gsm8k"))) == 5
    assert package.asked[0][2] is True
    assert package.config.HF_HUB_OFFLINE is False
    package.error = ConnectionError("Couldn't reach")
    said = refused("openai/gsm8k")
    assert "this machine has no copy of it, and the hub cannot be reached (ConnectError: no route)" in said


def response(status):
    return httpx.Response(status, request=httpx.Request("GET", "https://hub"))


def test_what_the_hub_refuses_is_one_line(package):
    package.hub_says = errors.RepositoryNotFoundError("404\nmore", response=response(404))
    assert "the hub has no such data set, or it is private" in refused("owner/none")
    package.hub_says = errors.GatedRepoError("403\nmore", response=response(403))
    assert "it is gated: ask for access on its page, and set HF_TOKEN" in refused("Idavidrein/gpqa")
    package.hub_says = errors.RevisionNotFoundError("404\nmore", response=response(404))
    assert "problems.revision: 'v9' is not usable; openai/gsm8k has no such" in refused(
        "openai/gsm8k", revision="v9"
    )
    assert package.asked == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError(
                "Config name is missing.\nPlease pick one among the available configs: ['main', 'socratic']"
            ),
            "problems.subset: null is not usable; allowed: main or socratic",
        ),
        (
            ValueError("BuilderConfig 'x' not found. Available: ['main', 'socratic']"),
            "problems.subset: null is not usable; allowed: main or socratic",
        ),
        (
            ValueError("Unknown split \"test\". Should be one of ['train']."),
            "problems.split: 'test' is not usable; allowed: train",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported\nbut"),
            "it does not load (RuntimeError: Dataset scripts",
        ),
    ],
)
def test_what_the_package_refuses_is_one_line_with_the_key(package, error, said):
    package.error = error
    assert said in refused("openai/gsm8k")


def test_the_package_itself_reads_a_set_that_it_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"question": "?", "answer": "#### 3"}])
    datasets.DatasetDict({"test": table}).save_to_disk(str(tmp_path / "saved"))
    assert answers(str(tmp_path / "saved")) == ["3"]
    assert "allowed: test" in refused(str(tmp_path / "saved"), split="train")
    table.save_to_disk(str(tmp_path / "one"))
    assert answers(str(tmp_path / "one")) == ["3"]


def test_offline_the_package_itself_refuses_at_once(monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setattr(hub, "_unreachable", lambda name, revision: "ConnectError: no route")
    assert "this machine has no copy of it" in refused("ttc-tests/there-is-no-such-set")
