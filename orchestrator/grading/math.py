"""The checker ``math``: answers that are numbers, expressions, sets, intervals, choices or words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.grading import extraction, keys, notation, relations, units
from orchestrator.grading.wording import PERCENT, tidy, unwrapped, without_unit

_CENTS = re.compile(r"(?i)cents?|¢|\\cents?")
_POWERED = re.compile(r"([+-]?\d+)e([+-]\d+)")
"""A number times a power of ten, as programs write it, or two terms of which one has Euler's e: 2e-1."""


@dataclass(frozen=True)
class Math:
    """Compares answers by their values (``keys``)."""

    slow = True
    longest = keys.LONGEST

    def extract(self, text: str) -> str | None:
        return extraction.extract(text)

    def key(self, answer: str) -> str:
        return keys.key(answer)

    def accepts(self, truth: str, answer: str) -> bool:
        """Tells whether the keys are equal, or are once what may be left out is left out of one of the two:
        a sign of percent, a unit, a base or modulus, a name on the left, a choice's letter or its text."""
        if contradict(truth, answer):
            return False
        right, given = keys.key(truth), keys.key(answer)
        if right == given or given in loose(truth, answer) or right in loose(answer, truth):
            return True
        left, other = relations.equation(tidy(truth)), relations.equation(tidy(answer))
        return left is not None and left == other


def contradict(truth: str, answer: str) -> bool:
    """Tells whether an answer says another unit than the truth, or names another symbol: 5 hours for 5
    minutes, y = 2 for x = 2. Cents and dollars are the same at their rate."""
    if max(len(truth), len(answer)) > keys.LONGEST:
        return False
    texts = tidy(truth), tidy(answer)
    names = [relations.symbol_of(text) for text in texts]
    if None not in names and names[0] != names[1]:
        return True
    (one, unit), (two, other) = (without_unit(relations.named(text)[1]) for text in texts)
    if not unit or not other or not units.contradict(unit, other):
        return False
    if _CENTS.fullmatch(unit) and units.dollars(other):
        return keys.key(rf"\frac{{{one}}}{{100}}") != keys.key(two)
    if _CENTS.fullmatch(other) and units.dollars(unit):
        return keys.key(rf"\frac{{{two}}}{{100}}") != keys.key(one)
    return True


def loose(text: str, other: str) -> set[str]:
    """Returns the keys of an answer with one thing left out that ``other`` may lack."""
    if len(text) > keys.LONGEST:
        return set()
    text, other = tidy(text), tidy(other)
    less: list[str] = []
    bare, percent = PERCENT.subn("", unwrapped(text))
    if percent and not PERCENT.search(unwrapped(other)):
        less.append(bare)
    rest, unit = without_unit(text)
    if _CENTS.fullmatch(unit):
        less.append(rf"\frac{{{rest}}}{{100}}")
    if unit and rest:
        less.append(rest)
    if re.fullmatch("[A-Za-z]", unit):  # or a symbol
        less.append(rest + unit)
    if (choice := notation.chosen(text)) is not None and choice[1]:
        less.append(choice[1])
    if (after := re.fullmatch(r"(.+?)\s*\(([A-J])\)", unwrapped(text))) is not None:
        less += [after.group(1), after.group(2)]
    if (powered := _POWERED.fullmatch(text)) is not None:
        less.append("{} e {}".format(*powered.groups()))
    if (number := notation.based(text)) is not None and notation.based(other) is None:
        less.append(number[0])
    if (residue := notation.modulo(text)) is not None and notation.modulo(other) is None:
        less.append(residue[0])
    if (
        clock := re.fullmatch(r"(\d{1,2}:\d\d)\s*[ap]\.?\s?m\.?", unwrapped(text), re.IGNORECASE)
    ) is not None:
        less.append(clock.group(1))
    if "=" in text and "=" not in other and (right := relations.only_symbols_left(text)) is not None:
        less.append(right)
    if text.count("=") > 1 and "=" not in other:
        less.append(relations.unnamed(text))
    return {keys.key(one) for one in less if one.strip()}
