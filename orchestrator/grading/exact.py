"""The checker ``exact``: the whole text is the answer (the lab's completed grid)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """Compares whole texts, without space at their ends."""

    slow = False

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def key(self, answer: str) -> str:
        return answer

    def accepts(self, truth: str, answer: str) -> bool:
        return answer == truth.strip()
