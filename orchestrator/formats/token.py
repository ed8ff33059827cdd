"""Token classification as TRL's PRMTrainer makes it: a separator after every step, read at its last token.

TRL tokenizes the prompt, each step and each separator apart, puts the begin-of-sequence token before the
prompt where the tokenizer has one, and labels the separator's last token (``PRMTrainer.tokenize_row``).
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import ids


class Token:
    """One or two labels a token, read at the separator after each step, the last one included."""

    whole = False

    def __init__(self, facts: FormatFacts) -> None:
        self._tokenizer = facts.tokenizer
        self._separator = ids(facts.tokenizer, facts.separator)
        if not self._separator:
            needed = "needed: the text after each step at which the model was trained to be read"
            raise BadInput("verifier.separator", facts.separator, needed)
        self.reading = Reading("probability")
        self.overhead = len(self._separator)

    def opening(self, question: str) -> tuple[int, ...]:
        begin = self._tokenizer.bos_token_id
        return (() if begin is None else (begin,)) + ids(self._tokenizer, question)

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        return [in_pieces(self.opening(question), [self._piece(step) for step in steps], first)]

    def _piece(self, step: str) -> tuple[int, ...]:
        return ids(self._tokenizer, step) + self._separator


def in_pieces(opening: tuple[int, ...], pieces: Sequence[tuple[int, ...]], first: int) -> Input:
    """Returns the input of pieces, each read at its end from the piece ``first`` on."""
    tokens, ends = list(opening), []
    for piece in pieces:
        tokens += piece
        ends.append(len(tokens))
    return Input(tuple(tokens), tuple(ends[first:]))
