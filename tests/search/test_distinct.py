"""Equal children are one node: the first, whichever is sampled or scored first, and it is paid for once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import RequestFailed, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.search.distinct import SHARED
from orchestrator.search.tree import Node
from tests.support.scripted import EOS, GENERATOR, VERIFIER, ScriptedEngine, operations

PROMPT = 4
STEP = 3
"""Tokens of the steps that ``spelled`` writes."""


def spelled(text: str) -> Any:
    """Writes the step ``xx`` for the child with the letter x in ``text``, by the child's index."""

    def write(request: SampleRequest, prompt: str, rng: random.Random) -> str:
        letter = text[int(request.id.rpartition("/")[2].rpartition(".")[2])]
        return 2 * letter + (EOS if request.until == "end" else "\n")

    return write


def key_of(request: SampleRequest | ScoreRequest) -> str:
    return request.id.rpartition("/")[2]


def step(node: Node) -> str:
    return chr(node.tokens[PROMPT])


class Ordered(ScriptedEngine):
    """Samples in the order of ``keys``: each one when the one before it is there."""

    keys: tuple[str, ...] = ()

    async def sample(self, request: SampleRequest) -> SampleResult:
        self.samples.append(request)
        gates = self.__dict__.setdefault("gates", {key: asyncio.Event() for key in self.keys})
        before = self.keys.index(key_of(request))
        if before:
            await gates[self.keys[before - 1]].wait()
        result = await self._written(request)
        gates[key_of(request)].set()
        return result


@settings(max_examples=60)
@given(st.text("abc", min_size=1, max_size=8), st.randoms(use_true_random=False), st.booleans())
async def test_equal_children_are_the_first_of_them_and_are_scored_and_charged_once(text, jitter, end):
    engine = ScriptedEngine(spelled(text), jitter=jitter)
    ops = operations(engine)
    nodes = await ops.sample(ops.root, len(text), until="end" if end else "step", distinct=True)
    assert "".join(map(step, nodes)) == text
    assert [node.key for node in nodes] == [str(text.index(letter)) for letter in text]
    assert len(set(nodes)) == len(set(text)) == len(engine.scores), "equal ones are one object"
    assert all(node.scored for node in nodes)
    assert (ops.usage.compared, ops.usage.copies) == (len(text), len(text) - len(set(text)))
    sampled = len(text) * GENERATOR.sample(PROMPT, STEP)
    assert ops.usage.generator_flops == GENERATOR.prefill(PROMPT) + sampled, "each sample is charged"
    scored = len(set(text)) * VERIFIER.score(PROMPT, PROMPT + STEP)
    assert ops.usage.verifier_flops == VERIFIER.prefill(PROMPT) + scored
    assert ops._lease.settled == ops.usage.flops
    assert ops._lease.reserved == 0
    assert ops.finished == (sorted(nodes, key=lambda node: node.path) if end else [])


async def test_without_distinct_each_copy_is_a_node_of_its_own():
    engine = ScriptedEngine(spelled("aab"))
    ops = operations(engine)
    nodes = await ops.sample(ops.root, 3, until="end")
    assert [node.key for node in nodes] == [node.key for node in ops.finished] == ["0", "1", "2"]
    assert len(engine.scores) == 3
    assert (ops.usage.compared, ops.usage.copies) == (0, 0)


async def test_a_later_call_gives_the_node_that_an_earlier_one_has_found_and_other_parents_have_their_own():
    engine = ScriptedEngine(spelled("abab"))
    ops = operations(engine)
    a, b = await ops.sample(ops.root, 2, distinct=True)
    assert await ops.sample(ops.root, 2, distinct=True) == [a, b]
    below = await ops.sample([a, b], 2, distinct=True)
    assert [node.key for node in below] == ["0.0", "0.1", "1.0", "1.1"]
    assert len(engine.scores) == 6
    assert len({request.id for request in engine.scores}) == 6


@pytest.mark.parametrize("score", [True, False])
async def test_a_scored_child_and_one_that_is_not_are_two(score):
    ops = operations(ScriptedEngine(spelled("aa")))
    (first,) = await ops.sample(ops.root, 1, score=score, distinct=True)
    (second,) = await ops.sample(ops.root, 1, score=not score, distinct=True)
    assert (first.scored, second.scored) == (score, not score)
    assert (first.key, second.key) == ("0", "1")


async def test_a_score_is_asked_for_while_earlier_siblings_are_still_sampled():
    asked = asyncio.Event()

    class Slow(ScriptedEngine):
        async def sample(self, request: SampleRequest) -> SampleResult:
            if key_of(request) == "0":
                await asked.wait()
            return await super().sample(request)

        async def score(self, request: ScoreRequest) -> ScoreResult:
            asked.set()
            return await super().score(request)

    ops = operations(Slow(spelled("aa")))
    nodes = await asyncio.wait_for(ops.sample(ops.root, 2, distinct=True), 5)
    assert [node.key for node in nodes] == ["0", "0"]


@pytest.mark.parametrize("keys", [("0", "1", "2", "3"), ("3", "2", "1", "0"), ("2", "0", "3", "1")])
async def test_a_copy_whose_request_fails_leaves_the_next_one_to_stand_in_any_order(keys):
    class Refusing(Ordered):
        async def _written(self, request: SampleRequest) -> SampleResult:
            if key_of(request) == "0":
                self.gates["0"].set()
                raise RequestFailed("no")
            return await super()._written(request)

    engine = Refusing(spelled("abaa"))
    engine.keys = keys
    ops = operations(engine)
    with pytest.raises(RequestFailed):
        await asyncio.wait_for(ops.sample(ops.root, 4, until="end", distinct=True), 5)
    assert [node.key for node in ops.finished] == ["1", "2", "2"]
    assert len(engine.scores) == 2
    assert ops._lease.settled == ops.usage.flops
    assert ops._lease.reserved == 0


@pytest.mark.parametrize("jitter", range(4))
async def test_a_score_that_fails_leaves_all_copies_unscored_and_is_counted_once(jitter):
    class NoScore(ScriptedEngine):
        async def score(self, request: ScoreRequest) -> ScoreResult:
            if chr(request.tokens[PROMPT]) == "a":
                self.scores.append(request)
                raise RequestFailed("no score")
            return await super().score(request)

    engine = NoScore(spelled("abaa"), jitter=random.Random(jitter))
    ops = operations(engine)
    nodes = await ops.sample(ops.root, 4, distinct=True)
    assert [node.key for node in nodes] == ["0", "1", "0", "0"]
    assert [node.scored for node in nodes] == [False, True, False, False]
    assert (ops.usage.unscored, len(engine.scores)) == (1, 2)
    assert str(ops.score_error) == "no score"


@pytest.mark.parametrize("jitter", range(6))
async def test_a_call_that_is_cancelled_in_any_turn_leaves_no_other_waiting_and_pays_no_score_twice(jitter):
    for turns in range(30):
        ops = operations(ScriptedEngine(spelled("aaaa"), jitter=random.Random(jitter)))
        first = asyncio.create_task(ops.sample(ops.root, 2, distinct=True))
        await asyncio.sleep(0)
        second = asyncio.create_task(ops.sample(ops.root, 2, distinct=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        nodes = await asyncio.wait_for(second, 5)
        await asyncio.wait([first])
        assert nodes[0] is nodes[1]
        assert nodes[0].scored
        assert ops._lease.settled == ops.usage.flops
        assert ops._lease.reserved == 0
        scored = VERIFIER.prefill(PROMPT) + VERIFIER.score(PROMPT, PROMPT + STEP)
        assert ops.usage.verifier_flops == scored, f"cancelled in turn {turns}"


async def test_copies_have_one_name_in_the_journal_whoever_asks():
    async def asked(keys: tuple[str, ...]) -> list[str]:
        engine = Ordered(spelled("aba"))
        engine.keys = keys
        ops = operations(engine)
        await ops.sample(ops.root, 3, distinct=True)
        return sorted(request.id for request in engine.scores)

    assert await asked(("0", "1", "2")) == await asked(("2", "1", "0"))
    assert all(key.startswith(f"p/score/{SHARED}") for key in await asked(("1", "2", "0")))


@pytest.mark.parametrize("jitter", range(8))
async def test_what_calls_at_once_have_found_again_stands_together_in_the_place_of_the_first(jitter):
    ops = operations(ScriptedEngine(spelled("cabbad"), jitter=random.Random(jitter)))
    calls = [ops.sample(ops.root, 2, until="end", distinct=True) for _ in range(3)]
    found = await asyncio.gather(*calls)
    assert [[step(node) for node in nodes] for nodes in found] == [["c", "a"], ["b", "b"], ["a", "d"]]
    assert found[2][0] is found[0][1]
    assert [step(node) for node in ops.finished] == ["c", "a", "a", "b", "b", "d"], "as often as sampled"
    assert ops.solutions == ops.finished


async def test_what_was_found_on_the_side_is_an_answer_once_it_is_sampled_as_one():
    ops = operations(ScriptedEngine(spelled("aba")))
    (side, _) = await ops.sample(ops.root, 2, until="end", keep="never", distinct=True)
    assert ops.finished == []
    assert await ops.sample(ops.root, 1, until="end", distinct=True) == [side]
    assert ops.finished == [side], "as often as it was sampled as an answer"
