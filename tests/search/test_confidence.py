"""The generator's own confidence: how it is read, carried along paths, journaled, and selected by."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest

from actors.messages import RequestFailed, SampleRequest, SampleResult, kept_logprob
from orchestrator.budget.ledger import Lease
from orchestrator.config.generator import confidence_of
from orchestrator.config.loading import load
from orchestrator.durability.journal import Journal
from orchestrator.errors import BadInput
from orchestrator.grading.grader import grader
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.search.confidence import GIVEN, Confidence
from orchestrator.search.selection import Candidate, confidence_weighted, confident, rules
from orchestrator.strategies.registry import find, resolve
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, SMALL, ScriptedEngine, letters, operations, setting

LETTERS = {"a": -0.1, "b": -0.2, "c": -1.5, "d": -3.0}
MEAN = Confidence()


def by_letter(letter: str) -> float:
    return LETTERS.get(letter, -0.01)


@pytest.mark.parametrize(
    ("group", "logprobs", "expected"),
    [
        (None, (-1.0, -2.0, -3.0), -2.0),
        (None, (-1.0, GIVEN, GIVEN, -3.0), -2.0),
        (2, (-1.0, -4.0, -3.0, -0.5), -3.5),
        (2, (-1.0, -4.0, GIVEN, -3.0, -0.5), -3.5),  # given text stands between, and says nothing
        (9, (-1.0, -2.0, -3.0), -2.0),  # a path that is shorter than a group is one
        (1, (-1.0, -2.0, -3.0), -3.0),
        (None, (0.0, 0.0), 0.0),
    ],
)
def test_confidence_is_the_geometric_mean_of_probabilities_at_the_least_sure_place(group, logprobs, expected):
    assert Confidence(group)(logprobs) == pytest.approx(math.exp(expected), rel=1e-12)


def test_a_path_without_a_sampled_token_has_no_confidence():
    assert MEAN(()) is None
    assert MEAN((GIVEN,)) is None


def test_a_log_probability_is_kept_to_four_digits_and_is_never_above_zero():
    assert kept_logprob(-1.234567) == -1.2346
    assert kept_logprob(1e-6) == 0.0
    assert kept_logprob(-math.inf) == -9999.0
    for wrong in (math.nan, 0.5, math.inf):
        with pytest.raises(ValueError, match="is no log-probability"):
            kept_logprob(wrong)


def test_confident_takes_the_surest_and_the_weighted_vote_adds_up():
    sure = [("x", 0.9), ("y", 0.6), ("y", 0.5), (None, 0.99), ("z", None)]
    candidates = [Candidate(answer, 0.0, confidence=value) for answer, value in sure]
    assert confident(candidates) == "x"
    assert confidence_weighted(candidates) == "y"
    assert confident([Candidate("x", 0.5)]) is confidence_weighted([Candidate("x", 0.5)]) is None


def test_the_rules_by_confidence_stand_beside_the_others_where_it_is_known():
    assert list(rules(scored=False, chains=False, confidence=True)) == [
        "majority",
        "confident",
        "confidence_weighted",
    ]
    assert list(rules(scored=True, chains=True, confidence=True))[-3:] == [
        "hierarchical",
        "confident",
        "confidence_weighted",
    ]


async def test_a_path_has_the_log_probabilities_of_all_its_steps():
    engine = ScriptedEngine(letters(3), logprob=by_letter)
    ops = operations(engine, confidence=MEAN)
    nodes = await find("beam_search")(ops, n=4, width=2)
    assert {len(node.path) for node in nodes} == {3}
    for node in nodes:
        text = "".join(map(chr, node.tokens[len(ops.prompt) :]))
        assert node.logprobs == tuple(map(by_letter, text))
        assert ops.confidence(node) == pytest.approx(math.exp(sum(map(by_letter, text)) / len(text)))


@pytest.mark.parametrize("name", ["budget_forcing", "revisions"])
async def test_given_text_has_none_and_an_attempt_has_its_own(name):
    ops = operations(ScriptedEngine(letters(2), logprob=by_letter), confidence=MEAN)
    for node in await find(name)(ops, **SMALL.get(name, {"n": 4, "length": 2})):
        new = node.tokens[len(ops.prompt) :]
        assert len(node.logprobs) == len(new)
        sampled = [(chr(t), p) for t, p in zip(new, node.logprobs, strict=True) if not math.isnan(p)]
        assert all(p == by_letter(letter) for letter, p in sampled)
        assert (len(sampled) < len(new)) == (name == "budget_forcing")


async def test_where_it_is_not_asked_for_nothing_is_sent_kept_or_journaled():
    engine = ScriptedEngine(letters(3), logprob=by_letter)
    ops = operations(engine)
    (node,) = await ops.sample(ops.root, 1)
    assert not engine.samples[0].logprobs
    assert node.logprobs == ()
    with pytest.raises(ValueError, match=r"no generator\.confidence"):
        ops.confidence(node)
    assert b"logprobs" not in msgspec.json.encode(SampleResult("r", (1,), "end", 1, "g"))


async def test_an_engine_that_gives_none_is_an_error_that_names_it_and_nothing_is_charged():
    class Silent(ScriptedEngine):
        async def sample(self, request: SampleRequest) -> SampleResult:
            return msgspec.structs.replace(await super().sample(request), logprobs=())

    ops = operations(Silent(letters(3)), confidence=MEAN)
    with pytest.raises(RequestFailed, match=r"scripted, request p/sample/0: 0 log-probabilities of 4 tokens"):
        await ops.sample(ops.root, 1, score=False)
    assert ops.usage.generator_tokens == len(ops.prompt), "the prompt alone"


async def searched(confidence: Confidence | None, journal: Journal | None = None):
    engine = ScriptedEngine(letters(2, length=1), logprob=by_letter)
    context = replace(setting(engine, journal=journal), confidence=confidence)
    named = rules(scored=True, chains=False, confidence=confidence is not None)
    control = Controller(context, grader("exact"), Lease(10**9), rules=named)
    search = resolve({"name": "best_of_n", "n": 12})
    (result,) = await control.run([Problem("p", "1+1?", "a\na")], [CODEC.encode("1+1?")], search)
    return result, engine


async def test_it_costs_nothing_and_changes_no_solution(tmp_path):
    without, _ = await searched(None)
    journal = Journal(tmp_path / "journal.sqlite")
    found, _ = await searched(MEAN, journal)
    journal.close()
    assert found.usage.flops == without.usage.flops
    assert [s.text for s in found.solutions] == [s.text for s in without.solutions]
    assert {s.confidence for s in without.solutions} == {None}
    surest = max(found.solutions, key=lambda solution: solution.confidence or 0)
    assert found.selected["confident"] == surest.answer
    assert set(found.selected) == {"majority", "best", "weighted", "confident", "confidence_weighted"}

    journal = Journal(tmp_path / "journal.sqlite")
    again, engine = await searched(MEAN, journal)
    journal.close()
    assert again.solutions == found.solutions
    assert not engine.samples, "its log-probabilities are journaled"


@pytest.mark.parametrize(
    ("given", "expected"), [("mean", Confidence()), ("16", Confidence(16)), ("null", None)]
)
def test_the_key_says_how(given, expected):
    assert confidence_of(load(LAB_CONFIG, [f"generator.confidence={given}"]).generator) == expected


@pytest.mark.parametrize("given", ["lowest", "0", "-4", "true", "0.5"])
def test_a_key_that_says_nothing_is_refused(given):
    with pytest.raises(BadInput, match="allowed: mean, a number of tokens, or null"):
        load(LAB_CONFIG, [f"generator.confidence={given}"])
