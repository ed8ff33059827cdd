"""RLHFlow's PRMs: each step is a user's turn, and the assistant answers ``+`` or ``-``.

As its own code does it: the first turn is the question and the first step; every earlier answer is ``+``; the
score is the softmax's probability of ``+`` against ``-`` where the assistant's answer begins.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import chat, one_token
from orchestrator.problems.conversation import Turn


class Rlhflow:
    """A causal language model that answers each step with ``+`` or ``-``."""

    whole = False

    def __init__(self, facts: FormatFacts) -> None:
        self._facts = facts
        named = {"key": "verifier.model", "model": facts.model}
        (_, minus), (id, plus) = (one_token(facts.tokenizer, sign, **named) for sign in ("-", "+"))
        self._plus = (id,)
        self.reading = Reading("expected", (0.0, 1.0), (minus, plus))
        one, two = (self.inputs("x", ["x"] * count, 0)[0].tokens for count in (1, 2))
        self.overhead = len(two) - len(one)

    def opening(self, question: str) -> tuple[int, ...]:
        return self._chat([{"role": "user", "content": f"{question} "}], reply=False)

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        turns: list[Turn] = []
        for number, step in enumerate(steps):
            content = step if number else f"{question} {step}"
            turns += [{"role": "user", "content": content}, {"role": "assistant", "content": "+"}]
        whole = self._chat(turns, reply=False)
        reads = [len(self._chat(turns[: 2 * n + 1], reply=True)) for n in range(first, len(steps))]
        last = self._chat(turns[:-1], reply=True)
        if whole[: len(last)] != last or any(whole[read : read + 1] != self._plus for read in reads):
            raise BadInput(
                "verifier.model",
                self._facts.model,
                "its chat template does not show an answer where it lets one begin",
            )
        return [Input(last, tuple(reads))]

    def _chat(self, turns: Sequence[Turn], *, reply: bool) -> tuple[int, ...]:
        return chat(self._facts.tokenizer, turns, reply=reply, model=self._facts.model)
