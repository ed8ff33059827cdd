"""The harness runs sides in turn, drops the round that warms up, and accepts only equal results."""

from __future__ import annotations

import io
from itertools import count

import pytest
from rich.console import Console

from orchestrator.benchmarks import harness
from orchestrator.benchmarks.controller import table as controller_table


async def test_sides_run_in_turn_and_the_first_round_is_dropped():
    order, numbers = [], count()

    def side(name):
        async def run():
            order.append(name)
            return next(numbers)

        return run

    found = await harness.in_turn({"a": side("a"), "b": side("b")}, 2)
    assert order == ["a", "b"] * 3
    assert found == {"a": [2, 4], "b": [3, 5]}
    assert harness.ratios(found["b"], found["a"]) == [3 / 2, 5 / 4]
    assert harness.spread([3.0, 1.0, 2.5], ".1f") == ["1.0", "2.5", "3.0"]


def test_different_solutions_are_an_error():
    harness.same(["x", "x"])
    with pytest.raises(RuntimeError, match="different solutions"):
        harness.same(["x", "y"])


def test_options_have_the_defaults_of_their_benchmark():
    options = harness.parser("Text.\n\nMore.", problems=64, cores=2).parse_args(["--problems", "3"])
    assert vars(options) == {"problems": 3, "cores": 2}


def test_the_widest_table_fits_a_terminal_of_80():
    row = dict.fromkeys(("operations", "rate", "cpu_us", "engines_us", "p50_ms", "p99_ms"), 1.0)
    row |= {"operations": 200_000, "rate": 22_100, "p50_ms": 1000, "p99_ms": 1000, "bytes": 2**30}
    row["held"] = 9999
    console = Console(file=io.StringIO(), width=200)
    console.print(controller_table("by problems", "problems", {"100,000": row}))
    assert max(len(line.rstrip()) for line in console.file.getvalue().splitlines()) <= 80
