"""Monte-Carlo labels: the share of completions from a step that are correct."""

from __future__ import annotations

import random

import pytest

from orchestrator.answers import ANSWERS
from orchestrator.controller import Controller
from orchestrator.ledger import Lease
from orchestrator.prm.label import Labeller, read_labels, write_labels
from orchestrator.problems import Problem
from tests.scripted import CODEC, EOS, ScriptedEngine, setting

PROBLEMS = [Problem(f"p{i}", f"{i}+1?", "g\ng") for i in range(4)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]


def write(request, text, rng):
    """Two steps: good with probability 1/2, then right with 3/4 after a good one, never after a bad one."""
    solution = text.rpartition("?")[2]
    first = "" if solution else rng.choice("gb") + "\n"
    if request.until == "step" and first:
        return first
    begun = (solution or first)[0]
    return first + ("g" if begun == "g" and rng.random() < 0.75 else "x") + EOS


async def labelled(**options) -> Labeller:
    engine = ScriptedEngine(write, jitter=random.Random(1))
    labeller = Labeller(CODEC, ANSWERS["exact"], **options)
    controller = Controller(setting(engine), ANSWERS["exact"], Lease(10**12))
    results = await controller.run(PROBLEMS, PROMPTS, labeller)
    assert not any(result.error for result in results)
    assert controller.usage.verifier_flops == 0, "labelling needs no verifier"
    return labeller


async def test_labels_estimate_the_chance_to_succeed_from_each_step():
    labeller = await labelled(solutions=8, completions=64)
    assert len(labeller.rows) == 4 * 8
    for row in labeller.rows:
        assert "".join(row.steps).count("\n") == 1
        assert len(row.steps) == len(row.labels) == 2
        good = row.steps[0].startswith("g")
        assert row.labels[0] == (pytest.approx(0.75, abs=0.2) if good else 0.0)
        assert row.labels[1] == float("".join(row.steps) == "g\ng")


async def test_labels_survive_their_file(tmp_path):
    labeller = await labelled(solutions=2, completions=4)
    write_labels(labeller.rows, tmp_path / "labels.parquet")
    back = read_labels(tmp_path / "labels.parquet")
    assert sorted(back, key=repr) == sorted(labeller.rows, key=repr)
    assert [row.problem for row in back] == sorted(row.problem for row in back)
