"""From a solution's text to its answer, and whether two answers are the same."""

from __future__ import annotations

import logging
from typing import Protocol

logging.getLogger("math_verify").setLevel(logging.ERROR)


class Answers(Protocol):
    """How the answers of a problem set are read and compared."""

    def extract(self, text: str) -> str | None:
        """The answer in canonical form (equal strings are equal answers), or None if there is none."""

    def correct(self, answer: str | None, truth: str) -> bool:
        """Whether an extracted answer is the problem's."""


class Exact:
    """The whole text, without space at its ends, is the answer (the lab's completed grid)."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def correct(self, answer: str | None, truth: str) -> bool:
        return answer is not None and answer == truth.strip()


class Math:
    """The last boxed or final mathematical expression, as LaTeX; math-verify parses and compares it."""

    def extract(self, text: str) -> str | None:
        import sympy
        from math_verify import parse

        # parsing_timeout None: its default uses a signal, which only the main thread may set.
        parsed = parse(text, parsing_timeout=None)
        if not parsed:
            return None
        return parsed[0] if isinstance(parsed[0], str) else sympy.latex(parsed[0])

    def correct(self, answer: str | None, truth: str) -> bool:
        from math_verify import parse, verify

        if answer is None:
            return False
        gold = parse(truth, parsing_timeout=None) or parse(f"${truth}$", parsing_timeout=None)
        given = parse(f"${answer}$", parsing_timeout=None)
        return bool(verify(gold, given, timeout_seconds=None))


ANSWERS: dict[str, Answers] = {"exact": Exact(), "math": Math()}
