"""What a format is: a pure value that turns a path into a verifier's inputs.

The generator's token ids are the truth of a path; a verifier with a tokenizer and a template of its own reads
the same path as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.reading import Reading


@dataclass(frozen=True, slots=True)
class Input:
    """One sequence that the verifier reads."""

    tokens: tuple[int, ...]
    """The verifier's own token ids, up to the last place where a score is read."""
    reads: tuple[int, ...]
    """A score is read at the token before each of these positions; increasing, the last is
    ``len(tokens)``."""
    texts: tuple[str, ...] = ()
    """The problem and the steps, in place of tokens, for a verifier that is a function."""


class Format(Protocol):
    """Shows paths to one verifier. A new one is a class in a file, made from ``FormatFacts``."""

    @property
    def whole(self) -> bool:
        """True where a finished solution has one score; False where each step has one."""

    @property
    def reading(self) -> Reading:
        """How the model's outputs become a score."""

    @property
    def overhead(self) -> int:
        """Tokens, at most, that the format adds for each step."""

    def opening(self, question: str) -> tuple[int, ...]:
        """Returns the tokens that begin every input of a problem, as far as that is known before any step:
        they are charged once a problem."""

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        """Returns what the verifier reads for the scores of ``steps[first:]``, in their order; for the one
        score of all ``steps`` where the format is ``whole``."""


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What a format is made from."""

    model: str
    """The verifier's directory or hub id, for messages."""
    tokenizer: Any
    """Its Hugging Face tokenizer."""
    config: Mapping[str, Any]
    """Its config.json."""
    whole: bool | None = None
    """The configuration's ``verifier.kind``: True for ``orm``, False for ``prm``, None where it is not
    given."""
    system: str | None = None
    """The configuration's ``verifier.system``."""
    separator: str = "\n\n"
    """The text between two steps: ``verifier.separator``, or the white space of the generator's delimiter."""
    template: str | None = None
    """The configuration's ``verifier.template``."""
    choices: Mapping[str, float] = field(default_factory=dict)
    """The configuration's ``verifier.choices``."""
