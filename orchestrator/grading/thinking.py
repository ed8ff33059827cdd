"""Cuts a reasoning model's thinking off its text."""

from __future__ import annotations

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""What begins and ends thinking in known models."""


def without_thinking(text: str, end: str | None = None) -> str:
    """Returns what follows the last end of thinking. ``end`` is one that the model is known to write.

    Thinking that is opened and not closed leaves nothing.
    """
    for start, close in (*MARKS, ("", end or "")):
        if close and close in text:
            text = text.rpartition(close)[2]
        if start and start in text:
            text = text.partition(start)[0]
    return text
