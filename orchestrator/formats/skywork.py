"""Skywork-o1-Open-PRM: a value head, read at the newline after each step.

Its own code tokenizes the problem (after the begin-of-sequence token, with a newline) and each step apart,
and takes the sigmoid of the value at the token of the newline that follows a step. vLLM has no value head:
``ttc verifier convert`` writes the model as token classification with one label, which is the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import ids
from orchestrator.formats.token import in_pieces


class Skywork:
    """One value a token, read at the newline after each step."""

    whole = False
    overhead = 1

    def __init__(self, facts: FormatFacts) -> None:
        self._tokenizer = facts.tokenizer
        self._newline = ids(facts.tokenizer, "\n")[-1:]
        self.reading = Reading("probability")

    def opening(self, question: str) -> tuple[int, ...]:
        return ids(self._tokenizer, f"{self._tokenizer.bos_token or ''}{question}\n")

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        pieces = [ids(self._tokenizer, _one_line(step)) + self._newline for step in steps]
        return [in_pieces(self.opening(question), pieces, first)]


def _one_line(step: str) -> str:
    """A newline ends a step, so a step holds none."""
    return " ".join(step.split("\n"))
