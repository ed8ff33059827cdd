"""What a verifier that reads text is charged: its own tokens, each once, within what was granted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from actors.reading import Reading
from orchestrator.budget.ledger import Lease
from orchestrator.formats.definition import Input
from orchestrator.search.operations import Operations
from tests.support.scripted import VERIFIER, ScriptedEngine, letters, operations


class Bytes:
    """A verifier with a token a byte, which writes ``!`` after each step."""

    whole, overhead, reading = False, 1, Reading()

    def __init__(self, width: int = 1, whole: bool = False) -> None:
        self.width, self.whole = width, whole

    def opening(self, question: str) -> tuple[int, ...]:
        return () if self.whole else self._ids(f"Q: {question} ")

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        tokens, ends = self._ids(f"Q: {question} "), []
        for step in steps:
            tokens += self._ids(step + "!")
            ends.append(len(tokens))
        return [Input(tokens, (ends[-1],) if self.whole else tuple(ends[first:]))]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(byte for byte in text.encode() for _ in range(self.width))


def shown(format: Bytes, engine: ScriptedEngine, **options: object) -> Operations:
    return operations(
        engine, verifier_format=format, verifier_kind="orm" if format.whole else "prm", **options
    )


OPENING = len("Q: 1+1? ")


async def test_each_token_of_the_verifiers_is_charged_once_as_a_path_grows():
    engine = ScriptedEngine(letters(3))
    ops = shown(Bytes(), engine)
    (one,) = await ops.sample(ops.root, 1)
    (two,) = await ops.sample(one, 1)
    texts = ["".join(map(chr, request.tokens)) for request in engine.scores]
    assert texts[1].startswith(texts[0])
    assert texts[0].startswith("Q: 1+1? ")
    assert texts[1].endswith("!")
    ends = [OPENING, *map(len, texts)]
    assert ops.usage.verifier_flops == VERIFIER.prefill(OPENING) + sum(
        VERIFIER.score(a, b) for a, b in pairwise(ends)
    )
    assert ops.usage.verifier_tokens == len(texts[1])
    assert [len(node.scores) for node in (one, two)] == [1, 2]
    assert two.scores[:1] == one.scores
    assert ops._lease.reserved == 0


async def test_a_whole_solution_is_charged_whole_and_has_one_score():
    engine = ScriptedEngine(letters(3))
    ops = shown(Bytes(whole=True), engine)
    nodes = await ops.sample(ops.root, 2, until="end")
    assert [len(node.scores) for node in nodes] == [1, 1]
    assert ops.usage.verifier_flops == sum(VERIFIER.score(0, len(r.tokens)) for r in engine.scores)


@pytest.mark.parametrize("options", [{"verifier_ratio": 2.0}, {"verifier_limit": 11}])
async def test_a_text_that_takes_more_than_was_granted_or_fits_is_not_scored_and_counted(options):
    """And nothing is overdrawn, and no engine asked."""
    engine = ScriptedEngine(letters(3))
    ops = shown(Bytes(width=40 if "verifier_ratio" in options else 1), engine, **options)
    nodes = await ops.sample(ops.root, 3)
    assert ops.usage.unscored == 3
    assert not engine.scores
    assert not any(node.scored for node in nodes)
    assert {ops.value(node) for node in nodes} == {0.0}
    lease: Lease = ops._lease
    assert lease.settled == ops.usage.flops <= lease.limit
    assert lease.reserved == 0


async def test_what_was_not_granted_can_be_paid_when_the_text_is_known():
    engine = ScriptedEngine(letters(3))
    ops = shown(Bytes(width=40), engine)
    (node,) = await ops.sample(ops.root, 1)
    assert not node.scored
    (scored,) = await ops.score([node])
    assert scored.scored
    assert len(scored.scores) == 1


async def test_a_whole_solutions_grant_covers_the_question_however_long_it_is():
    question = "x" * 400
    engine = ScriptedEngine(letters(3))
    ops = shown(Bytes(whole=True), engine, prompt=f"{question}?")
    nodes = await ops.sample(ops.root, 2, until="end")
    assert ops.usage.unscored == 0
    assert all(node.scored for node in nodes)


def written(pieces: dict[str, str]) -> ScriptedEngine:
    """An engine that goes on from each text as it is told; the last letter before the end is the score."""
    return ScriptedEngine(
        lambda request, prompt, random: pieces[prompt.partition("?")[2]],
        judge=lambda text: int(text.rstrip("!")[-1]) / 10,
    )


async def test_a_step_without_words_is_shown_to_no_verifier_and_has_its_neighbours_score():
    engine = written({"": "a3\n", "a3\n": "\n", "a3\n\n": "b5$"})
    ops = shown(Bytes(), engine)
    (one,) = await ops.sample(ops.root, 1)
    (empty,) = await ops.sample(one, 1)
    assert (empty.scores, len(engine.scores)) == ((0.3, 0.3), 1)
    (last,) = await ops.sample(empty, 1)
    assert last.scores == (0.3, 0.3, 0.5)
    texts = ["".join(map(chr, request.tokens)) for request in engine.scores]
    assert texts == ["Q: 1+1? a3!", "Q: 1+1? a3!b5!"]
    ends = [OPENING, *map(len, texts)]
    assert ops.usage.verifier_flops == VERIFIER.prefill(OPENING) + sum(
        VERIFIER.score(a, b) for a, b in pairwise(ends)
    )


async def test_a_solution_that_begins_or_ends_without_words_is_scored_by_its_words():
    engine = written({"": "\n\na3\n\nb5\n$"})
    (node,) = await (ops := shown(Bytes(), engine)).sample(ops.root, 1, until="end")
    assert node.scores == (0.3, 0.3, 0.3, 0.3, 0.5, 0.5)
    assert "".join(map(chr, engine.scores[0].tokens)).endswith("? a3!b5!")
    assert len(engine.scores[0].step_ends) == 2
