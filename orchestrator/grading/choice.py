"""The checker ``choice``: the letter of one of several given answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.grading import extraction


@dataclass(frozen=True)
class Choice:
    """Compares the letters A to J. A formula in a box is no choice where a letter is announced beside it.
    Several letters are another answer than one of them."""

    slow = False

    def check_truth(self, truth: str) -> None:
        """Raises ValueError for an answer that is no choice."""
        if re.fullmatch("[A-J]", self.key(truth)) is None:
            raise ValueError("needed with problems.answers=choice: a letter from A to J")

    def extract(self, text: str) -> str | None:
        return extraction.letter(text)

    def key(self, answer: str) -> str:
        return extraction.letter(rf"\boxed{{{answer}}}") or answer.strip().upper()

    def accepts(self, truth: str, answer: str) -> bool:
        return self.key(truth) == self.key(answer)
