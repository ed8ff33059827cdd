"""Monte-Carlo labels: the share of completions from a step that are correct."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from orchestrator.answers import ANSWERS
from orchestrator.controller import Controller
from orchestrator.errors import BadInput
from orchestrator.ledger import Lease
from orchestrator.prm.label import ChainLabeller, Labeller, StepLabeller, read_labels, write_labels
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


async def labelled(labeller: Labeller) -> ScriptedEngine:
    engine = ScriptedEngine(write, jitter=random.Random(1))
    controller = Controller(replace(setting(engine), verifier=None), ANSWERS["exact"], Lease(10**12))
    results = await controller.run(PROBLEMS, PROMPTS, labeller)
    assert not any(result.error for result in results)
    return engine


def steps(**options) -> StepLabeller:
    return StepLabeller(CODEC, ANSWERS["exact"], **options)


async def test_labels_estimate_the_chance_to_succeed_from_each_step():
    labeller = steps(solutions=8, completions=64)
    await labelled(labeller)
    assert len(labeller.rows) == 4 * 8
    for row in labeller.rows:
        assert "".join(row.steps).count("\n") == 1
        assert len(row.steps) == len(row.labels) == 2
        good = row.steps[0].startswith("g")
        assert row.labels[0] == (pytest.approx(0.75, abs=0.2) if good else 0.0)
        assert row.labels[1] == float("".join(row.steps) == "g\ng")


async def test_equal_prefixes_of_a_problem_share_one_estimate():
    labeller = steps(solutions=8, completions=5)
    engine = await labelled(labeller)
    firsts = {(row.problem, row.steps[0]) for row in labeller.rows}
    assert len(firsts) < len(labeller.rows)
    assert len({(row.problem, row.steps[0], row.labels[0]) for row in labeller.rows}) == len(firsts)
    completions = [request for request in engine.samples if request.until == "end"]
    assert len(completions) == 5 * len(firsts)


async def test_rows_hold_what_a_verifier_reads_in_tokens_and_in_text():
    labeller = steps(solutions=2, completions=2)
    await labelled(labeller)
    for row in labeller.rows:
        text = row.prompt + "".join(row.steps)
        assert "".join(map(chr, row.tokens)) == text + EOS
        assert row.step_ends == (len(row.prompt) + len(row.steps[0]), len(row.tokens))


async def test_attempts_of_chains_are_labelled_after_what_they_were_shown():
    labeller = ChainLabeller(CODEC, ANSWERS["exact"], chains=3, length=6)
    engine = await labelled(labeller)
    assert len(engine.revisions) == len(labeller.rows) == 4 * 3 * 6
    shown = {"".join(map(chr, request.prompt)) for request in engine.revisions}
    assert {row.prompt for row in labeller.rows} == shown
    assert max(prompt.count("#") for prompt in shown) == 4
    for row in labeller.rows:
        assert row.labels == (float("".join(row.steps) == "g\ng"),)
        assert row.step_ends == (len(row.tokens),)
        assert "".join(map(chr, row.tokens)) == row.prompt + "".join(row.steps) + EOS


async def test_labels_survive_their_file(tmp_path):
    labeller = steps(solutions=2, completions=4)
    await labelled(labeller)
    write_labels(labeller.rows, tmp_path / "labels.parquet")
    back = read_labels([tmp_path / "labels.parquet"])
    assert sorted(back, key=repr) == sorted(labeller.rows, key=repr)
    assert [row.problem for row in back] == sorted(row.problem for row in back)
    assert len(read_labels([tmp_path / "labels.parquet"] * 2)) == 2 * len(back)


def test_a_file_that_holds_no_labels_is_named(tmp_path):
    (tmp_path / "x.parquet").write_text("text")
    for path in (tmp_path / "x.parquet", tmp_path / "none.parquet"):
        with pytest.raises(BadInput, match=path.name):
            read_labels([path])
    write_labels([], tmp_path / "empty.parquet")
    with pytest.raises(BadInput, match="no labelled"):
        read_labels([tmp_path / "empty.parquet"])


def test_a_run_that_labels_says_so(tmp_path, monkeypatch):
    """So that no report compares it."""
    from rich.console import Console

    from orchestrator import launch
    from orchestrator.prm.commands import label
    from tests.analysis.stored import lab_config

    asked = []
    monkeypatch.setattr(launch, "run", lambda *given, **named: asked.append(named["role"]) or 130)
    label(lab_config(), lambda codec, answers: None, tmp_path / "labels.parquet", True, Console())
    assert asked == ["label"]
