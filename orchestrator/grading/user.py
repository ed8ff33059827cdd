"""The checker ``path/to/file.py:function``: a user's own.

The file has a function ``grade(text, truth)``, which gets the whole text of a solution without its thinking,
and the problem's answer, and returns whether it is right, or a score of which 0.5 or more is right. Or it has
a class with the methods of ``Checker``, which then also says what the answer is and which answers are equal.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.extensions.user_file import load_attribute, own_code

KEY = "problems.answers"
RIGHT = 0.5
"""The least score that is right."""


@dataclass(frozen=True)
class UserChecker:
    """What a user's file does, loaded in each process that uses it."""

    name: str
    """``path/to/file.py:function``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the configuration says: keyword arguments of the function or the class."""
    slow = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        load_attribute(KEY, self.name)  # its imports are not the first answer's time

    def check(self) -> None:
        """Raises BadInput where the file has no such function or class, or it does not take the options."""
        found = load_attribute(KEY, self.name)
        if not callable(found):
            path, _, attribute = self.name.rpartition(":")
            raise BadInput(KEY, self.name, f"{path} has no function or class {attribute}")
        if inspect.isclass(found):
            made = self._made(found)
            lacking = [
                name for name in ("extract", "key", "accepts") if not callable(getattr(made, name, None))
            ]
            if lacking:
                raise BadInput(
                    KEY, self.name, f"needed: the methods extract, key and accepts; it has no {lacking[0]}"
                )
            return
        try:
            inspect.signature(found).bind("text", "truth", **self.options)
        except TypeError as error:
            needed = f"needed: a function of (text, truth) and of the options given ({error})"
            raise BadInput(KEY, self.name, needed) from error

    def extract(self, text: str) -> str | None:
        made = self._own()
        if made is None:
            return text.strip() or None
        answer = made.extract(text)
        return None if answer is None else self._string("extract", answer)

    def key(self, answer: str) -> str:
        made = self._own()
        return answer if made is None else self._string("key", made.key(answer))

    def _string(self, method: str, value: object) -> str:
        if not isinstance(value, str):
            needed = "a string or None" if method == "extract" else "a string"
            raise TypeError(f"{method} of {self.name} returned {value!r:.60}; needed: {needed}")
        return value

    def accepts(self, truth: str, answer: str) -> bool:
        """Raises what the user's code raises, and TypeError where it returns neither a truth value nor a
        number."""
        made = self._own()
        if made is not None:
            return bool(made.accepts(truth, answer))
        score = load_attribute(KEY, self.name)(answer, truth, **self.options)
        try:
            return score if isinstance(score, bool) else float(score) >= RIGHT
        except (TypeError, ValueError):
            raise TypeError(f"{self.name} returned {score!r:.60}; needed: True, False or a number") from None

    def _own(self) -> Any:
        """The user's own checker; None where the file has a function."""
        found = load_attribute(KEY, self.name)
        return self._made(found) if inspect.isclass(found) else None

    def _made(self, found: Any) -> Any:
        with own_code(KEY, self.name, "it cannot be made"):
            return found(**self.options)
