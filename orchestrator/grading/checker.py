"""What reads, compares and judges answers: the interface of all checkers."""

from __future__ import annotations

from typing import Protocol


class Checker(Protocol):
    """Reads and judges the answers of a problem set. It can be pickled, and equal arguments give equal
    results.

    Its methods are called in another process, within a time limit, unless its attribute ``slow`` is False.
    An attribute ``longest`` says above how many characters it compares answers as texts only. A method
    ``check_truth(truth)`` raises ValueError for a problem's answer that it cannot judge by.
    """

    def extract(self, text: str) -> str | None:
        """Returns the answer in a text without thinking, as it is written and trimmed; None if there is
        none."""

    def key(self, answer: str) -> str:
        """Returns the key of an answer: answers with equal keys are one, and vote together."""

    def accepts(self, truth: str, answer: str) -> bool:
        """Tells whether an answer is right where ``truth`` is."""
