"""Choices of a problem, and the letter of the right one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
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
    numbers: bool = False
    """Whether the source writes choices as numbers: then a number may also be one of them."""

    @classmethod
    def of(cls, value: Any, at: str, text: Callable[[Any, str], str]) -> Choices:
        """Reads a list of choices, a mapping of labels to choices, or ``{text: [...], label: [...]}``.

        A text is one of these as JSON, or the choices after their letters: ``A) 21 B) 22``. ``text`` makes a
        choice's text of a cell. Raises BadInput.
        """
        if isinstance(value, str):
            value = _lettered(value, at) if looks_lettered(value) else _json(value, at)
        labels: Sequence[Any] | None = None
        held = value
        if isinstance(value, Mapping):
            if {"text", "label"} <= set(value):
                held, labels = value["text"], value["label"]
            else:
                held, labels = list(value.values()), list(value)
        lists = [held] if labels is None else [held, labels]
        if not all(isinstance(each, list | tuple) for each in lists) or len({*map(len, lists)}) > 1:
            raise BadInput(at, value, "allowed: a list of choices, or {text: [...], label: [...]}")
        if not 2 <= len(held) <= len(LETTERS):
            raise BadInput(at, value, f"allowed: 2 to {len(LETTERS)} choices")
        names = None if labels is None else [text(label, at) for label in labels]
        if names is not None and len({name.upper() for name in names}) < len(names):
            raise BadInput(at, value, "needed: labels that are all different")
        return cls.listed(held, at, text, names or ())

    @classmethod
    def listed(
        cls, values: Sequence[Any], at: str, text: Callable[[Any, str], str], labels: Sequence[str] = ()
    ) -> Choices:
        """Returns choices in their order. Raises BadInput where one is none, or has another one's letter."""
        texts = _without_letters([text(value, at) for value in values], at)
        numbers = any(isinstance(value, int | float | Decimal) for value in values)
        return cls(tuple(texts), tuple(labels or LETTERS[: len(texts)]), numbers)

    def letter(self, truth: Any, at: str) -> str:
        """Returns the letter of the right choice.

        A whole number counts from 0, unless it is a label. A text is a label, a letter, the text of a choice,
        or such a number. What says two different choices is refused. Raises BadInput.
        """
        if isinstance(truth, float) and truth.is_integer():
            truth = int(truth)
        if isinstance(truth, int) and not isinstance(truth, bool):
            meant = self._numbered(truth)
            allowed = f"allowed: 0 to {len(self.texts) - 1}, a choice counted from 0"
        elif isinstance(truth, str):
            meant = self._named(truth.strip())
            allowed = f"it is none of the choices; {one_of(self.labels)}, or a choice's text"
        else:
            raise BadInput(at, truth, f"needed: one choice; {one_of(self.labels)}")
        said = truth[:60] if isinstance(truth, str) else truth
        if not meant:
            raise BadInput(at, said, allowed)
        if len(meant) > 1:
            both = " and ".join(f"({LETTERS[i]}) {self.texts[i][:30]}" for i in sorted(meant))
            raise BadInput(at, said, f"it may mean {both}; allowed: the letter of the right choice")
        right = meant.pop()
        if (again := self._again(right)) is not None:
            both = f"({LETTERS[right]}) and ({LETTERS[again]})"
            needed = (
                f"{both} are the same, {self.texts[right][:30]!r}, so that a right answer may be graded wrong"
            )
            raise BadInput(at, said, needed)
        return LETTERS[right]

    def _again(self, right: int) -> int | None:
        """Another choice whose text is that of the right one; None where there is none."""
        texts = [text.strip() for text in self.texts]
        return next((i for i, text in enumerate(texts) if i != right and text == texts[right]), None)

    def _numbered(self, truth: int) -> set[int]:
        """The choices that a number may mean: where they are numbers too, also the one that it is."""
        said = str(truth)
        meant = {i for i, text in enumerate(self.texts) if self.numbers and text == said}
        if said in self.labels:
            meant.add(self.labels.index(said))
        elif 0 <= truth < len(self.texts):
            meant.add(truth)
        return meant

    def _named(self, said: str) -> set[int]:
        bare = re.sub(r"[().\s]", "", said)
        meant = {i for i, text in enumerate(self.texts) if text.strip() == said}
        meant |= {i for i, label in enumerate(self.labels) if label.upper() == bare.upper()}
        if bare.isdecimal() and int(bare) < len(self.texts) and bare not in self.labels:
            meant.add(int(bare))
        return meant


def looks_lettered(text: str) -> bool:
    """Tells whether a text begins as choices after their letters do, and goes on so: ``A) 21 B) 22``."""
    return len(_marks(text)) > 1


def _marks(text: str) -> list[re.Match[str]]:
    """Where the letters from A stand that are written as the first one, which begins the text."""
    first = re.match(r"\s*(\(?)A([).:])", text)
    if first is None:
        return []
    mark = rf"(?<![^\s,;|]){re.escape(first[1])}([A-Z]){re.escape(first[2])}"
    return list(re.finditer(mark, text))


def _lettered(text: str, at: str) -> list[str]:
    """The choices of such a text. Raises BadInput where the letters are not those from A, in their order."""
    marks = _marks(text)
    if "".join(mark[1] for mark in marks) != LETTERS[: len(marks)]:
        raise BadInput(at, text[:60], "the letters of its choices are not A, B, … once each")
    parts = [text[a.end() : b].strip() for a, b in zip(marks, _ends(marks, text), strict=True)]
    between = {part[-1:] for part in parts[:-1]}
    if len(between) == 1 and between <= set(",;|"):
        parts = [*(part[:-1].rstrip() for part in parts[:-1]), parts[-1]]
    return parts


def _ends(marks: Sequence[re.Match[str]], text: str) -> list[int]:
    return [*(mark.start() for mark in marks[1:]), len(text)]


def _json(value: str, at: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        needed = "allowed: a list of choices, as JSON where it is text, or as A) one B) another"
        raise BadInput(at, value[:60], needed) from None


def _without_letters(texts: list[str], at: str) -> list[str]:
    """The choices without their letters, where each begins with its own: ``A) 21``, ``(B) 22``.

    Raises BadInput where they begin with the same letters in another order: a letter would mean two choices.
    """
    found = [re.fullmatch(r"\(?([A-Z])[).:]\s*(.*\S.*)", text, re.DOTALL) for text in texts]
    letters = [match[1] for match in found if match]
    own = list(LETTERS[: len(texts)])
    if letters != own and sorted(letters) == own:
        raise BadInput(at, texts, "the choices begin with letters that are not in order; allowed: A, B, …")
    return [match[2] for match in found if match] if letters == own else texts


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
