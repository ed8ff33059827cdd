"""Writes values so that equal ones are written alike.

An expression with symbols is known by its values at fixed points, near zero and far from it, where some
symbols are negative (there |x| is not x).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from fractions import Fraction

from orchestrator.grading.arithmetic import TooLarge, Undefined, Value, as_float, number
from orchestrator.grading.evaluation import evaluate
from orchestrator.grading.latex import Tree

REAL = 3
"""The fewest points at which an expression has real values and is known by them."""
SYMBOLS = 12
"""The most symbols of an expression."""


def value_key(tree: Tree) -> str:
    """Returns what is written for an expression: equal strings are equal values. Raises TooLarge and
    Undefined."""
    names = sorted(symbols(tree))
    if not names:
        return number(evaluate(tree, {}))
    if len(names) > SYMBOLS:
        raise TooLarge(f"{len(names)} symbols")
    found = [None if value is None else number(value) for value in _at_points(tree, names)]
    # What depends on none of its symbols (x - x + 3) is a number.
    if len(set(found)) == 1 and found[0] is not None:
        return found[0]
    return "f(" + ";".join("-" if one is None else one[:40] for one in found) + ")"


def equation_key(tree: Tree, *, signed: bool = False) -> str:
    """Returns what is written for the left side of ``tree = 0``, the same for its multiples by a number; with
    ``signed``, by a positive number only."""
    names = sorted(symbols(tree))
    if len(names) > SYMBOLS:
        raise TooLarge(f"{len(names)} symbols")
    values = [None if value is None else as_float(value) for value in _at_points(tree, names)]
    scale = next((value for value in values if value is not None and value != 0), None)
    if scale is None:
        return "0=0"
    scale = abs(scale) if signed else scale
    return ";".join("-" if value is None else number(value / scale) for value in values)


def _at_points(tree: Tree, names: list[str]) -> list[Value]:
    """The real values at the points, None where there is none: of what has hardly any, the complex values.

    So \\ln(x/y) is \\ln x - \\ln y though the two take another branch where a symbol is negative.
    """
    real = [_value_at(tree, point, real=True) for point, _ in points(names)]
    if sum(value is not None for value in real) >= REAL:
        return real
    return [evaluate(tree, point) if near else _value_at(tree, point) for point, near in points(names)]


def _value_at(tree: Tree, point: Mapping[str, Value], *, real: bool = False) -> Value:
    """The value at a point; None where there is none, or it is above a bound."""
    try:
        value = evaluate(tree, point, real=real)
        number(value)
        return value
    except (Undefined, TooLarge):
        return None


def symbols(tree: Tree, bound: frozenset[str] = frozenset()) -> set[str]:
    """Returns the names of an expression's free symbols."""
    if tree[0] == "sym":
        return {tree[1]} - bound
    if tree[0] == "const":
        return set()
    if tree[0] in ("sum", "prod"):
        inner = symbols(tree[4], bound | {tree[1]})
        return inner | symbols(tree[2], bound) | symbols(tree[3], bound)
    found: set[str] = set()
    for part in tree[1:]:
        if isinstance(part, tuple):
            found |= symbols(part, bound)
    return found


def points(names: list[str]) -> Iterator[tuple[Mapping[str, Value], bool]]:
    """Yields points that depend on the names alone, and whether they are near zero: three where all symbols
    are positive, then one for each symbol in which it is negative; then the same far from zero, where
    |x - 5| is not 5 - x, in tens and in thousands."""
    turn = 0
    for signs, (least, unit) in (
        (("", "", "", *names), (Fraction(1, 3), 1 << 47)),  # up to 2.33
        (("", *names), (Fraction(10), 1 << 42)),  # up to 74
        (("", *names), (Fraction(1000), 1 << 38)),  # up to 2,024
    ):
        for negative in signs:
            point = {}
            for name in names:
                digest = hashlib.sha256(f"{turn} {name}".encode()).digest()
                size = Fraction(int.from_bytes(digest[:6]), unit) + least
                point[name] = as_float(-size if name == negative else size)
            turn += 1
            yield point, least < 1
