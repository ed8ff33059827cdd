"""Math-Shepherd's PRM: the tag ``ки`` after every step, and the choice between ``+`` and ``-`` read there.

As its model card does it: ``question`` and ``Step 1: … ки\\nStep 2: … ки``; the score is the softmax's
probability of ``+`` against ``-`` as the token after the tag (Wang et al. 2024).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import ids, one_token
from orchestrator.problems.conversation import begun

TAG = "ки"


class MathShepherd:
    """A causal language model that says ``+`` or ``-`` after the tag."""

    whole = False
    overhead = 8
    """``Step 12: `` and the tag with its newline."""

    def __init__(self, facts: FormatFacts) -> None:
        self._tokenizer = facts.tokenizer
        self._model = facts.model
        self._tag, _ = one_token(facts.tokenizer, f"Step 1: x {TAG}", key="verifier.model", model=facts.model)
        signs = ids(facts.tokenizer, "+ -")  # as the model card finds their ids
        if len(signs) != 2:
            raise BadInput("verifier.model", facts.model, "needed: a tokenizer with a token for + and for -")
        plus, minus = facts.tokenizer.convert_ids_to_tokens(list(signs))
        self.reading = Reading("expected", (0.0, 1.0), (minus, plus))

    def opening(self, question: str) -> tuple[int, ...]:
        return begun(self._tokenizer, f"{question} Step 1:")

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        shown = [
            step if re.match(r"step\s*\d", step, re.IGNORECASE) else f"Step {number}: {step}"
            for number, step in enumerate((step.replace(TAG, " ") for step in steps), start=1)
        ]
        text = f"{question.replace(TAG, ' ')} " + "\n".join(f"{step} {TAG}" for step in shown)
        tokens = begun(self._tokenizer, text)
        ends = [position + 1 for position, token in enumerate(tokens) if token == self._tag]
        if len(ends) != len(steps):
            raise BadInput(
                "verifier.model", self._model, f"its tokenizer writes {len(ends)} tags for {len(steps)} steps"
            )
        return [Input(tokens[: ends[-1]], tuple(ends[first:]))]
