"""A question that a causal language model answers with one of a few words, read from their odds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.texts import chat, ids, one_token
from orchestrator.problems.conversation import Turn, begun


@dataclass(frozen=True)
class ClosedQuestion:
    """Asks in the model's own chat template, or in plain text where it has none."""

    section: str
    """Section of the configuration that names the model, for messages."""
    model: str
    """Its directory or hub id."""
    tokenizer: Any
    choices: Mapping[str, float]
    """The words, each one token, and what each stands for, from 0 to 1."""
    system: str | None = None
    """System prompt of a chat."""

    @property
    def reading(self) -> Reading:
        """The mean of what the words stand for under the odds of each as the answer's first token.

        Raises BadInput where the words are not single, different tokens, or all stand for the same.
        """
        key, entries = f"{self.section}.choices", []
        if len({*self.choices.values()}) < 2:
            needed = "needed: two words or more, not all of one value: else each score is the same"
            raise BadInput(key, dict(self.choices), needed)
        for word in self.choices:
            _, entry = one_token(self.tokenizer, word, key=key, model=self.model)
            if len(ids(self.tokenizer, word)) != 1 or entry in entries:
                needed = f"needed: words of one token each, all different, of {self.model}"
                raise BadInput(key, word, needed)
            entries.append(entry)
        return Reading("expected", tuple(self.choices.values()), tuple(entries))

    def tokens(self, text: str, *, reply: bool = True) -> tuple[int, ...]:
        """Returns the token ids of a question; with ``reply``, up to where the answer begins."""
        if not self.chats:
            return begun(self.tokenizer, text)
        return self._chat(self.turns(text), reply=reply)

    def check(self) -> None:
        """Raises BadInput where an answer does not begin where the template lets one begin."""
        if not self.chats:
            return
        word = next(iter(self.choices))
        whole = self._chat([*self.turns("x"), {"role": "assistant", "content": word}], reply=False)
        asked = self.tokens("x") + ids(self.tokenizer, word)
        if whole[: len(asked)] != asked:
            needed = "its chat template does not show an answer where it lets one begin"
            raise BadInput(f"{self.section}.model", self.model, needed)

    def said(self, text: str) -> float | None:
        """Returns what the last of the words in a written answer stands for; None where it has none."""
        words = sorted(self.choices, key=len, reverse=True)
        found = re.findall(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", text, re.IGNORECASE)
        values = {word.lower(): value for word, value in self.choices.items()}
        return values[found[-1].lower()] if found else None

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def turns(self, text: str) -> list[Turn]:
        """Returns the messages of a chat that asks a question."""
        before: list[Turn] = [{"role": "system", "content": self.system}] if self.system else []
        return [*before, {"role": "user", "content": text}]

    def _chat(self, turns: list[Turn], *, reply: bool) -> tuple[int, ...]:
        return chat(self.tokenizer, turns, reply=reply, model=self.model, key=f"{self.section}.model")
