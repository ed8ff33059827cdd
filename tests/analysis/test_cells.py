"""Stored runs come back as the columns they were."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from orchestrator.analysis.cells import SETTING, correct_by_aggregation
from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.options import options, short
from orchestrator.analysis.store import Experiment, load, load_directory, read_cell
from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.schema import to_dict
from orchestrator.errors import BadInput
from orchestrator.report.evidence import Group, gather
from orchestrator.report.series import series
from orchestrator.report.tables import accuracy_table, runs_table
from orchestrator.runs.results_file import write_parquet
from orchestrator.search.context import Usage
from orchestrator.search.selection import AGGREGATIONS, RULES, Candidate
from orchestrator.tracking.tracker import local_uri
from tests.support.stored import cell, lab_config, result, sampled, solution, store

P = (1.0, 0.6, 0.3, 0.05)


def stored(tmp_path: Path, results, name: str = "r.parquet"):
    write_parquet(results, tmp_path / name)
    config = {"seed": 0, "strategy": {"name": "best_of_n", "n": 4}, "generator": {"model": "g"}}
    return read_cell("r", "cell", config, 4000.0, 1.0, tmp_path / name)


def test_a_cell_has_each_problems_outcome_and_cost(tmp_path):
    results = sampled(P, 8, seed=1)
    read = stored(tmp_path, results)
    assert read.problems == tuple(r.problem.id for r in results)
    assert read.budget == 1000.0
    for rule in RULES:
        assert read.correct[rule].tolist() == [r.correct[rule] for r in results]
    assert read.covered.tolist() == [r.covered for r in results]
    assert read.flops.tolist() == [r.usage.flops for r in results]
    assert read.costs["verifier_tokens"].tolist() == [r.usage.verifier_tokens for r in results]
    assert (read.setting["generator.model"], read.setting["verifier.model"]) == ("g", None)


def test_what_generative_selection_took_is_no_cost_of_the_free_rules_nor_of_a_sample(tmp_path):
    chosen = Usage(
        generator_flops=600, verifier_flops=50, generator_tokens=40, selection_flops=500, selection_tokens=30
    )
    read = stored(tmp_path, [result("a", [solution(0, True), solution(1, False)], chosen)])
    assert read.flops.tolist() == [650]
    free = read.without_selection()
    assert {name: cost.tolist() for name, cost in free.costs.items()} == {
        "flops": [150],
        "generator_flops": [100],
        "verifier_flops": [50],
        "generator_tokens": [10],
        "verifier_tokens": [0],
    }
    assert free.without_selection() is free
    # Of the ten tokens of prompt and samples, the second sample has three.
    assert estimate_flops(read, 1, "generator_flops").tolist() == [pytest.approx(70)]


def test_an_older_table_tells_the_tokens_of_selection_by_its_flops(tmp_path):
    chosen = Usage(generator_flops=600, generator_tokens=60, selection_flops=500, selection_tokens=50)
    stored(tmp_path, [result("a", [solution(0, True)], chosen)])
    table = pq.read_table(tmp_path / "r.parquet").drop_columns("selection_tokens")
    pq.write_table(table, tmp_path / "r.parquet")
    config = {"seed": 0, "strategy": {"name": "best_of_n", "n": 4}, "generator": {"model": "g"}}
    read = read_cell("r", "cell", config, 4000.0, 1.0, tmp_path / "r.parquet")
    assert read.without_selection().costs["generator_tokens"].tolist() == [10]


def test_a_report_without_a_rule_is_of_a_group_with_scores_where_there_is_one():
    scored = cell([1, 0] * 5, 100.0)
    plain = cell([1, 0] * 5, 50.0, rule="majority")
    plain = replace(plain, config={**plain.config, "verifier": {"model": None}})
    others = [
        replace(plain, config={**plain.config, "strategy": {"name": "best_of_n", "n": n}}) for n in (4, 8)
    ]
    evidence = gather(Experiment("x", [*others, scored], []))
    assert (evidence.rule, evidence.main.models["verifier.model"]) == ("weighted", "v")
    assert [evidence.rule_of(group) for group in evidence.groups] == ["weighted", "majority"]


def test_a_report_counts_what_selection_took_by_its_own_rule_alone():
    found = cell([1, 0] * 10, 700.0)
    costs = found.costs | dict.fromkeys(("selection_flops", "selection_tokens"), np.full(20, 300.0))
    right = found.correct["weighted"]
    found = replace(found, costs=costs, correct=dict.fromkeys(("majority", "generative"), right))
    by_majority = gather(Experiment("x", [found], []))
    assert (by_majority.rule, by_majority.main.options[0].flops) == ("majority", 400.0)
    by_itself = gather(Experiment("x", [found], []), "generative")
    assert by_itself.main.options[0].flops == 700.0
    dear = replace(cell([1, 0] * 10, 500.0, strategy={"name": "best_of_n", "n": 8}), correct=found.correct)
    sizes = [option.strategy["n"] for option in gather(Experiment("x", [dear, found], [])).main.options]
    assert sizes == [4, 8], "by what they cost then"


def test_a_run_of_many_problems_is_compared_and_not_two_of_few():
    few = [cell([1, 0], 100.0, strategy={"name": "best_of_n", "n": n}) for n in (1, 2)]
    many = cell([1, 0] * 8, 100.0, strategy={"name": "beam_search", "n": 4})
    evidence = gather(Experiment("x", [*few, many], []), "weighted")
    assert [option.strategy["name"] for option in evidence.main.options] == ["beam_search"]
    assert len(evidence.left_out) == 2


def test_solutions_come_back_in_order_even_where_a_problem_has_none(tmp_path):
    results = [
        result("a", [solution(0, True, (0.1, 0.9)), solution(1, False)]),
        result("b", []),
        result("c", [solution(0, False, answer="x")]),
    ]
    solutions = stored(tmp_path, results).solutions
    assert solutions.problem.tolist() == [0, 0, 2]
    assert solutions.path == ["0", "1", "0"]
    assert solutions.answer == ["right", "wrong1", "x"]
    assert solutions.correct.tolist() == [True, False, False]
    assert solutions.score.tolist() == [0.9, 0.5, 0.5]
    assert solutions.step_scores == [[0.1, 0.9], [0.5], [0.5]]
    assert solutions.tokens.tolist() == [3, 3, 3]


def test_every_rule_is_recomputed_under_every_aggregation(tmp_path):
    results = sampled(P * 5, 6, seed=3)
    chosen = correct_by_aggregation(stored(tmp_path, results))
    assert len(chosen) == 1 + 2 * 3
    for (rule, aggregation), right in chosen.items():
        aggregate = AGGREGATIONS[aggregation if aggregation != "-" else "last"]
        expected = []
        for each in results:
            voters = [Candidate(s.answer, aggregate(s.step_scores), path=s.path) for s in each.solutions]
            expected.append(RULES[rule](voters) == "right")
        assert right.tolist() == expected
    assert any((chosen["best", "last"] != chosen["best", "min"]).tolist())


def test_options_are_one_configuration_over_its_seeds_and_the_cheapest_comes_first():
    beam = {"name": "beam_search", "n": 4, "width": 2}
    cells = [
        cell([1, 1], 300, strategy=beam, seed=0),
        cell([1, 0], 100, seed=1),
        cell([0, 0], 200, seed=0),
        cell([1, 1], 500, seed=0, budget=2000.0),
    ]
    found = options(cells)
    assert [(o.label, o.seeds, o.budget) for o in found] == [
        ("best_of_n n=4", (0, 1), 1000.0),
        ("beam_search n=4", (0,), 1000.0),
        ("best_of_n n=4", (0,), 2000.0),
    ]
    assert found[0].correct("weighted").tolist() == [0.5, 0.0]
    assert found[0].cost().tolist() == [150.0, 150.0]
    assert found[0].cost("verifier_flops").tolist() == [75.0, 75.0]


def test_a_label_names_the_parameters_that_vary():
    strategies = [{"name": "beam_search", "n": 4, "width": w, "max_rounds": 40} for w in (2, 4)]
    assert [o.label for o in options(cell([1], strategy=s) for s in strategies)] == [
        "beam_search n=4 width=2",
        "beam_search n=4 width=4",
    ]


def test_cells_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="other problems"):
        options([cell([1, 0]), cell([1])])


def test_a_run_that_was_made_again_counts_once():
    (option,) = options([cell([1, 0]), cell([0, 0])])
    assert option.correct("weighted").tolist() == [0.0, 0.0]


def test_a_setting_is_every_key_that_results_depend_on():
    """Those of the fingerprint, so that a new key cannot be forgotten."""
    config = lab_config("allocation.name=adaptive")
    config.judge.model = "j"
    config.selection.generative = True
    flat = {
        f"{s}.{k}": v
        for s, keys in to_dict(config).items()
        if isinstance(keys, dict)
        for k, v in keys.items()
    }

    unchanged = fingerprint(config)

    def changed(key: str) -> bool:
        value, other = flat[key], f"{flat[key] or ''}3"  # type: object, object
        if isinstance(value, bool | list | dict):
            other = {bool: not value, list: ["1"], dict: {"x": 1}}[type(value)]
        section, _, name = key.partition(".")
        again = deepcopy(config)
        setattr(getattr(again, section), name, other)
        return fingerprint(again) != unchanged

    apart = ("strategy.", "budget.")
    which = {f"problems.{key}" for key in ("source", "split", "path", "limit", "subset", "revision")}
    which |= {"problems.columns", "problems.options"}
    elsewhere = (".engine", ".resources", ".endpoint")
    keys = [key for key in flat if not key.startswith(apart) and not key.endswith(elsewhere)]
    at_a_server = {"generator.endpoint.model", "judge.endpoint.model"}
    only_in_shares = {"allocation.pass_on"}
    assert {key for key in keys if changed(key)} | at_a_server | only_in_shares == set(SETTING) | which
    shown = replace(cell([1]), config=to_dict(config)).setting
    assert shown == {key: None if key in only_in_shares else flat.get(key) for key in SETTING}


def test_whether_shares_are_passed_on_tells_options_apart_and_an_earlier_run_passed_none_on():
    def of(*overrides: str, later: bool = True):
        held = to_dict(lab_config("strategy={name: best_of_n, n: 4}", *overrides))
        if not later:
            del held["allocation"]["pass_on"]
        return replace(cell([1]), config=held)

    earlier, fixed = of(later=False), of("allocation.pass_on=false")
    assert earlier.setting == fixed.setting
    found = [option.label for option in options([earlier, fixed, of(), of("allocation.name=adaptive")])]
    assert sorted(found) == ["best_of_n n=4", "best_of_n n=4 pass_on=False", "best_of_n n=4 pass_on=True"]


def test_of_a_server_only_the_models_name_counts():
    url = "generator.endpoint.url=http://a/v1"
    here, there, other = (
        lab_config(url),
        lab_config("generator.endpoint.url=http://b/v1", "generator.endpoint.concurrency=2"),
        lab_config(url, "generator.endpoint.model=other"),
    )
    assert fingerprint(here) == fingerprint(there)
    assert len({fingerprint(lab_config()), fingerprint(here), fingerprint(other)}) == 3
    assert replace(cell([1]), config=to_dict(other)).models["generator.endpoint.model"] == "other"


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (
            "reviser",
            [{"format": "plain"}, {"format": "self_critique"}],
            ["reviser format=plain", "reviser format=self_critique"],
        ),
        ("reviser", [{"model": "/m/one"}, {"model": "/m/two"}], ["reviser=one", "reviser=two"]),
        (
            "allocation",
            [{"name": "adaptive", "confidence": c} for c in (0.8, 0.9)],
            ["allocation confidence=0.8", "allocation confidence=0.9"],
        ),
    ],
)
def test_what_differs_in_reviser_and_allocation_is_another_option_and_says_so(section, values, words):
    base = cell([1, 0], strategy={"name": "revisions", "n": 4, "length": 2})
    cells = [replace(base, config={**base.config, section: value}) for value in values]
    assert [option.label for option in options(cells)] == [f"revisions n=4 {word}" for word in words]
    # Under another allocation its own keys say nothing.
    uniform = replace(base, config={**base.config, "allocation": {"name": "uniform"}})
    adaptive = replace(base, config={**base.config, "allocation": {"name": "adaptive", "confidence": 0.9}})
    assert [option.label for option in options([uniform, adaptive])] == ["revisions n=4"] * 2
    group = Group(base.models, options(cells))
    assert [curve.label for curve in series(group)] == [
        f"revisions {word}" + (" adaptive" if section == "allocation" else "") for word in words
    ]
    assert cells[0].models == cells[1].models


def test_a_uniform_allocation_does_not_depend_on_how_an_adaptive_one_decides():
    base = cell([1, 0])
    cells = [
        replace(base, config={**base.config, "allocation": {"name": "uniform", "confidence": c}})
        for c in (0.8, 0.9)
    ]
    assert len(options(cells)) == 1


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("verifier", "kind"),
        ("verifier", "aggregation"),
        ("generator", "max_tokens"),
        ("problems", "template"),
    ],
)
def test_runs_of_other_settings_are_groups_apart_and_their_rows_say_what_differs(section, key):
    base = cell([1, 0], rule="weighted")
    base = replace(base, correct={**base.correct, "majority": base.correct["weighted"]})
    cells = [
        replace(
            base, run_id=value, config={**base.config, section: {**base.config.get(section, {}), key: value}}
        )
        for value in ("one", "two")
    ]
    evidence = gather(Experiment("study", cells, []))
    assert len(evidence.groups) == 2
    for table in (accuracy_table(evidence), runs_table(evidence)):
        column = list(table.columns).index(short(f"{section}.{key}"))
        assert [row[column] for row in table.rows] == ["one", "two"]
    assert not evidence.left_out


def test_an_experiment_comes_back_from_mlflow_and_from_its_directory(tmp_path):
    uri = local_uri(tmp_path)
    configs = [
        lab_config(f"seed={seed}", "strategy.name=best_of_n", f"strategy.n={n}", "budget.flops=8000")
        for seed, n in ((0, 2), (1, 2), (9, 8))
    ]
    configs.append(lab_config("strategy.name=best_of_n", "strategy.n=2", "budget.flops=8000"))
    for config, name in zip(configs, ("a", "b", "difficulty", "label"), strict=True):
        role = name if name in ("difficulty", "label") else "cell"
        first, *others = sampled(P, config.strategy["n"], config.seed)
        usage = replace(first.usage, compared=30, copies=20, unscored=3)
        store(tmp_path / "study" / name, uri, config, [replace(first, usage=usage), *others], role=role)

    found, same = load("lab", uri), load_directory(tmp_path / "study")
    for experiment in (found, same):
        assert [c.run_id for c in experiment.cells] == ["a", "b"]
        for each in experiment.cells:
            assert each.counts == {"unscored": 3, "skipped": 0, "compared": 30, "copies": 20}
            assert (each.seconds, each.budget) == (1.0, 2000.0)
        (difficulty,) = experiment.difficulty
        assert difficulty.strategy == {"name": "best_of_n", "n": 8}
        assert np.bincount(difficulty.solutions.problem).tolist() == [8] * 4
        (option,) = options(experiment.cells)
        assert (option.seeds, option.budget) == ((0, 1), 2000.0)

    with pytest.raises(BadInput, match="lab"):
        load("elsewhere", uri)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("lab").experiment_id)
    with pytest.raises(BadInput, match="was deleted there; to restore it: mlflow experiments restore"):
        load("lab", uri)
    with pytest.raises(BadInput, match="no finished run"):
        load_directory(tmp_path / "nothing")
