"""The cells of a sweep: the product of its lists, each checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.preparation import fingerprint
from orchestrator.errors import BadInput
from orchestrator.runs import grid
from tests.support.paths import LAB_CONFIG, ROOT

SECTION = """
  strategies:
    - {name: best_of_n, n: "${budget.generations}"}
    - {name: beam_search, n: "${budget.generations}", width: 2, generator.temperature: 0.7}
  grid:
    budget.generations: [2, 4]
    seed: [0, 1]
"""


def sweep(directory: Path, section: str = SECTION, *overrides: str) -> grid.Grid:
    path = directory / "sweep.yaml"
    path.write_text(f"base: {LAB_CONFIG}\nname: s\nproblems: {{limit: 2}}\nsweep: {section}")
    return grid.read(path, [f"runs={directory}/runs", *overrides])


def test_the_cells_are_the_product_and_a_strategy_follows_the_budget(tmp_path):
    cells = sweep(tmp_path).cells
    assert len(cells) == 8
    found = {
        (c.config.strategy["name"], c.config.strategy["n"], c.config.budget.generations, c.config.seed)
        for c in cells
    }
    assert found == {(s, n, n, seed) for s in ("best_of_n", "beam_search") for n in (2, 4) for seed in (0, 1)}
    assert {(c.config.strategy["name"], c.config.generator.temperature) for c in cells} == {
        ("best_of_n", 1.0),
        ("beam_search", 0.7),
    }
    assert all(cell.config.budget.units == ["generations"] for cell in cells)


def test_a_cells_budget_is_its_problems_own_unless_what_they_leave_is_to_be_passed_on(tmp_path):
    assert not any(cell.config.allocation.pass_on for cell in sweep(tmp_path).cells)
    assert all(c.config.allocation.pass_on for c in sweep(tmp_path, SECTION, "allocation.pass_on=true").cells)


def test_a_cells_key_is_its_own_names_a_directory_and_depends_on_its_overrides_alone(tmp_path):
    keys = [cell.key for cell in sweep(tmp_path).cells]
    assert len(set(keys)) == 8
    assert all("/" not in key and key == Path(key).name for key in keys)
    more = sweep(tmp_path, SECTION.replace("[2, 4]", "[2, 4, 8]").replace("[0, 1]", "[1, 0]"), "seed=5")
    assert set(keys) <= {cell.key for cell in more.cells}


def test_a_label_names_what_a_cell_is_told_by_and_leaves_out_budget_and_seed(tmp_path):
    section = """
  strategies: [{name: best_of_n, n: 9, allocation.name: adaptive}]
  models: [{verifier.model: "${lab:prm-weak}"}]
  grid: {budget.generations: [4], generator.temperature: [0.5], seed: [0]}
"""
    (cell,) = sweep(tmp_path, section).cells
    assert cell.label == "best_of_n n=9 verifier=prm-weak allocation=adaptive temperature=0.5"


def test_a_strategys_own_list_is_an_axis_in_place_of_the_grids(tmp_path):
    section = """
  strategies:
    - {name: best_of_n, n: 2}
    - {name: best_of_n, n: 8, allocation.name: adaptive, budget.generations: [3, 5, 7]}
  grid:
    budget.generations: [2, 4]
    seed: [0, 1]
"""
    cells = [cell.config for cell in sweep(tmp_path, section).cells]
    found = [(c.allocation.name, c.budget.generations, c.seed) for c in cells]
    assert len(found) == 2 * 2 + 3 * 2
    assert [each for each in found if each[0] == "uniform"] == [
        ("uniform", n, seed) for n in (2, 4) for seed in (0, 1)
    ]
    assert [each for each in found if each[0] == "adaptive"] == [
        ("adaptive", n, seed) for n in (3, 5, 7) for seed in (0, 1)
    ]


def test_each_pair_of_models_has_one_run_for_difficulty_with_a_seed_and_a_budget_of_its_own(tmp_path):
    models = SECTION + '  models: [{verifier.model: "${lab:prm}"}, {verifier.model: "${lab:prm-weak}"}]\n'
    cells = sweep(tmp_path, models + "  difficulty: {samples: 8}\n").cells
    binning = [cell for cell in cells if cell.role == "difficulty"]
    assert len(cells) == 2 * 8 + 2
    assert [Path(str(cell.config.verifier.model)).name for cell in binning] == ["prm", "prm-weak"]
    for cell in binning:
        assert cell.key.startswith("difficulty")
        assert cell.config.strategy == {"name": "best_of_n", "n": 8}
        assert (cell.config.seed, cell.config.budget.generations) == (977, 8)
    assert not [c for c in sweep(tmp_path, models, "sweep.difficulty=null").cells if c.role == "difficulty"]


def test_the_source_of_a_sweep_is_the_same_sweep(tmp_path):
    first = sweep(tmp_path, SECTION + "  difficulty: {samples: 8}\n", "generator.temperature=0.9")
    (tmp_path / "again.yaml").write_text(first.source)
    again = grid.read(tmp_path / "again.yaml")
    assert [cell.key for cell in again.cells] == [cell.key for cell in first.cells]
    assert [fingerprint(c.prepared) for c in again.cells] == [fingerprint(c.prepared) for c in first.cells]


@pytest.mark.parametrize(
    ("section", "key", "allowed"),
    [
        ("{strategies: [{name: beam}]}", "cell beam-", "beam_search"),
        ("{strategies: [{name: best_of_n, m: 3}]}", "cell best_of_n-m=3-", "best_of_n takes n"),
        ("{strategies: [best_of_n], grid: {seed: [0, x]}}", "cell best_of_n-seed=x-", "a whole number"),
        ("{grid: {generator.modle: [a]}}", "cell modle=a-", "model"),
        ("{grid: {budget.generations: [0]}}", "cell generations=0-", "a positive number"),
        ("{grid: {seed: 3}}", "sweep.grid.seed", "a list"),
        ("{grid: {seed: []}}", "sweep.grid.seed", "one value or more"),
        ("{grid: {seed: [1, 1]}}", "sweep", "each combination once"),
        ("{grid: {runs: [a, b]}}", "sweep: runs", "share"),
        ("{grid: {tracking.uri: [a, b]}}", "sweep: tracking.uri", "share"),
        ("{strategies: [3]}", "sweep.strategies", "mappings"),
        ("{models: [a]}", "sweep.models", "mappings"),
        ("{budgets: [1]}", "sweep.budgets", "strategies, grid"),
        ("{grid: {seed: [1, 977]}, difficulty: {}}", "sweep.difficulty.seed: 977", "a seed that no cell has"),
        ("{grid: {seed: [1]}, difficulty: {samples: 0}}", "sweep.difficulty.samples", "1 or more"),
        ("{}", "sweep", "strategies, grid or models"),
    ],
)
def test_what_is_wrong_names_the_cell_or_the_key(tmp_path, section, key, allowed):
    with pytest.raises(BadInput) as error:
        sweep(tmp_path, section)
    assert str(error.value).startswith(key)
    assert allowed in str(error.value)


def test_a_file_for_a_sweep_is_not_one_run_and_the_other_way_round(tmp_path):
    from orchestrator.config.loading import load

    sweep(tmp_path)
    with pytest.raises(BadInput, match="ttc sweep"):
        load(tmp_path / "sweep.yaml")
    with pytest.raises(BadInput, match="needed: a section"):
        grid.read(LAB_CONFIG)


@pytest.mark.parametrize(
    ("name", "problems", "cells", "difficulty"),
    [
        ("lab-methods", "test", 16 * 3 + 2 + 2 + 2 + 5, 1),
        ("lab-copies", "test", 7 * 3, 1),
        ("lab-sweep", "bins", 3 * 3 + 2 * 3 + 1, 1),
        ("lab-allocation", "test", 22 * 3, 1),
        ("lab-claims", "test", 6 * 3, 0),
        ("lab-long", "test", 10 * 3, 1),
    ],
)
def test_the_examples_are_sweeps(name, problems, cells, difficulty, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = grid.read(ROOT / "configs" / f"{name}.yaml", ["problems.limit=2"])
    assert len([cell for cell in found.cells if cell.role == "cell"]) == cells
    assert len([cell for cell in found.cells if cell.role == "difficulty"]) == difficulty
    assert {cell.config.problems.split for cell in found.cells} == {problems}


def test_cells_share_their_problems_and_prompts(tmp_path):
    section = "{grid: {seed: [0, 1], problems.limit: [2, 3]}}"
    cells = sweep(tmp_path, section).cells
    prompts = {(len(cell.prepared.prompts), id(cell.prepared.prompts)) for cell in cells}
    assert sorted(count for count, _ in prompts) == [2, 3], "one list for each set of problems"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("5", "sweep: 5 is not usable; allowed: a section with keys such as sweep.strategies"),
        ("null", "sweep: null is not usable; allowed: a section with keys such as sweep.strategies"),
        (
            "{strategies: {name: best_of_n}}",
            "sweep.strategies: {'name': 'best_of_n'} is not usable; allowed: a l",
        ),
        ("{strategies: [5]}", "sweep.strategies: 5 is not usable; allowed: a list of names and mappings"),
        ("{grid: 5}", "sweep.grid: 5 is not usable; allowed: a mapping of keys to values"),
        ("{models: 3}", "sweep.models: 3 is not usable; allowed: a list"),
        (
            "{difficulty: 5}",
            "sweep.difficulty: 5 is not usable; allowed: a section with keys such as sweep.diff",
        ),
        (
            "{difficulty: {samples: x}}",
            "sweep.difficulty.samples: 'x' is not usable; allowed: a whole number",
        ),
    ],
)
def test_what_a_section_of_a_sweep_cannot_hold_is_told_with_its_key_and_what_it_can(tmp_path, section, said):
    with pytest.raises(BadInput) as failed:
        sweep(tmp_path, section)
    assert said in str(failed.value)
