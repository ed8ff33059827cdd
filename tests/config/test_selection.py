"""The section ``selection``: what is wrong with it is told before the start, and what it changes."""

from __future__ import annotations

import pytest

from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.config.selection import TEMPLATE, kept_of
from orchestrator.errors import BadInput
from orchestrator.problems.problem import Problem
from orchestrator.runs.assembly import controller_of
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import ScriptedEngine
from tests.support.stored import lab_config

ON = "selection.generative=true"
SHORT = "selection.template='{problem}{solutions}'"
ROOM = "generator.engine.max_model_len=1024"


def prepared(tmp_path, *overrides: str):
    return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", ON, ROOM, *overrides]))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([ON, "selection.share=0"], "selection.share: 0.0 is not usable; allowed: above 0, less than 1"),
        ([ON, "selection.share=1"], "selection.share: 1.0 is not usable; allowed: above 0, less than 1"),
        ([ON, "selection.group=1"], "selection.group: 1 is not usable; allowed: 2 or more"),
        ([ON, "selection.candidates=1"], "selection.candidates: 1 is not usable; allowed: 2 or more"),
        ([ON, "selection.max_tokens=0"], "selection.max_tokens: 0 is not usable; allowed: 1 or more"),
        (
            [ON, "selection.template='{problem}'"],
            "selection.template: '{problem}' is not usable; it must contain {solutions}",
        ),
        (
            [ON, "allocation.name=adaptive"],
            "allocation.name: 'adaptive' is not usable; with selection.generative, which keeps a share of "
            "each problem's budget; allowed: uniform",
        ),
        (["selection.group=8"], "selection.group: 8 is not usable; allowed with selection.generative=true"),
    ],
)
def test_what_is_wrong_is_one_line(overrides, line):
    with pytest.raises(BadInput) as error:
        load(LAB_CONFIG, overrides)
    assert str(error.value) == line


def test_a_question_that_cannot_fit_is_refused_before_the_start(tmp_path):
    with pytest.raises(BadInput, match=r"selection\.max_tokens: 1000 .* the question about problem "):
        prepared(tmp_path, "selection.max_tokens=1000")


def test_the_question_is_filled_in_one_pass_and_a_reply_is_as_long_as_a_solution(tmp_path):
    found = prepared(tmp_path, SHORT).selection
    assert found is not None
    assert (found.group, found.candidates, found.writes, found.limit) == (4, 16, 48, 1024)
    problem = Problem("p", "1{solutions}", "1")
    tokens = found.tokens(problem, ["2", "3"])
    whole = found.codec.encode("1{solutions}" + "Solution 1:\n2\n\nSolution 2:\n3")
    assert tokens == whole
    assert all(name in TEMPLATE for name in ("{problem}", "{solutions}", "{count}"))


def test_the_share_is_kept_from_what_a_search_can_begin_with(tmp_path):
    config = lab_config(ON)
    assert kept_of(config.selection, 1001) == 250
    assert kept_of(lab_config().selection, 1001) == 0
    cost = prepared(tmp_path, "strategy={name: best_of_n, n: 1}").whole[0]
    enough = f"budget.flops={2 * 1.4 * cost}"
    prepared(tmp_path, "strategy={name: best_of_n, n: 1}", enough)
    with pytest.raises(BadInput, match=r"budget\.flops.*none buys a longest solution"):
        prepared(tmp_path, "strategy={name: best_of_n, n: 1}", enough, "selection.share=0.5")


def test_it_is_part_of_what_a_run_is_only_where_it_is_asked_for():
    assert fingerprint(lab_config()) != fingerprint(lab_config(ON))
    assert fingerprint(lab_config(ON)) != fingerprint(lab_config(ON, "selection.group=2"))


def test_a_run_has_what_chooses_only_where_it_is_asked_for(tmp_path):
    run = prepared(tmp_path)
    assert controller_of(run, ScriptedEngine(), None).chooser is not None  # type: ignore[arg-type]
    assert controller_of(run, ScriptedEngine(), None, chooses=False).chooser is None  # type: ignore[arg-type]
    without = prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2"]))
    assert without.selection is None
    assert controller_of(without, ScriptedEngine(), None).chooser is None  # type: ignore[arg-type]
