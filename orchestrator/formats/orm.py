"""Sequence classification: one reward of a whole solution, in the model's own chat template.

The reward is read where Transformers pools and the model was trained: at the last token that is not the
padding token. A Bradley–Terry reward has no bounds; the score keeps its order exactly (``Reading``,
``reward``), and ``actors.reading.reward_of`` gives the reward back.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import chat
from orchestrator.problems.conversation import Turn


class Orm:
    """One reward a solution."""

    whole = True
    overhead = 0

    def __init__(self, facts: FormatFacts) -> None:
        self._facts = facts
        self.reading = Reading("reward")

    def opening(self, question: str) -> tuple[int, ...]:
        return ()

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        facts = self._facts
        turns: list[Turn] = [{"role": "system", "content": facts.system}] if facts.system else []
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": facts.separator.join(steps)})
        tokens = chat(facts.tokenizer, turns, reply=False, model=facts.model)
        end, padding = len(tokens), facts.config.get("pad_token_id")
        while end > 1 and tokens[end - 1] == padding:
            end -= 1
        return [Input(tokens[:end], (end,))]
