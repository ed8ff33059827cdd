"""The one error a user can cause, and can mend."""

from __future__ import annotations

from collections.abc import Iterable


class BadInput(Exception):
    """Bad config, dataset, model directory or request: one readable line, exit status 2.

    Raised before any engine starts. The line names the key, the value and what is allowed.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {value!r} is not usable; {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


def one_of(names: Iterable[str]) -> str:
    """The words for a choice: ``allowed: a, b or c``."""
    names = list(names)
    return "allowed: " + (" or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0])
