"""Writes an answer so that equal answers are written alike: its key.

The first of these that reads the answer makes its key: a number, a choice, words, a list, a tuple, an
interval, a set, a matrix, an equation, an expression; else its text without spaces. Because equality is that
of keys, it is reflexive, symmetric and transitive.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from functools import lru_cache

from orchestrator.grading import values
from orchestrator.grading.arithmetic import TooLarge, Undefined, number
from orchestrator.grading.latex import Tree, Unreadable, read
from orchestrator.grading.notation import based, chosen, counted, digits, modulo, without_thousands, words
from orchestrator.grading.relations import (
    RELATION,
    SEPARATOR,
    are_inequalities,
    equation_key,
    inequality,
    interval,
    joined,
    named,
    parts,
    signs_between,
    union_of,
)
from orchestrator.grading.units import multiplied
from orchestrator.grading.wording import PERCENT, braces_end, tidy, unwrapped, without_unit

ALL_REAL = "(-inf, +inf)"
"""The key of the interval of all real numbers."""
SIGNS = 4
"""The most signs of ± that have their own values each."""
DETERMINANT = 5
"""The most rows of a determinant that is computed."""
LONGEST = 1000
"""Characters of the longest answer that is read as mathematics."""

_INTEGER = re.compile(r"[+-]?\d{1,15}")
_DECIMAL = re.compile(r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_LOGIC = re.compile(r"\\(?:wedge|vee)(?![A-Za-z])")
_REALS = re.compile(r"\\(?:mathbb|mathbf)\s*\{?\s*R\s*\}?|\\Reals|\\R")
_ANY_REAL = re.compile(rf"[A-Za-z](?:\s*\\in\s*(?:{_REALS.pattern}|R))?")
_MATRIX = re.compile(r"\\begin\{([bpvV]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)
_SET_OF = re.compile(r"\s*(?:\\mid(?![A-Za-z])|\||(?<!:):(?!=))\s*")


@lru_cache(1 << 16)
def key(answer: str) -> str:
    """Returns the key of an answer. It never fails; the longest ones and what is above the bounds of
    ``values`` are known by their text."""
    answer = _truth_of_rationale(answer)
    text = answer.strip()
    if _INTEGER.fullmatch(text):
        return number(Fraction(int(text)))
    if _DECIMAL.fullmatch(text):
        return number(Fraction(text + "0" if text.endswith(".") else text))
    if len(text) > LONGEST:
        return _plain(text)
    text = tidy(text)
    try:
        return _whole(text) or _plain(text)
    except RecursionError:  # hundreds of groups within each other
        return _plain(text)


def _truth_of_rationale(text: str) -> str:
    """What follows the last #### of a rationale of GSM8K, and what is in a box that is all there is."""
    if "####" in text:
        text = text.rpartition("####")[2]
    text = text.strip()
    for command in (r"\boxed", r"\fbox"):
        start = len(command)
        if text.startswith(command + "{") and braces_end(text, start) == len(text) - 1:
            return _truth_of_rationale(text[start + 1 : -1])
    return text


def _whole(text: str) -> str | None:
    """The key of a tidied answer."""
    text = without_thousands(text)
    if (found := chosen(text)) is not None:
        return found[0]
    return _special(text) or _listed(text)


def _special(text: str) -> str | None:
    """Numbers in bases, residues, ratios, times and sequences of digits that are no expressions."""
    if (in_base := based(text)) is not None:
        return f"{in_base[0]} base {in_base[1]}"
    if "mod" in text and (residue := modulo(text)) is not None:
        return f"{_one(named(residue[0])[1])} mod {_one(residue[1])}"
    if (whole := digits(text)) is not None:
        return number(Fraction(whole))
    return counted(text)


def _logical(text: str) -> str | None:
    """The key of statements that signs of logic join, where those are no equations or values."""
    if not _LOGIC.search(text) or RELATION.search(text) or re.search(r"\d", text):
        return None
    pieces = sorted(map(_plain, parts(text, _LOGIC)))
    kinds = set(_LOGIC.findall(text))
    return f" {kinds.pop()} ".join(pieces) if len(kinds) == 1 else _plain(text)


def _listed(text: str) -> str | None:
    """A list is a set; ``x = 1, y = 2`` is a tuple in the order of its names."""
    if (statement := _logical(text)) is not None:
        return statement
    said = re.split(r"[,;]|\band\b|\bor\b|&", unwrapped(text))
    choices = [chosen(name.strip()) for name in said if name.strip()]
    if len(choices) > 1 and all(choice is not None and not choice[1] for choice in choices):
        letters = sorted({choice[0] for choice in choices if choice is not None})
        return "{" + " | ".join(letters) + "}" if len(letters) > 1 else letters[0]
    if len(said) > 1 and all(words(f"\\text{{{name}}}") for name in said if name.strip()):
        return _set_of([rf"\text{{{name.strip()}}}" for name in said if name.strip()])
    items = [item for item in parts(text, SEPARATOR) if item]
    if len(items) == 1:
        return _item(items[0])
    if not items:
        return None
    if are_inequalities(items):
        together = joined(items, _one, union=re.search(r"\bor\b|\\vee", text) is not None)
        if together is not None:
            return together
    names = [named(item) for item in items]
    left = [name.replace(" ", "") for name, _ in names]
    if all(left) and len(set(left)) == len(left):
        ordered = [value for _, value in sorted(names, key=lambda pair: pair[0].replace(" ", ""))]
        return _sequence(ordered, "(", ")")
    if left[0] and all(not name or name == left[0] for name in left):
        items = [value for _, value in names]
    return _set_of(items)


def _set_of(items: list[str]) -> str | None:
    keys: set[str] = set()
    for item in items:
        for signed in _signs(item):
            written = _item(signed)
            if written is None:
                return None
            if written.startswith("{"):
                keys.update(written[1:-1].split(" | "))
            else:
                keys.add(written)
    return next(iter(keys)) if len(keys) == 1 else "{" + " | ".join(sorted(keys)) + "}"


def _sequence(items: list[str], left: str, right: str) -> str | None:
    keys = [_item(item) for item in items]
    return None if None in keys else left + ", ".join(map(str, keys)) + right


def _signs(text: str) -> list[str]:
    """Both values of ± at once; of several without a ∓, which have their own signs, all values."""
    if r"\pm" not in text and r"\mp" not in text:
        return [text]
    pieces = re.split(r"\\pm(?![A-Za-z])", text)
    if r"\mp" not in text and 2 < len(pieces) <= SIGNS + 1:
        choices = itertools.product("+-", repeat=len(pieces) - 1)
        return ["".join(map("".join, zip(pieces, [*signs, ""], strict=True))) for signs in choices]
    plus = re.sub(r"\\pm(?![A-Za-z])", "+", re.sub(r"\\mp(?![A-Za-z])", "-", text))
    minus = re.sub(r"\\pm(?![A-Za-z])", "-", re.sub(r"\\mp(?![A-Za-z])", "+", text))
    return [plus, minus]


def _item(text: str) -> str | None:
    """The key of one part of a list, or of the whole."""
    text = text.strip()
    if not text:
        return None
    written = words(text)
    if written is not None:
        if written in ("all real numbers", "all reals", "real numbers"):
            return ALL_REAL
        return f"'{written}'" if written else None
    if r"\pm" in text or r"\mp" in text:
        return _set_of([text])
    if len(parts(text, RELATION)) > 1:
        return _related(text)
    return _one(text)


def _one(text: str) -> str | None:
    """The key of what is no list and no relation."""
    text = text.strip()
    if (letter := chosen(text)) is not None and not letter[1]:
        return letter[0]
    if (special := _special(text)) is not None:
        return special
    pieces = parts(text, _CUP)
    if _REALS.fullmatch(text):
        return ALL_REAL
    if len(pieces) > 1:
        if any(chosen(piece) for piece in pieces):
            return None  # sets that letters name
        return union_of([_one(piece) for piece in pieces])
    return _grouped(text) or _matrix(text) or _expression(text)


def _related(text: str) -> str | None:
    """The key of an equation, an inequality or a value with its name."""
    name, value = named(text)
    if name:
        return _item(value) if not (r"\pm" in value or "," in value) else _listed(value)
    sides = parts(text, RELATION)
    signs = signs_between(text, sides)
    if "" in sides:
        return None
    if signs == ["="] and re.fullmatch(r"-\s*[A-Za-z]", sides[0]):
        return _one(f"-({sides[1]})")
    if all(sign in ("=", r"\approx") for sign in signs):
        return equation_key(sides)
    return interval(sides, signs, _one) or inequality(sides, signs)


def _grouped(text: str) -> str | None:
    """A tuple, an interval or a set."""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        inner = text[2:-2]
        condition = parts(inner, _SET_OF)
        if len(condition) == 2:
            return _item(condition[1]) if _ANY_REAL.fullmatch(condition[0].strip()) else None
        items = parts(inner, SEPARATOR)
        return _set_of([item for item in items if item]) if any(items) else None
    if text == r"\emptyset":
        return "{}"
    if len(text) > 2 and text[0] in "([" and text[-1] in ")]" and _closes_at_end(text):
        items = parts(text[1:-1], re.compile(r",|;"))
        if len(items) > 1:
            return _sequence(items, text[0], text[-1])
        if text[0] + text[-1] in ("()", "[]"):
            return _item(text[1:-1])
    return None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return at == len(text) - 1
    return False


def _matrix(text: str) -> str | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])", found.group(2)) if row.strip()]
    if found.group(1) == "vmatrix" and len(rows) <= DETERMINANT:
        return _determinant([[cell.strip() for cell in row.split("&")] for row in rows])
    written = []
    for row in rows:
        cells = [_item(cell) for cell in row.replace(r"\hline", "").split("&")]
        if None in cells:
            return None
        written.append(", ".join(map(str, cells)))
    kind = "det " if found.group(1).startswith(("v", "V")) else "matrix "
    return kind + " / ".join(written)


def _determinant(rows: list[list[str]]) -> str | None:
    if any(len(row) != len(rows) for row in rows):
        return None

    def value(trees: list[list[Tree]]) -> Tree:
        if len(trees) == 1:
            return trees[0][0]
        terms: list[Tree] = []
        for column, cell in enumerate(trees[0]):
            minor = [row[:column] + row[column + 1 :] for row in trees[1:]]
            term = ("mul", cell, value(minor))
            terms.append(("neg", term) if column % 2 else term)
        return ("add", *terms)

    try:
        return values.value_key(value([[read(unwrapped(cell)) for cell in row] for row in rows]))
    except (Unreadable, TooLarge, Undefined):
        return None


def _expression(text: str) -> str | None:
    """A number or an expression, in percent or with a unit."""
    bare, percent = PERCENT.subn("", unwrapped(text) if re.search(r"per ?cent|pct", text) else text)
    bare, _ = without_unit(bare)
    if percent == 0:
        bare, percent = PERCENT.subn("", bare)
    if not bare or (percent and PERCENT.search(bare)):
        return None
    if bare != text and (again := _one(bare)) is not None and not percent:
        return again
    if (times := multiplied(unwrapped(bare))) is not None:
        return number(Fraction(times[0].replace(",", "")) * times[1])
    try:
        tree = read(unwrapped(digits(bare) or bare))
        return values.value_key(("div", tree, ("num", Fraction(100))) if percent else tree)
    except (Unreadable, TooLarge, Undefined):
        return None


def _plain(text: str) -> str:
    """The text itself, for what is no mathematics that is known here."""
    plain = re.sub(r"\s+", "", unwrapped(text))
    plain = re.sub(r"\{([A-Za-z0-9])\}", r"\1", plain)
    return plain.lower() if "\\" not in plain and re.search(r"[A-Za-z]{3,}", plain) else plain
