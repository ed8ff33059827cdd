"""Qwen2.5-Math-PRM: ``<extra_0>`` after every step of the assistant's turn, two labels read there.

As its model card does it: a system prompt, the question, and the steps joined by the separator, in the
model's own chat template; the score is the softmax's probability of the second label.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import chat, ids
from orchestrator.formats.token import in_pieces
from orchestrator.problems.conversation import Turn

SEPARATOR = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


class QwenPrm:
    """Two labels a token, read at ``<extra_0>``."""

    whole = False
    overhead = 1

    def __init__(self, facts: FormatFacts) -> None:
        self._facts = facts
        self._tokenizer = facts.tokenizer
        self._separator = ids(facts.tokenizer, SEPARATOR)
        if len(self._separator) != 1:
            raise BadInput("verifier.model", facts.model, f"needed: a tokenizer with the token {SEPARATOR}")
        self.reading = Reading("probability")
        answered = [*self._turns("x"), {"role": "assistant", "content": SEPARATOR}]
        whole, begin = chat(self._tokenizer, answered, reply=False, model=facts.model), self.opening("x")
        if whole[: len(begin) + 1] != begin + self._separator:
            needed = "its chat template does not show an answer where it lets one begin"
            raise BadInput("verifier.model", facts.model, needed)

    def opening(self, question: str) -> tuple[int, ...]:
        return chat(self._tokenizer, self._turns(question), reply=True, model=self._facts.model)

    def _turns(self, question: str) -> list[Turn]:
        system = SYSTEM if self._facts.system is None else self._facts.system
        before: list[Turn] = [{"role": "system", "content": system}] if system else []
        return [*before, {"role": "user", "content": question}]

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        # A special token splits the text before it is tokenized, so the steps' tokens are those of the whole.
        pieces = [ids(self._tokenizer, step) + self._separator for step in steps]
        return [in_pieces(self.opening(question), pieces, first)]
