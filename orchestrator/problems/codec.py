"""Translates between text and token ids: prompts, solutions, the ends of steps and of thinking."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, in_one_line


class Codec:
    """A generator's tokenizer, its step delimiter, and the marker that ends its thinking, if it thinks."""

    def __init__(self, tokenizer: Any, step_delimiter: str, end_of_thinking: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.step_delimiter = step_delimiter
        self.end_of_thinking = end_of_thinking
        # Only a token that holds one of the delimiter's characters can complete a delimiter.
        self._pieces: dict[int, bool] = {}

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        step_delimiter: str,
        end_of_thinking: str | None = None,
        *,
        key: str = "generator.model",
    ) -> Codec:
        """Loads the tokenizer of a directory or hub id. Raises BadInput that names ``key``."""
        return cls(load_tokenizer(model, key=key), step_delimiter, end_of_thinking)

    def encode(self, prompt: str, *, chat: bool = False) -> tuple[int, ...]:
        """Returns the token ids of a prompt; with ``chat``, of a user's turn in the model's own chat
        template.

        Raises BadInput where the tokenizer has none.
        """
        if chat:
            if not getattr(self.tokenizer, "chat_template", None):
                raise BadInput("generator.chat", True, "this model's tokenizer has no chat template")
            turn = [{"role": "user", "content": prompt}]
            ids = self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        else:
            ids = self.tokenizer(prompt)["input_ids"]
        return tuple(ids)

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

    def step_texts(self, tokens: Sequence[int], start: int, ends: Sequence[int]) -> tuple[str, ...]:
        """Returns the text of each step of ``tokens[start:]``, without its delimiter and the space around it.

        ``ends`` are the exclusive end positions of the steps.
        """
        texts, begin, written = [], start, ""
        for end in ends:
            text = self.decode(tokens[begin:end])
            if "\ufffd" in text:  # a character may begin in one step and end in the next
                whole = self.decode(tokens[start:end])
                text = whole[len(written) :] if whole.startswith(written) else text
                written = whole
            else:
                written += text
            texts.append(text.removesuffix(self.step_delimiter).strip())
            begin = end
        return tuple(texts)

    def step_ends(self, tokens: Sequence[int], start: int) -> tuple[int, ...]:
        """Returns the exclusive end positions of the steps in ``tokens[start:]``; the last step ends at the
        end."""
        ends, begin = [], start
        for position in range(start, len(tokens)):
            if self._may_complete(tokens[position]) and self.step_delimiter in self._raw(
                tokens[begin : position + 1]
            ):
                begin = position + 1
                ends.append(begin)
        if begin < len(tokens):
            ends.append(len(tokens))
        return tuple(ends)

    def _may_complete(self, token: int) -> bool:
        known = self._pieces.get(token)
        if known is None:
            piece = self._raw((token,))
            known = self._pieces[token] = any(character in piece for character in self.step_delimiter)
        return known

    def _raw(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)


@lru_cache(maxsize=8)
def load_tokenizer(model: str, *, key: str) -> Any:
    """Loads a Hugging Face tokenizer. Raises BadInput that names ``key`` where there is none to load."""
    from transformers import AutoTokenizer

    directory = Path(model).expanduser()
    if directory.is_dir() and not any(
        (directory / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")
    ):
        raise BadInput(key, model, "the directory has no tokenizer (tokenizer.json)")
    try:
        return AutoTokenizer.from_pretrained(model)
    except Exception as error:
        reason = in_one_line(error)
        raise BadInput(key, model, f"its tokenizer does not load: {reason}") from error
