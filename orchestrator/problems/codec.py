"""Translates between text and token ids: prompts, solutions, the ends of steps and of thinking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from os.path import expanduser
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, in_one_line
from orchestrator.problems.conversation import Conversation, begun, render_chat


class Codec:
    """A generator's tokenizer, the texts that end a step, its thinking or a solution, and what stands around
    a question."""

    def __init__(
        self,
        tokenizer: Any,
        step_delimiter: str | Sequence[str],
        end_of_thinking: str | None = None,
        *,
        step_pattern: str | None = None,
        stop: Sequence[str] = (),
        conversation: Conversation | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.step_pattern = re.compile(step_pattern) if step_pattern is not None else None
        self.delimiters = (step_delimiter,) if isinstance(step_delimiter, str) else tuple(step_delimiter)
        self.end_of_thinking = end_of_thinking
        self.stop = tuple(stop)
        self.conversation = conversation or Conversation()
        # Only a token that holds one of a delimiter's characters can complete it.
        self._characters = frozenset("".join(self.delimiters))
        self._pieces: dict[int, bool] = {}

    @property
    def separator(self) -> str:
        """The text between two steps: the first delimiter, or a blank line where steps end by length."""
        return self.delimiters[0] if self.delimiters else "\n\n"

    @property
    def space(self) -> str:
        """The white space between the texts of two steps (``step_texts``): that of the separator."""
        return self.separator[len(self.separator.rstrip()) :]

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        step_delimiter: str | Sequence[str],
        end_of_thinking: str | None = None,
        *,
        key: str = "generator.model",
        step_pattern: str | None = None,
        stop: Sequence[str] = (),
        conversation: Conversation | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> Codec:
        """Loads the tokenizer of a directory or hub id. Raises BadInput that names ``key``."""
        tokenizer = load_tokenizer(model, key=key, revision=revision, trust_remote_code=trust_remote_code)
        return cls(
            tokenizer,
            step_delimiter,
            end_of_thinking,
            step_pattern=step_pattern,
            stop=stop,
            conversation=conversation,
        )

    def encode(self, question: str) -> tuple[int, ...]:
        """Returns the token ids of the prompt that asks a question (``conversation``).

        Raises BadInput where the tokenizer has no chat template that takes it.
        """
        put = self.conversation
        if not put.chat:
            return begun(self.tokenizer, question + put.reply)
        text = render_chat(
            self.tokenizer,
            put.turns(question),
            reply=True,
            key="generator.chat_template" if put.template else "generator.chat",
            value=put.template[:60] if put.template else True,
            template=put.template,
            options=put.options,
        )
        return begun(self.tokenizer, text + put.reply)

    def continuation(self, text: str) -> tuple[int, ...]:
        """Returns the token ids of a text that follows others.

        No token that only begins a sequence is added; a special token that the text names becomes that token.
        """
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def before_marker(self, tokens: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Returns how many of ``tokens`` precede the first end-of-thinking marker in them, and the ids of the
        text, if any, that shares a token with the beginning of the marker."""
        assert self.end_of_thinking is not None
        before, _, _ = self._raw(tokens).partition(self.end_of_thinking)
        kept = len(tokens)
        while not before.startswith(kept_text := self._raw(tokens[:kept])):
            kept -= 1
        rest = before[len(kept_text) :]
        return kept, self.continuation(rest) if rest else ()

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of the tokens, without special tokens."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def solution(self, tokens: Sequence[int]) -> str:
        """Returns the text of a solution's tokens: after what begins each answer, up to the stop text."""
        text = self.decode(tokens)
        return self.conversation.reply + text[: self._cut(text)]

    def _cut(self, text: str) -> int:
        """Where the first stop of a text begins; its end where it has none."""
        return min((at for stop in self.stop if (at := text.find(stop)) >= 0), default=len(text))

    def step_texts(self, tokens: Sequence[int], start: int, ends: Sequence[int]) -> tuple[str, ...]:
        """Returns the text of each step of ``tokens[start:]`` without the space around it.

        ``ends`` are the exclusive end positions of the steps.
        """
        whole = self.decode(tokens[start : ends[-1]]) if ends else ""
        cut = self._cut(whole)
        texts: list[str] = []
        begin, written = start, 0
        for end in ends:
            text = self.decode(tokens[begin:end])
            if "\ufffd" in text:  # a character may begin in one step and end in the next
                text = self.decode(tokens[start:end]).rstrip("\ufffd")[written:]
            written += len(text)
            if written > cut:
                text = text[: max(0, len(text) - (written - cut))]
            if not texts:  # the first step goes on from what begins each answer
                text = self.conversation.reply + text
            texts.append(text.strip())
            begin = end
        return tuple(texts)

    def step_ends(self, tokens: Sequence[int], start: int) -> tuple[int, ...]:
        """Returns the exclusive end positions of the steps in ``tokens[start:]``; the last step ends at the
        end."""
        ends, begin = [], start
        for position in range(start, len(tokens)):
            if self._may_complete(tokens[position]) and self._delimited(tokens[begin : position + 1]):
                begin = position + 1
                ends.append(begin)
        if begin < len(tokens):
            ends.append(len(tokens))
        return tuple(ends)

    def _delimited(self, tokens: Sequence[int]) -> bool:
        text = self._raw(tokens)
        if self.step_pattern is not None:
            return self.step_pattern.search(text) is not None
        return any(delimiter in text for delimiter in self.delimiters)

    def _may_complete(self, token: int) -> bool:
        if self.step_pattern is not None:
            return True
        known = self._pieces.get(token)
        if known is None:
            piece = self._raw((token,))
            # A token of a character's last bytes decodes to nothing readable by itself.
            known = self._pieces[token] = not self._characters.isdisjoint(piece) or "\ufffd" in piece
        return known

    def _raw(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)


@lru_cache(maxsize=8)
def load_tokenizer(
    model: str, *, key: str, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """Loads a Hugging Face tokenizer. Raises BadInput that names ``key`` where there is none to load."""
    from transformers import AutoTokenizer

    directory = Path(expanduser(model))
    if directory.is_dir() and not any(
        (directory / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")
    ):
        raise BadInput(key, model, "the directory has no tokenizer (tokenizer.json)")
    try:
        return AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:
        reason = in_one_line(error)
        raise BadInput(key, model, f"its tokenizer does not load: {reason}") from error
