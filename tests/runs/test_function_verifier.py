"""A Python function as verifier: no engine, no FLOPs, one line where it does wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Lease
from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.errors import BadInput
from orchestrator.formats.function import FunctionFormat
from orchestrator.problems.problem import Problem
from orchestrator.runs.function_verifier import FunctionVerifier
from orchestrator.runs.session import pool_specs
from orchestrator.search.operations import Operations
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, ScriptedEngine, letters, setting

FILE = """
def share(problem, steps):
    assert problem == "1+1?"
    text = "".join(steps)
    return text.count("a") / max(1, len(text))

def each(problem, steps):
    return [step.count("a") / 3 for step in steps]

def few(problem, steps):
    return [0.5]

def broken(problem, steps):
    raise ValueError("no idea")

def outside(problem, steps):
    return [7.0] * len(steps)

def nothing(problem, steps):
    return [float("nan")] * len(steps)

def alone(problem):
    return 1.0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "score.py"
    path.write_text(FILE)
    return path


def searched(file: Path, function: str, *, whole: bool):
    engine = ScriptedEngine(letters(3))
    format = FunctionFormat(f"{file}:{function}", whole)
    transport = FunctionVerifier(engine, format)
    kind = "orm" if whole else "prm"
    context = replace(
        setting(engine),
        engine=transport,
        verifier=CostModel.free(),
        verifier_format=format,
        verifier_kind=kind,
    )
    ops = Operations(Problem("p", "1+1?", ""), CODEC.encode("1+1?"), Lease(10**12), context)
    return engine, ops


async def test_a_whole_solution_has_the_functions_score_and_costs_nothing(file):
    engine, ops = searched(file, "share", whole=True)
    nodes = await ops.sample(ops.root, 3, until="end")
    texts = ["".join(map(chr, node.tokens[4:])).rstrip("$").replace("\n", "") for node in nodes]
    assert [node.scores for node in nodes] == [(text.count("a") / len(text),) for text in texts]
    assert not engine.scores
    assert (ops.usage.verifier_flops, ops.usage.unscored) == (0, 0)
    assert ops._lease.settled == ops.usage.flops == ops.usage.generator_flops


async def test_each_step_has_one_as_a_path_grows(file):
    _, ops = searched(file, "each", whole=False)
    (one,) = await ops.sample(ops.root, 1)
    (two,) = await ops.sample(one, 1)
    assert [len(node.scores) for node in (one, two)] == [1, 2]
    assert two.scores[0] == one.scores[0]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("few", "few returned 1 scores; needed: a list of 3 numbers"),
        ("broken", "no idea"),
        ("outside", "needed: as many, each from 0 to 1"),
        ("nothing", "nan"),
    ],
)
async def test_what_a_function_does_wrong_is_told_with_its_name(file, function, words):
    _, ops = searched(file, function, whole=False)
    (node,) = await ops.sample(ops.root, 1, until="end")
    assert (node.scored, ops.usage.unscored) == (False, 1)
    assert re.search(words, str(ops.score_error))
    assert "p/score/0" in str(ops.score_error)


def test_it_is_checked_before_the_start_and_needs_no_engine(file, tmp_path):
    def run(function: str, *more: str):
        overrides = [f"verifier.model={file}:{function}", "strategy={name: best_of_n, n: 2}", *more]
        return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", *overrides]))

    prepared = run("share")
    assert (prepared.config.verifier.format, prepared.config.verifier.kind) == ("function", "orm")
    assert pool_specs(prepared).verifier is None
    before = fingerprint(prepared)
    file.write_text(FILE + "\n# another\n")
    assert fingerprint(run("share")) != before
    for function, words in (("alone", "a function of"), ("none", "a function of")):
        with pytest.raises(BadInput, match=rf"verifier\.model.*{words}"):
            run(function)
    with pytest.raises(BadInput, match=r"verifier\.model.*file\.py:function"):
        prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "verifier.format=function"]))
