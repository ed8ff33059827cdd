"""The baseline: samples beside the searches, which change nothing of what those find."""

from __future__ import annotations

import io
import random
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import in_flops
from orchestrator.commands.display import summary_table
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.baseline import sample_baseline
from orchestrator.runs.controller import Controller
from orchestrator.runs.metrics import metrics
from orchestrator.runs.results import summarise
from tests.support.scripted import CODEC, ScriptedEngine, flops_budget, letters, setting

PROBLEMS = [Problem(f"p{i}", f"{i}+1?", "a") for i in range(40)]
PROMPTS = [CODEC.encode(problem.prompt) for problem in PROBLEMS]
SAMPLES = 5


async def sampled(engine: ScriptedEngine, journal: Journal | None = None):
    controller = Controller(setting(engine, journal=journal), grader("exact"), Lease(0))
    found, by_problem = await sample_baseline(controller, PROBLEMS, PROMPTS, SAMPLES)
    assert by_problem.one.mean() == pytest.approx(found.one.value)
    assert by_problem.majority.mean() == pytest.approx(found.majority.value)
    return found


def written(engine: ScriptedEngine) -> dict[str, list[str]]:
    """The letters that each problem was answered with, first sample first."""
    found: dict[str, list[str]] = {}
    for request in sorted(engine.samples, key=lambda request: request.id):
        text = engine.write(request, "".join(map(chr, request.prompt)), random.Random(request.seed))
        found.setdefault("".join(map(chr, request.prompt)), []).append(text[0])
    return found


async def test_a_baseline_is_the_accuracy_of_one_sample_and_of_the_majority_with_what_each_costs():
    engine = ScriptedEngine(letters(1, length=1))
    found = await sampled(engine)
    answers = written(engine)
    assert len(answers) == len(PROBLEMS)
    assert {len(each) for each in answers.values()} == {SAMPLES}
    assert found.one.value == pytest.approx(sum(a.count("a") for a in answers.values()) / 200)
    assert 0.1 < found.one.low < found.one.value < found.one.high < 0.4
    clear = [Counter(a).most_common(2) for a in answers.values()]
    won = sum(top[0][0] == "a" and (len(top) == 1 or top[0][1] > top[1][1]) for top in clear)
    ties = sum(len(top) == 2 and top[0][1] == top[1][1] for top in clear)
    assert won <= round(found.majority.value * 40) <= won + ties
    assert not engine.scores, "no verifier reads it"
    # Five samples share one prompt: one of them costs more than a fifth.
    assert found.flops == round(found.majority_flops * 40)
    assert found.majority_flops / SAMPLES < found.one_flops < found.majority_flops


async def test_the_samples_of_a_baseline_are_journaled_beside_those_of_the_searches(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite", fingerprint="f")
    first, again = ScriptedEngine(letters(1, length=1)), ScriptedEngine(letters(1, length=1))
    found = await sampled(first, journal)
    journal.close()
    journal = Journal(tmp_path / "journal.sqlite", fingerprint="f")
    assert await sampled(again, journal) == found
    assert not again.samples
    assert not journal.results("p0")
    assert len(journal.results("baseline/p0")) == SAMPLES
    journal.close()


async def test_a_summary_shows_what_the_search_buys():
    engine = ScriptedEngine(letters(1, length=1))
    baseline = await sampled(engine)
    controller = Controller(setting(engine), grader("exact"), Lease(10**9))

    async def search(ops):
        return await ops.sample(ops.root, 3, until="end")

    results = await controller.run(PROBLEMS, PROMPTS, search)
    summary = summarise(
        "r",
        results,
        controller.usage,
        budget=flops_budget(10**9),
        seconds=1.0,
        startup_seconds=1.0,
        utilisation={},
        baseline=baseline,
    )
    assert summary.flops.baseline == baseline.flops
    assert summary.flops.spent == controller.usage.flops, "it is paid beside the budget"
    logged = metrics(summary)
    assert logged["baseline/one_sample"] == pytest.approx(baseline.one.value, rel=1e-4)
    assert logged["baseline/majority_high"] == pytest.approx(baseline.majority.high, rel=1e-4)
    shown = Console(width=120, file=io.StringIO())
    shown.print(summary_table(summary))
    text = shown.file.getvalue()
    for line in (
        "no search: one sample",
        f"no search: majority of {SAMPLES}",
        "search, weighted",
        "its majority",
    ):
        assert line in text
    assert f"for {in_flops(summary.flops.spent / 40)} a problem" in text
    assert f"for {in_flops(baseline.one_flops)} a problem" in text
