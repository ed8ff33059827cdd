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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit(0)\n", ":2: SystemExit"),
        ("raise ValueError('a\\nb\\nc')\n", ":1: ValueError: a"),
        ("async def f(ops, *, n=(1, 2)): ...\n", "a default that a configuration can hold"),
        ("async def f(ops, *, name='x'): ...\n", "a name other than name"),
        (
            "from orchestrator.strategies.definition import strategy\n"
            "def check(n): return 1 / 0\n"
            "@strategy(check=check)\nasync def f(ops, *, n=1): ...\n",
            "its own check failed: ZeroDivisionError: division by zero",
        ),
        (
            "import sys\nfrom orchestrator.strategies.definition import strategy\n"
            "def check(n): sys.exit(0)\n"
            "@strategy(check=check)\nasync def f(ops, *, n=1): ...\n",
            "its own check failed: SystemExit: 0",
        ),
        (
            "from orchestrator.strategies.definition import strategy\n@strategy()\ndef f(ops): ...\n",
            "no coroutine function",
        ),
    ],
)
def test_what_a_file_does_wrong_is_one_line(tmp_path, text, told):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        resolve({"name": f"{path}:f"})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_imports_what_lies_beside_it_and_a_name_that_is_too_long_is_refused(tmp_path):
    (tmp_path / "beside_own.py").write_text("N = 7\n")
    (tmp_path / "own.py").write_text("from beside_own import N\nasync def f(ops, *, n: int = N): ...\n")
    assert resolve({"name": f"{tmp_path}/own.py:f"}).params == {"n": 7}
    with pytest.raises(BadInput, match="a file that exists"):
        resolve({"name": f"/tmp/{'a' * 300}.py:f"})
