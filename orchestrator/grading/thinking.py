"""Cuts a reasoning model's thinking off its text."""

from __future__ import annotations

import re

_NAMES = "think|thinking|thought|reasoning"
_OPEN = re.compile(rf"<(?:{_NAMES})\s*>|\[THINK\]|◁think▷", re.IGNORECASE)
_CLOSE = re.compile(rf"</(?:{_NAMES})\s*>|\[/THINK\]|◁/think▷", re.IGNORECASE)
"""What begins and ends thinking in known models."""
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_END_OF_MESSAGE = re.compile(r"<\|(?:return|end|call)\|>")
_CHANNELS_WITHOUT_MARKS = re.compile(r"analysis.*assistantfinal", re.DOTALL)
"""The same where the marks, which are special tokens, were left out of the text."""


def without_thinking(text: str, end: str | None = None) -> str:
    """Returns what follows the last end of thinking. ``end`` is one that the model is known to write.

    Thinking that is opened and not closed leaves nothing. Of the channels of gpt-oss the last final one is
    left, and nothing where there is none.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [channel for channel in channels if channel.group(1) == "final"]
        text = _END_OF_MESSAGE.split(text[final[-1].end() :])[0] if final else ""
    elif (unmarked := _CHANNELS_WITHOUT_MARKS.match(text)) is not None:
        text = text[unmarked.end() :]
    closes = list(_CLOSE.finditer(text))
    if closes:
        text = text[closes[-1].end() :]
    if end and end in text:
        text = text.rpartition(end)[2]
    if (opened := _OPEN.search(text)) is not None:
        text = text[: opened.start()]
    return text
