"""What ends a sample: step delimiters, the marker that ends thinking, and the texts that end a solution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.messages import Finish, Until


@dataclass(frozen=True, slots=True)
class Stop:
    """Tells the engine where to stop: at tokens, and at texts."""

    tokens: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    min_tokens: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``sampling_params``."""
        return {
            "stop_token_ids": self.tokens,
            "stop_strings": self.texts,
            "min_tokens": self.min_tokens,
        }

    def __contains__(self, reason: object) -> bool:
        """Tells whether the engine's reason for a stop is one of these."""
        return reason in self.tokens or reason in self.texts

    def __or__(self, other: Stop) -> Stop:
        """Returns the stop at either."""
        least = max(self.min_tokens, other.min_tokens)
        return Stop(self.tokens + other.tokens, self.texts + other.texts, least)


@dataclass(frozen=True)
class Stops:
    """What stops the samples of each kind that a generator can be asked for."""

    marks: Mapping[Until, Stop]
    """What makes a sample a step or a thought, and not an end."""
    texts: Mapping[Until, tuple[str, ...]]
    """The same as texts."""
    ends: tuple[str, ...]
    """Texts that end a solution, and so a step, but no thought."""

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        step_delimiter: str | Sequence[str],
        end_of_thinking: str | None = None,
        stop: Sequence[str] = (),
    ) -> Stops:
        """Returns the stops of a generator."""
        delimiters = (step_delimiter,) if isinstance(step_delimiter, str) else tuple(step_delimiter)
        texts: dict[Until, tuple[str, ...]] = {"end": (), "step": delimiters}
        marks: dict[Until, Stop] = {"end": Stop(), "step": Stop()}
        for delimiter in delimiters:
            marks["step"] |= stop_at(tokenizer, delimiter)
        if end_of_thinking is not None:
            texts["thought"] = (end_of_thinking,)
            marks["thought"] = stop_at_marker(tokenizer, end_of_thinking)
        return cls(marks, texts, tuple(stop))

    def at(self, until: Until) -> Stop:
        """Returns where a sample of this kind stops. Raises ValueError where there is no such kind."""
        if until not in self.marks:
            known = "no end_of_thinking was given to this generator; " if until == "thought" else ""
            raise ValueError(f"until: {until!r}; {known}allowed: {', '.join(self.marks)}")
        mark = self.marks[until]
        return mark if until == "thought" else mark | Stop(texts=self.ends)

    def finish(self, until: Until, reason: object) -> Finish:
        """Returns how a sample ended that was stopped for ``reason``, a token id or a text.

        Another stop token than a mark is an end-of-sequence id of the model's generation config.
        """
        return until if reason in self.marks[until] else "end"


def check_texts(
    step_delimiter: str | Sequence[str], end_of_thinking: str | None, stop: Sequence[str]
) -> None:
    """Raises ValueError if a delimiter, the marker or a stop is empty."""
    delimiters = (step_delimiter,) if isinstance(step_delimiter, str) else step_delimiter
    given = {"step_delimiter": delimiters, "end_of_thinking": (end_of_thinking,), "stop": stop}
    for key, texts in given.items():
        if "" in texts:
            raise ValueError(f"{key}: '' is not usable; at least one character")


def stop_at(tokenizer: Any, text: str) -> Stop:
    """Returns the stop at the first ``text`` in the output."""
    token = delimiter_token(tokenizer, text)
    return Stop(texts=(text,)) if token is None else Stop(tokens=(token,))


def stop_at_marker(tokenizer: Any, marker: str) -> Stop:
    """Returns the stop at the marker that ends the model's thinking.

    If the marker is one token, neither it nor the end of the sequence can be sampled first (as in s1,
    Muennighoff et al. 2025, section 3.1): each continuation after a suppressed marker has a token at least.
    """
    token = tokenizer.get_added_vocab().get(marker)
    stop = stop_at(tokenizer, marker) if token is None else Stop(tokens=(token,))
    return replace(stop, min_tokens=1) if stop.tokens else stop


def delimiter_token(tokenizer: Any, delimiter: str) -> int | None:
    """Returns the token id that alone can produce ``delimiter``, or None if text has to be searched for it.

    With such a token the engine stops at an id and need not turn every sample into text. It must be the only
    token of the vocabulary that contains any character of the delimiter. A delimiter that is not ASCII may be
    spread over tokens of single bytes, which decode to nothing readable; then None is returned.
    """
    # Decoded, not encoded: some tokenizers drop or merge a delimiter that stands alone.
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    sharing = [token for token, text in enumerate(texts) if any(char in text for char in delimiter)]
    alone = delimiter.isascii() and len(sharing) == 1 and texts[sharing[0]] == delimiter
    return sharing[0] if alone else None
