"""A request that no engine can answer is told in one line, before anything is asked or charged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.errors import BadInput
from orchestrator.problems.codec import Codec
from orchestrator.search.tree import Node
from tests.support.scripted import Characters, ScriptedEngine, letters, operations


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda ops: ops.sample(ops.root, 1, until="typo"),
            "until: 'typo' is not usable; allowed: step, thou",
        ),
        (lambda ops: ops.sample(ops.root, 1, until=None), "until: null"),
        (lambda ops: ops.sample(ops.root, 1, until=[]), "until: []"),
        (lambda ops: ops.sample(ops.root, -1), "n: -1 is not usable; allowed: a whole number, 0 or more"),
        (lambda ops: ops.sample(ops.root, True), "n: true"),
        (lambda ops: ops.sample(ops.root, 1.5), "n: 1.5"),
        (lambda ops: ops.sample(ops.root, "4"), "n: '4'"),
        (
            lambda ops: ops.sample(ops.root, [1, 2]),
            "n: [1, 2] is not usable; allowed: a whole number, or a list of 1",
        ),
        (lambda ops: ops.sample([ops.root], [-2]), "n: -2"),
        (
            lambda ops: ops.sample(ops.root, 1, temperature=2.5),
            "temperature: 2.5 is not usable; allowed: 0 to 2",
        ),
        (lambda ops: ops.sample(ops.root, 1, temperature=-0.1), "temperature: -0.1"),
        (lambda ops: ops.sample(ops.root, 1, temperature=math.nan), "temperature: nan"),
        (lambda ops: ops.sample(ops.root, 1, temperature="hot"), "temperature: 'hot'"),
        (lambda ops: ops.sample(ops.root, 1, temperature=True), "temperature: true"),
        (
            lambda ops: ops.sample(ops.root, 1, keep="sometimes"),
            "keep: 'sometimes' is not usable; allowed: always",
        ),
        (lambda ops: ops.sample(None, 1), "parents: null is not usable; allowed: a node"),
        (lambda ops: ops.sample(["x"], 1), "parents: 'x' is not usable; allowed: nodes alone"),
        (lambda ops: ops.sample(Node("", (1,)), 1), "path '' is no node of this problem's tree"),
        (lambda ops: ops.sample(Node("0", ops.prompt), 1), "path '0' is no node of this problem's tree"),
        (lambda ops: ops.write(-1, None), "n: -1"),
        (lambda ops: ops.write(1, None, suppressed=-1), "suppressed: -1"),
        (lambda ops: ops.write(1, lambda draft: draft.sample("typo")), "until: 'typo'"),
        (lambda ops: ops.score("x"), "nodes: 'x'"),
        (lambda ops: ops.revise([None]), "chains: null"),
    ],
)
async def test_a_request_that_can_never_work_fails_before_anything_is_asked_or_charged(call, words):
    engine = ScriptedEngine(letters(2))
    ops = operations(engine)
    with pytest.raises(Exception) as failed:  # noqa: PT011
        await call(ops)
    assert words in str(failed.value)
    assert not engine.samples
    assert ops._lease.reserved == 0


async def test_thoughts_are_not_asked_for_where_nothing_ends_them():
    ops = operations(ScriptedEngine(letters(2)), codec=Codec(Characters(), "\n"))
    with pytest.raises(BadInput, match=r"until: 'thought' .*no generator.end_of_thinking"):
        await ops.sample(ops.root, 1, until="thought")


async def test_counts_and_temperatures_may_be_numpys():
    engine = ScriptedEngine(letters(2))
    ops = operations(engine)
    nodes = await ops.sample(ops.root, np.int64(2), temperature=np.float32(0.5))
    assert len(await ops.sample(nodes, [np.int32(1), 2])) == 3
    assert engine.samples[0].temperature == 0.5
