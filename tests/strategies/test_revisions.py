"""Chains of revisions: what an attempt sees, what it is charged, how it is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.errors import BadInput
from orchestrator.problems.problem import Problem
from orchestrator.search.revision import CONTEXT, FORMATS, JUDGED, Attempt, RevisionPrompt
from orchestrator.strategies.registry import find
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, EOS, GENERATOR, VERIFIER, ScriptedEngine, letters, operations


@settings(max_examples=30)
@given(length=st.integers(1, 7), chains=st.integers(1, 3), jitter=st.randoms(use_true_random=False))
async def test_a_revision_sees_exactly_the_last_four_attempts_of_its_chain(length, chains, jitter):
    engine = ScriptedEngine(letters(2), jitter=jitter)
    nodes = await find("revisions")(operations(engine), n=length * chains, length=length)
    assert len(nodes) == len(engine.revisions) == length * chains
    assert engine.samples == []
    requests = {request.id.rpartition("/")[2]: request for request in engine.revisions}
    for start in range(0, len(nodes), length):
        chain = nodes[start : start + length]
        texts = ["".join(map(chr, node.tokens[4:])).replace(EOS, "") for node in chain]
        for i, node in enumerate(chain):
            assert node.path == (*((start // length,)), *([0] * i)), "each attempt is the one before's child"
            shown = "".join(f"{text}#" for text in texts[max(0, i - 4) : i])
            assert "".join(map(chr, requests[node.key].prompt)) == f"{shown}1+1?"
            assert node.finished
            assert len(node.scores) == 2


async def test_a_revision_is_charged_its_whole_context_and_scored_without_it():
    engine = ScriptedEngine(letters(2))
    ops = operations(engine)
    await find("revisions")(ops, n=3, length=3)
    contexts = [len(request.prompt) for request in engine.revisions]
    assert contexts == [4, 12, 20], "an attempt is 8 characters with its #"
    assert ops.usage.generator_flops == sum(GENERATOR.prefill(c) + GENERATOR.sample(c, 8) for c in contexts)
    assert {len(request.tokens) for request in engine.scores} == {12}
    assert ops.usage.verifier_flops == VERIFIER.prefill(4) + 3 * VERIFIER.score(4, 12)


@pytest.mark.parametrize("own_model", [False, True])
async def test_the_prompt_is_charged_once_to_a_model_that_samples_and_revises(own_model):
    engine = ScriptedEngine(letters(2))
    ops = operations(engine, reviser=replace(GENERATOR) if own_model else GENERATOR)
    await ops.sample(ops.root, 1, until="end")
    await ops.revise([[]])
    once, each = GENERATOR.prefill(4), GENERATOR.sample(4, 8)
    assert ops.usage.generator_flops == (2 if own_model else 1) * once + 2 * each
    assert ops.usage.generator_tokens == (2 if own_model else 1) * 4 + 2 * 8
    assert ops._lease.settled == ops.usage.flops


def test_every_revision_format_shows_the_attempts_and_starts_with_the_bare_problem():
    attempts = [Attempt(("one\n", "two"), (0.9, 0.2)), Attempt(("three\n", "four"), (0.3, 0.8))]
    for name in ("plain", "self_critique", "verifier_feedback"):
        assert FORMATS[name]("problem", []) == "problem"
        text = FORMATS[name]("problem", attempts)
        assert text.startswith("problem")
        assert all(step in text for step in ("one", "two", "three", "four"))
    feedback = FORMATS["verifier_feedback"]("problem", attempts)
    assert "[step 1, judged 0.30] three" in feedback
    assert "Step 1 is the most doubtful" in feedback
    assert FORMATS["verifier_feedback"]("p", [Attempt(("a",), ())]) == FORMATS["plain"](
        "p", [Attempt(("a",), ())]
    )


def test_of_a_long_attempt_the_most_doubtful_steps_are_judged():
    steps = [f"s{i}.\n\n" for i in range(100)]
    scores = [0.9] * 40 + [0.2] * 20 + [0.1] + [0.8] * 39
    text = FORMATS["verifier_feedback"]("p", [Attempt(tuple(steps), tuple(scores))])
    assert text.count("[step ") == JUDGED
    assert "[step 61, judged 0.10] s60.\n" in text
    assert "[step 41, judged 0.20] s40.\n" in text
    assert "Step 61 is the most doubtful" in text
    assert all(step.strip() in text for step in steps)


@settings(max_examples=100)
@given(
    name=st.sampled_from(["plain", "self_critique", "verifier_feedback"]),
    attempts=st.lists(
        st.lists(
            st.tuples(st.text("ab \n", min_size=1, max_size=4), st.floats(0, 1)), min_size=1, max_size=40
        ),
        max_size=6,
    ),
)
def test_a_format_adds_no_more_tokens_than_it_says(name, attempts):
    write, problem = RevisionPrompt(CODEC, FORMATS[name]), Problem("p", "1+1?", "")
    shown = [Attempt(*map(tuple, zip(*attempt, strict=True))) for attempt in attempts]
    own = sum(len(attempt.text) for attempt in shown[-CONTEXT:])
    assert len(write(problem, shown)) <= len("1+1?") + own + write.words(problem, 40)


def test_the_words_of_a_format_must_fit_the_context_too(tmp_path):

    def fits(name: str, length: int) -> None:
        options = [f"reviser.format={name}", f"generator.engine.max_model_len={length}", f"runs={tmp_path}"]
        prepare(load(LAB_CONFIG, ["strategy={name: revisions, n: 4}", "problems.limit=1", *options]))

    fits("lab", 42 + 5 * 48)  # what it was trained on has no words around it
    for name in ("plain", "verifier_feedback"):
        with pytest.raises(
            BadInput, match=r"4 earlier attempts are shown with [0-9]+ tokens around"
        ) as caught:
            fits(name, 42 + 5 * 48)
        needed = int(caught.value.allowed.partition("; allowed: ")[2].split()[0])
        with pytest.raises(BadInput, match=f"{needed} or more"):
            fits(name, needed - 1)
        fits(name, needed)
