"""The checker ``code``: a program that passes given test cases, run in a bounded process without network.

The truth is JSON: ``{"function": "name", "cases": [[[arguments], expected], …]}``, or a list of assert
statements. The answer is the last fenced block of Python. What is right is never in the program's process.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import at_least
from orchestrator.grading.sandbox import Sandbox

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """Runs the answer's function against all cases of the truth."""

    seconds: float = 5.0
    """Seconds for all cases of an answer together."""
    memory: float = 512.0
    """MiB of memory."""
    slow = True

    def __post_init__(self) -> None:
        at_least("problems.answers.seconds", self.seconds, 0.1)
        at_least("problems.answers.memory", self.memory, 64)

    def check_truth(self, truth: str) -> None:
        """Raises ValueError for an answer that is no test cases."""
        tests(truth)

    def extract(self, text: str) -> str | None:
        blocks = [(name.lower(), body.strip()) for name, body in _FENCE.findall(text)]
        tagged = [body for name, body in blocks if name in ("python", "py", "python3")]
        # A block without a name beside one that has it is what the program prints.
        found = tagged or [body for name, body in blocks if not name]
        return found[-1] or None if found else None

    def key(self, answer: str) -> str:
        return "\n".join(line.rstrip() for line in answer.strip().splitlines() if line.strip())

    def accepts(self, truth: str, answer: str) -> bool:
        """Raises ValueError where the truth is no test."""
        wanted, sandbox = tests(truth), Sandbox(self.seconds, self.memory)
        if isinstance(wanted, str):
            return sandbox.passes(answer, wanted)
        arguments = json.dumps([given for given, _ in wanted.cases])
        try:
            results = json.loads(sandbox.results(answer, wanted.function, arguments))
        except (ValueError, RecursionError):
            return False
        if not isinstance(results, list) or len(results) != len(wanted.cases):
            return False
        return all(_same(result, right) for result, (_, right) in zip(results, wanted.cases, strict=True))


@dataclass(frozen=True)
class Cases:
    """A function's name, and arguments with what it returns for them."""

    function: str
    cases: tuple[tuple[list[Any], Any], ...]


def _same(given: Any, expected: Any) -> bool:
    """Tells whether two values of JSON are equal; a float may be off by rounding."""
    if isinstance(expected, float) or isinstance(given, float):
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (given, expected)):
            return False
        return bool(given == expected or abs(given - expected) <= 1e-9 * max(1.0, abs(expected)))
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(_same, given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(_same(given[key], expected[key]) for key in given)
    return type(given) is type(expected) and bool(given == expected)


def tests(truth: str) -> Cases | str:
    """Returns the cases, or the statements, that test an answer. Raises ValueError that says what is wrong
    with a truth."""
    try:
        given = json.loads(truth)
    except ValueError as error:
        raise ValueError(f"the truth is no JSON of test cases ({error})") from error
    if isinstance(given, list) and given and all(isinstance(line, str) for line in given):
        return "\n".join(given)
    function, cases = (given.get("function"), given.get("cases")) if isinstance(given, dict) else (None, None)
    if (
        not isinstance(function, str)
        or not function.isidentifier()
        or not isinstance(cases, list)
        or not cases
    ):
        raise ValueError(
            'the truth needs {"function": name, "cases": [[[arguments], expected], …]} or asserts'
        )
    for case in cases:
        if not isinstance(case, list) or len(case) != 2 or not isinstance(case[0], list):
            raise ValueError(f"a test case is {str(case)[:60]}; needed: [[arguments], expected]")
    return Cases(function, tuple((arguments, expected) for arguments, expected in cases))
