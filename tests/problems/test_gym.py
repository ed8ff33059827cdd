"""Puzzles of reasoning_gym: made the same each time, with what their scorer needs as the answer."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from orchestrator.errors import BadInput
from orchestrator.problems.gym import read
from orchestrator.problems.problem import Wanted
from tests.support.gym import Sums


@pytest.fixture
def package(monkeypatch):
    """Stands in for the package, which not every machine has: one family with its interface."""
    module, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    factory.DATASETS = {"sums": (Sums, None, None), "products": (Sums, None, None)}
    factory.create_dataset = lambda name, **options: Sums(**options)
    monkeypatch.setitem(sys.modules, "reasoning_gym", module)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)


def refused(**wanted):
    with pytest.raises(BadInput) as error:
        read(Wanted(**wanted))
    return str(error.value)


def test_a_familys_puzzles(package):
    found = read(Wanted("sums", limit=3, options={"terms": 3}))
    assert [problem.id for problem in found] == [f"sums-0-0000{i}" for i in range(3)]
    assert found[1].prompt == "1 + 1 + 1 = ?"
    assert json.loads(found[1].answer) == {
        "answer": "3",
        "family": "sums",
        "options": {"seed": 0, "size": 3, "terms": 3},
        "index": 1,
        "question": "1 + 1 + 1 = ?",
        "metadata": {"index": 1, "difficulty": {"terms": 3}, "day": "2024-05-06"},
    }
    assert found[1].attributes == (("index", 1), ("day", "2024-05-06"))
    assert read(Wanted("sums", limit=3, options={"terms": 3})) == found


def test_size_and_seed_are_options(package):
    found = read(Wanted("sums", options={"size": 4, "seed": 9}))
    assert [problem.id for problem in found] == [f"sums-9-0000{i}" for i in range(4)]
    assert found[0].prompt == "9 + 9 = ?"
    assert len(read(Wanted("sums", limit=2, options={"size": 4}))) == 2
    assert len(read(Wanted("sums"))) == 500


def test_what_is_no_family_or_no_option_is_one_line(package):
    assert "problems.path: 'sum' is not usable; allowed: sums" in refused(path="sum")
    assert "problems.options: {'speed': 1} is not usable; sums: TypeError" in refused(
        path="sums", options={"speed": 1}
    )
    assert "AssertionError: terms must be positive" in refused(path="sums", options={"terms": 0})
    assert "problems.options.size: 0" in refused(path="sums", options={"size": 0})


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", None)
    assert "pip install reasoning-gym" in refused(path="sums")


def test_the_package_itself():
    pytest.importorskip("reasoning_gym")
    (problem,) = read(Wanted("basic_arithmetic", limit=1, options={"min_terms": 2, "max_terms": 2}))
    assert json.loads(problem.answer)["question"] == problem.prompt
    assert "basic_arithmetic" in refused(path="basic_arithmetics")
