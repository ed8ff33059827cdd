"""Monte-Carlo labels: the share of completions from a step that are correct."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import in_flops
from orchestrator.commands import launch
from orchestrator.commands.cli import run_command
from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.errors import BadInput
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.verifiers.label import (
    ChainLabeller,
    LabelledSolution,
    Labeller,
    StepLabeller,
    read_labels,
    write_labels,
)
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, EOS, GENERATOR, ScriptedEngine, setting

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


async def labelled(labeller: Labeller, write=write, budget: int = 10**12) -> ScriptedEngine:
    engine = ScriptedEngine(write, jitter=random.Random(1))
    controller = Controller(
        replace(setting(engine), verifier=None), grader("exact"), Lease(budget), pass_on=False
    )
    results = await controller.run(PROBLEMS, PROMPTS, labeller)
    assert not any(result.error for result in results)
    return engine


def steps(**options) -> StepLabeller:
    return StepLabeller(CODEC, grader("exact"), **options)


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
    labeller = ChainLabeller(CODEC, grader("exact"), chains=3, length=6)
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


def test_a_labelling_goes_on_with_its_own_parameters_alone():
    answers = grader("exact")
    made = [
        StepLabeller(CODEC, answers, solutions=4, completions=4),
        StepLabeller(CODEC, answers, solutions=4, completions=5),
        ChainLabeller(CODEC, answers, chains=4, length=4),
    ]
    prepared = prepare(load("configs/lab.yaml", ["problems.limit=2"]))
    assert len({fingerprint(prepared), *(fingerprint(prepared, each.name) for each in made)}) == 4
    assert made[0].name == StepLabeller(CODEC, answers, solutions=4, completions=4, rows=[]).name


def shortest_steps(request, text, rng):
    """The longest solution in the shortest steps; the last one fills it up."""
    return "\n" if request.until == "step" else "x" * request.max_tokens


def worst(labeller: Labeller) -> int:
    """FLOPs of all problems, in ``setting``'s 32 tokens a solution."""
    config = SimpleNamespace(
        generator=SimpleNamespace(max_tokens=32, chat=False),
        reviser=SimpleNamespace(format="plain"),
        problems=SimpleNamespace(template="{problem}"),
    )
    prepared = SimpleNamespace(
        config=config, generator=GENERATOR, reviser=GENERATOR, codec=CODEC, problems=PROBLEMS
    )
    return len(PROBLEMS) * labeller.worst(prepared, len(PROMPTS[0]))


async def test_the_worst_case_pays_for_the_longest_rollouts_from_the_shortest_steps_and_for_no_more():
    one = steps(solutions=1, completions=3)
    await labelled(one, shortest_steps, worst(one))
    assert one.unpaid == []
    await labelled(one, shortest_steps, worst(one) - 1)
    assert sorted(one.unpaid) == [problem.id for problem in PROBLEMS]


@pytest.mark.parametrize(
    "labeller",
    [steps(solutions=4, completions=3), ChainLabeller(CODEC, grader("exact"), chains=2, length=6)],
)
async def test_the_worst_case_pays_for_all(labeller):
    await labelled(labeller, shortest_steps, worst(labeller))
    assert labeller.unpaid == []


@pytest.fixture
def label(tmp_path, monkeypatch, capsys):
    """``ttc verifier label`` on engines that find ``rows`` rows and leave ``unpaid`` problems without: the
    status, the configuration that was run, and what was said."""

    def command(*overrides: str, rows: int = 0, unpaid: int = 0):
        ran = []

        def run(prepared, as_json, errors, *, run_id, search, role, instead):
            assert role == "label", "so that no report compares it"
            labeller = search
            assert instead == labeller.name, "its journal goes on with no other"
            labeller.rows += [LabelledSolution("p", "1", ("2",), (1.0,), (1, 2), (2,))] * rows
            labeller.unpaid += ["p"] * unpaid
            ran.append(prepared.config)
            return 0

        monkeypatch.setattr(launch, "run", run)
        options = [f"runs={tmp_path}", "problems.limit=4", *overrides]
        status = run_command(
            ["verifier", "label", str(LAB_CONFIG), str(tmp_path / "new" / "labels.parquet"), *options]
        )
        return status, ran[0], capsys.readouterr().err

    return command


def test_labels_are_paid_whole_unless_a_limit_is_given(label, tmp_path):
    status, config, said = label("budget.generations=16", "allocation.name=adaptive", rows=3)
    assert status == 0
    assert config.allocation.name == "uniform"
    assert config.budget.units == ["flops"]
    assert config.budget.flops > 5e11
    assert f"labels cost {in_flops(config.budget.flops)} at most" in said
    assert "3 labelled solutions" in said
    assert len(read_labels([tmp_path / "new" / "labels.parquet"])) == 3
    assert label("budget.tokens=5e3", rows=1)[1].budget.tokens == 5e3


def test_problems_without_labels_are_counted_and_none_at_all_is_a_failure(label, tmp_path):
    status, config, said = label("budget.flops=2e11", rows=1, unpaid=3)
    assert status == 0
    assert config.budget.flops == 2e11
    assert "warning: 3 of 4 problems are not labelled: the budget does not pay" in said
    (tmp_path / "new" / "labels.parquet").unlink()
    status, _, said = label("budget.flops=2e11", unpaid=4)
    assert status == 1
    assert "4 of 4 problems are not labelled" in said
    assert "no solution is labelled" in said
    assert not (tmp_path / "new" / "labels.parquet").exists()
