"""A Python function as verifier: it reads text, and costs no FLOPs.

``def score(problem: str, steps: list[str])`` returns a score in [0, 1] for the whole solution
(``verifier.kind: orm``, the default), or a list of one for each step (``prm``).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.extensions.user_file import load_attribute
from orchestrator.formats.definition import Input

KEY = "verifier.model"


def is_function(model: str | None) -> bool:
    """Tells whether ``verifier.model`` names a Python function."""
    return model is not None and ".py:" in model


@dataclass(frozen=True)
class FunctionFormat:
    """Shows a function the problem and the texts of the steps."""

    name: str
    """``path/to/file.py:function``."""
    whole: bool = True
    reading: Reading = Reading()  # noqa: RUF009
    overhead: int = 0

    def check(self) -> None:
        """Raises BadInput where the file has no such function of a problem and its steps."""
        found = load_attribute(KEY, self.name)
        try:
            inspect.signature(found).bind("problem", ["step"])
        except (TypeError, ValueError) as error:
            needed = f"needed: a function of (problem, steps) ({error})"
            raise BadInput(KEY, self.name, needed) from error

    def opening(self, question: str) -> tuple[int, ...]:
        return ()

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        count = 1 if self.whole else len(steps) - first
        return [Input((), tuple(range(1, count + 1)), (question, *steps))]


def scores_of(name: str, whole: bool, count: int, question: str, steps: Sequence[str]) -> tuple[float, ...]:
    """Returns the last ``count`` scores that the function ``name`` gives the steps, or the one of the whole.

    Raises what the function raises, and TypeError where it returns something else than such scores.
    """
    found = load_attribute(KEY, name)(question, list(steps))
    needed = "a number" if whole else f"a list of {len(steps)} numbers"
    try:
        scores = [float(found)] if whole else [float(score) for score in found]
    except (TypeError, ValueError):
        raise TypeError(f"{name} returned {found!r:.80}; needed: {needed}") from None
    if len(scores) != (1 if whole else len(steps)):
        raise TypeError(f"{name} returned {len(scores)} scores; needed: {needed}")
    return tuple(scores[-count:])
