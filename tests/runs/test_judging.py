"""A model that judges answers: asked after the search and once, paid beside it, its verdicts journaled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from actors.messages import RequestFailed, SampleResult, ScoreRequest, ScoreResult
from actors.pool import Pool
from orchestrator.budget.ledger import Lease
from orchestrator.config.judge import TEMPLATE, PreparedJudge
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.durability.journal import Journal
from orchestrator.errors import BadInput
from orchestrator.grading.grader import Grader
from orchestrator.grading.judge import Judge
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.judging import ModelJudge
from orchestrator.runs.metrics import metrics
from orchestrator.runs.results import digest, summarise
from orchestrator.runs.session import pool_specs
from orchestrator.strategies.registry import find
from tests.support.openai_server import FakeServer, LocalReplicaHandle, served
from tests.support.paths import LAB_CONFIG
from tests.support.public_models import save_language_model
from tests.support.scripted import CODEC, EOS, VERIFIER, ScriptedEngine, flops_budget, setting

WRITTEN = ["ten", "10", " TEN ", "eleven", "7", "ten"]
"""Of which ``math`` accepts 10, and the judge whatever says ten."""


@dataclass(frozen=True)
class Asked:
    """A question in the tokens of ``CODEC``."""

    choices: dict[str, float] = field(default_factory=lambda: {"No": 0.0, "Yes": 1.0})

    def tokens(self, text: str) -> tuple[int, ...]:
        return CODEC.encode(text)


JUDGE = PreparedJudge(VERIFIER, Asked(), TEMPLATE, None, None)  # type: ignore[arg-type]


@dataclass
class Model:
    """A judge that says yes where the given answer says ten."""

    asked: list[str] = field(default_factory=list)
    verdict: float | Exception | None = None

    async def __call__(self, request: ScoreRequest) -> ScoreResult:
        text = "".join(map(chr, request.tokens))
        self.asked.append(text)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        right = float("Given answer:\nten" in text) if self.verdict is None else self.verdict
        return ScoreResult(request.id, (right,), 0, "judge-0")


async def searched(
    judge: PreparedJudge | None, model: Any, journal: Journal | None = None
) -> tuple[SearchResult, ModelJudge | None, Controller]:
    def write(request, text, rng):
        place = int(request.id.rpartition("/")[2])
        return rf"\boxed{{{WRITTEN[place]}}}" + EOS

    made = None if judge is None else ModelJudge(judge, model, journal, 1)
    grader = Grader(Judge(), judge=made or model)  # type: ignore[arg-type]
    if made is None:
        grader._judge = None
    control = Controller(setting(ScriptedEngine(write), journal=journal), grader, Lease(10**9))
    problem = Problem("p", "5+5?", "10")
    search = partial(find("best_of_n").search, n=len(WRITTEN))
    (result,) = await control.run([problem], [CODEC.encode("5+5?")], search)
    return result, made, control


async def test_what_math_does_not_accept_is_asked_about_once_for_each_key():
    result, judge, control = await searched(JUDGE, model := Model())
    assert [solution.correct for solution in result.solutions] == [True, True, True, False, False, True]
    assert (result.selected["majority"], result.correct["majority"]) == ("ten", True)
    assert len(model.asked) == 3
    assert model.asked[0] == (
        "Question:\n5+5?\n\nTrue answer:\n10\n\nGiven answer:\nten\n\n"
        "Is the given answer the same as the true answer, however it is written? Answer with No or Yes only."
    )
    assert judge is not None
    assert judge.budget.spent == sum(VERIFIER.score(0, len(text)) for text in model.asked)
    assert control.grader.counts == {}


async def test_a_judge_changes_neither_what_is_found_nor_what_that_costs():
    judged, judge, control = await searched(JUDGE, Model())
    without, _, other = await searched(None, Model())
    assert digest([judged]) == digest([without])
    assert control.budget.spent == other.budget.spent == judged.usage.flops
    assert [solution.correct for solution in without.solutions].count(True) == 1
    assert judge is not None
    summary = summarise(
        "r",
        [judged],
        control.usage,
        budget=flops_budget(10**9),
        seconds=1,
        startup_seconds=1,
        utilisation={},
        judge_flops=judge.budget.spent,
    )
    assert metrics(summary)["flops/judge"] == judge.budget.spent > 0
    assert summary.flops.spent == judged.usage.flops


async def test_a_run_that_goes_on_asks_nothing_again_and_charges_the_same(tmp_path):
    found = []
    for asked in (3, 0):
        journal = Journal(tmp_path / "j.sqlite")
        result, judge, _ = await searched(JUDGE, model := Model(), journal)
        assert judge is not None
        found.append((judge.budget.spent, [s.correct for s in result.solutions]))
        assert len(model.asked) == asked
        assert all(key.split("/")[1] in ("sample", "score") for key in journal.results("p"))
        journal.close()
    assert found[0] == found[1]


async def test_what_the_judges_own_budget_does_not_pay_for_is_not_graded_and_counted():
    one = VERIFIER.score(0, len((await asked_first()).asked[0]))
    result, judge, control = await searched(replace(JUDGE, flops=one), model := Model())
    assert len(model.asked) == 1
    assert control.grader.counts == {"judge_unpaid": 2}
    assert judge is not None
    assert judge.budget.spent == one <= judge.budget.limit
    assert [solution.correct for solution in result.solutions] == [True, True, True, False, False, True]


async def asked_first() -> Model:
    await searched(JUDGE, model := Model())
    return model


@pytest.mark.parametrize(
    ("verdict", "judge", "count"),
    [
        (math.nan, JUDGE, "judge_failed"),
        (1.5, JUDGE, "judge_failed"),
        (RequestFailed("judge-0: no"), JUDGE, "judge_failed"),
        (None, replace(JUDGE, limit=20), "judge_too_long"),
    ],
)
async def test_a_judge_that_gives_no_verdict_is_counted_and_charged_nothing(verdict, judge, count, caplog):
    result, made, control = await searched(judge, Model(verdict=verdict))
    assert control.grader.counts == {count: 3}
    assert [solution.correct for solution in result.solutions].count(True) == 1
    assert made is not None
    assert (made.budget.spent, made.budget.reserved) == (0, 0)
    assert ("an answer is not judged" in caplog.text) == (count == "judge_failed")


@pytest.mark.parametrize("kind", ["vllm", "text", "chat"])
async def test_a_judge_at_a_server_writes_its_verdict_and_is_charged_for_what_it_writes(tmp_path, kind):
    save_language_model(tmp_path / "model", "qwen3")
    said = {"ten": "I would say No, but Yes.", "eleven": "No", "7": "Perhaps."}

    def write(prompt: str, seed: int) -> str:
        return said[prompt.partition("Given answer:\n")[2].partition("\n")[0]]

    server = FakeServer(None, kind, write=write)
    async with served(server) as url:
        own = [f"runs={tmp_path}", "problems.limit=1", "problems.answers=judge", "judge.max_tokens=30"]
        own += [f"judge.model={tmp_path}/model", f"judge.endpoint={{url: {url}, model: it}}"]
        run = prepare(load(LAB_CONFIG, own))
        assert run.judge is not None
        server.tokenizer = run.judge.question.tokenizer
        spec = pool_specs(run).judge
        assert spec is not None
        pool: Pool[SampleResult] = Pool(spec, LocalReplicaHandle)
        server.write = lambda prompt, seed: "Yes"
        await pool.start(60)
        server.write = write
        try:
            result, judge, control = await searched(run.judge, pool.run)
        finally:
            await pool.close()
    assert [solution.correct for solution in result.solutions] == [True, True, True, False, False, True]
    assert control.grader.counts == {"judge_no_verdict": 1}
    assert judge is not None
    asked = [run.judge.tokens(result.problem, answer, "") for answer in said]
    words = [len(run.judge.question.tokenizer(text)["input_ids"]) + 1 for text in said.values()]
    costs = [run.judge.cost(len(a), w) for a, w in zip(asked, words, strict=True)]
    assert judge.budget.spent == sum(costs)
    assert {body["temperature"] for body in server.bodies[-3:]} == {0.0}


async def test_an_error_that_ends_the_run_leaves_no_funds_held():
    made = ModelJudge(JUDGE, Model(verdict=RuntimeError("all gone")), None, 1)
    with pytest.raises(ExceptionGroup):
        await made(Problem("p", "?", "1"), [("a", "a"), ("b", "b")])
    assert made.budget.reserved == 0


def test_a_command_that_starts_no_model_refuses_the_checker():
    with pytest.raises(BadInput, match=r"problems\.answers: 'judge' .*another checker, such as math"):
        Grader(Judge())
