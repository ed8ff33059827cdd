"""The checker ``number``: a number within a tolerance of the right one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from orchestrator.errors import at_least
from orchestrator.grading import extraction, keys
from orchestrator.grading.math import Math, loose


@dataclass(frozen=True)
class Number:
    """Votes as ``math`` does, since closeness makes no classes; accepts what is close to the truth."""

    relative: float = 1e-6
    """The tolerance as a share of the truth."""
    absolute: float = 0.0
    """The tolerance in the truth's own unit, where that is more."""
    slow = True
    longest = keys.LONGEST

    def __post_init__(self) -> None:
        at_least("problems.answers.relative", self.relative, 0)
        at_least("problems.answers.absolute", self.absolute, 0)

    def extract(self, text: str) -> str | None:
        return extraction.extract(text)

    def key(self, answer: str) -> str:
        return keys.key(answer)

    def accepts(self, truth: str, answer: str) -> bool:
        if Math().accepts(truth, answer):
            return True
        rights = [_number(key) for key in (keys.key(truth), *loose(truth, answer))]
        givens = [_number(key) for key in (keys.key(answer), *loose(answer, truth))]
        return any(self._close(rights[0], given) for given in givens) or any(
            self._close(right, givens[0]) for right in rights
        )

    def _close(self, right: Fraction | None, given: Fraction | None) -> bool:
        if right is None or given is None:
            return False
        tolerance = max(Fraction(self.relative) * abs(right), Fraction(self.absolute))
        # The tolerance itself is allowed: 1.01 within 1 % of 1.
        return abs(given - right) <= tolerance * (1 + Fraction(1, 10**12))


def _number(key: str) -> Fraction | None:
    """The number that a key of ``keys`` writes; None where it writes anything else."""
    if "/" in key and all(part.lstrip("-").isalnum() for part in key.split("/")) and key.count("/") == 1:
        over, under = key.split("/")
        try:
            return Fraction(int(over, 16), int(under, 16))
        except ValueError:
            return None
    try:
        return Fraction(key)
    except (ValueError, ZeroDivisionError):
        return None
