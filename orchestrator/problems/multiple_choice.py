"""Choices of a problem, and the letter of the right one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from orchestrator.errors import BadInput, one_of
from orchestrator.problems.problem import LETTERS


@dataclass(frozen=True)
class Choices:
    """The choices of one problem, and what the source calls each."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """The letters from A unless the source has labels of its own, such as 1, 2, 3, 4."""

    @classmethod
    def of(cls, value: Any, at: str, text: Callable[[Any, str], str]) -> Choices:
        """Reads a list of choices, a mapping of labels to choices, or ``{text: [...], label: [...]}``.

        A text that is one of these as JSON is read as such. ``text`` makes a choice's text of a cell. Raises
        BadInput.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise BadInput(
                    at, value[:60], "allowed: a list of choices, as JSON where it is text"
                ) from None
        labels: Sequence[str] | None = None
        if isinstance(value, Mapping):
            if {"text", "label"} <= set(value):
                value, labels = value["text"], [str(label) for label in value["label"]]
            else:
                value, labels = list(value.values()), [str(label) for label in value]
        if not isinstance(value, list | tuple) or (labels is not None and len(labels) != len(value)):
            raise BadInput(at, value, "allowed: a list of choices, or {text: [...], label: [...]}")
        if not 2 <= len(value) <= len(LETTERS):
            raise BadInput(at, value, f"allowed: 2 to {len(LETTERS)} choices")
        return of_list(_without_letters([text(each, at) for each in value]), labels)

    def letter(self, truth: Any, at: str) -> str:
        """Returns the letter of the right choice.

        A whole number counts from 0. A text is a label, a letter, the text of a choice, or such a number; one
        that says two different choices is refused. Raises BadInput.
        """
        if isinstance(truth, float) and truth.is_integer():
            truth = int(truth)
        if isinstance(truth, int) and not isinstance(truth, bool):
            if str(truth) in self.labels:
                return LETTERS[self.labels.index(str(truth))]
            if not 0 <= truth < len(self.texts):
                raise BadInput(at, truth, f"allowed: 0 to {len(self.texts) - 1}, a choice counted from 0")
            return LETTERS[truth]
        if not isinstance(truth, str):
            raise BadInput(at, truth, f"needed: one choice; {one_of(self.labels)}")
        said = truth.strip()
        bare = re.sub(r"[().\s]", "", said)
        meant = {i for i, text in enumerate(self.texts) if text.strip() == said}
        meant |= {i for i, label in enumerate(self.labels) if label.upper() == bare.upper()}
        if bare.isdecimal() and int(bare) < len(self.texts) and bare not in self.labels:
            meant.add(int(bare))
        if len(meant) > 1:
            both = " and ".join(f"({LETTERS[i]}) {self.texts[i][:30]}" for i in sorted(meant))
            raise BadInput(at, truth, f"it may mean {both}; allowed: the letter of the right choice")
        if not meant:
            raise BadInput(
                at, truth[:60], f"it is none of the choices; {one_of(self.labels)}, or a choice's text"
            )
        return LETTERS[meant.pop()]


def _without_letters(texts: list[str]) -> list[str]:
    """The choices without their letters, where each begins with its own: ``A) 21``, ``(B) 22``."""
    found = [
        re.fullmatch(rf"\(?{LETTERS[i]}[).:]\s*(.*\S.*)", text, re.DOTALL) for i, text in enumerate(texts)
    ]
    return [match[1] for match in found if match] if all(found) else texts


def of_list(texts: Sequence[str], labels: Sequence[str] | None = None) -> Choices:
    """Returns choices in their order."""
    return Choices(tuple(texts), tuple(labels or LETTERS[: len(texts)]))


def beside_each_other(row: Mapping[str, Any]) -> list[str]:
    """Returns the columns ``A``, ``B``, … of a row, those that hold anything; empty unless there are two."""
    found = []
    for letter in LETTERS:
        if row.get(letter) is None:
            break
        found.append(letter)
    return found if len(found) > 1 else []


def shuffled(right: str, wrong: Sequence[str], id: str) -> tuple[tuple[str, ...], str]:
    """Returns the right answer among the wrong ones, in an order that depends on the problem's id alone, and
    its letter."""
    order = list(range(len(wrong) + 1))
    Random(hashlib.sha256(id.encode(errors="surrogatepass")).digest()).shuffle(order)
    texts = [right, *wrong]
    return tuple(texts[i] for i in order), LETTERS[order.index(0)]
