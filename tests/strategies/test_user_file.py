"""A user's own file runs once, as an import would run it, and its errors name file and line."""

from __future__ import annotations

import os
import sys

import pytest

from orchestrator.errors import BadInput
from orchestrator.strategies.registry import resolve

OWN = """
from __future__ import annotations

import builtins
from dataclasses import dataclass

builtins.times_run = getattr(builtins, "times_run", 0) + 1


@dataclass
class State:
    seen: list[int]
    best: float = 0.0


async def search(ops, *, n: int = 2):
    state = State([])
    return await ops.sample(ops.root, n, until="end")
"""


@pytest.fixture
def own(tmp_path):
    import builtins

    path = tmp_path / "own.py"
    path.write_text(OWN)
    yield path
    del builtins.times_run


def test_a_file_with_a_dataclass_runs_once_and_again_only_when_it_has_changed(own):
    import builtins

    for _ in range(3):
        bound = resolve({"name": f"{own}:search", "n": 3})
    assert bound.params == {"n": 3}
    assert builtins.times_run == 1
    assert bound.strategy.search.__module__ in sys.modules
    own.write_text(OWN.replace("n: int = 2", "n: int = 5"))
    os.utime(own, ns=(1, 1))
    assert resolve({"name": f"{own}:search"}).params == {"n": 5}
    assert builtins.times_run == 2


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("import math\n\nx = math.ghost\n", 3, "AttributeError: module 'math' has no attribute 'ghost'"),
        ("x = 1\nasync def f(ops:\n    pass\n", 2, "SyntaxError"),
    ],
)
def test_a_file_that_does_not_run_is_said_with_its_line(tmp_path, text, place, problem):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        resolve({"name": f"{path}:f"})
    assert f"{path}:{place}: {problem}" in str(caught.value)
