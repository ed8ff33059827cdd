"""Computes an expression at a point, within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from orchestrator.grading.arithmetic import (
    MP,
    TERMS,
    TINY,
    TooLarge,
    Undefined,
    Value,
    added,
    as_float,
    bounded,
    is_negative,
    number,
    power,
    times,
    whole,
)
from orchestrator.grading.functions import ANGLES, FUNCTIONS, log
from orchestrator.grading.latex import Tree

OPERATIONS = 20_000
"""The most operations of one value."""


def evaluate(tree: Tree, point: Mapping[str, Value], *, real: bool = False) -> Value:
    """Returns the value of an expression at a point; with ``real``, roots and logarithms of negative numbers
    have none. Raises TooLarge and Undefined."""
    try:
        return _Evaluator(point, real).value(tree)
    except (ZeroDivisionError, ValueError, TypeError) as error:
        raise Undefined from error
    except (OverflowError, MemoryError, RecursionError) as error:
        raise TooLarge from error


class _Evaluator:
    def __init__(self, point: Mapping[str, Value], real: bool) -> None:
        self.point = point
        self.real = real
        self.operations = 0

    def value(self, tree: Tree) -> Value:
        self.operations += 1
        if self.operations > OPERATIONS:
            raise TooLarge("too many operations")
        return getattr(self, f"_{tree[0]}")(*tree[1:])

    def _num(self, value: Fraction) -> Value:
        return value

    def _sym(self, name: str) -> Value:
        return self.point[name]

    def _const(self, name: str) -> Value:
        if name in self.point:  # the i of a sum
            return self.point[name]
        return {"pi": +MP.pi, "e": +MP.e, "i": MP.mpc(0, 1), "inf": MP.inf}[name]

    def _deg(self, of: Tree) -> Value:
        return self.value(of)

    def _neg(self, of: Tree) -> Value:
        return -self.value(of)

    def _add(self, *terms: Tree) -> Value:
        total: Value = Fraction(0)
        largest = MP.mpf(0)
        for term in terms:
            value = self.value(term)
            total = added(total, value)
            largest = max(largest, abs(as_float(value)))
        if not isinstance(total, Fraction) and abs(total) < TINY * largest:
            return Fraction(0)  # what is left is rounding
        return total

    def _mul(self, a: Tree, b: Tree) -> Value:
        return bounded(times(self.value(a), self.value(b)))

    def _div(self, a: Tree, b: Tree) -> Value:
        over, under = self.value(a), self.value(b)
        if under == 0:
            raise Undefined
        if isinstance(over, Fraction) and isinstance(under, Fraction):
            return bounded(over / under)
        return as_float(over) / as_float(under)

    def _pow(self, base: Tree, exponent: Tree) -> Value:
        # A real number with a fraction of odd denominator as its exponent has a real power.
        of, by = self.value(base), self.value(exponent)
        self._refuse_unreal(of, by)
        return power(of, by)

    def _refuse_unreal(self, base: Value, exponent: Value) -> None:
        """Raises Undefined for a power of a negative number that is not real, where only real ones count."""
        odd = isinstance(exponent, Fraction) and exponent.denominator % 2
        if self.real and not odd and is_negative(base):
            raise Undefined

    def _root(self, of: Tree, degree: Tree) -> Value:
        index = self.value(degree)
        if index == 0:
            raise Undefined
        inverse = 1 / index if isinstance(index, Fraction) else 1 / as_float(index)
        base = self.value(of)
        self._refuse_unreal(base, inverse)
        return power(base, inverse)

    def _sum(self, index: str, low: Tree, high: Tree, body: Tree) -> Value:
        return self._series(index, low, high, body, Fraction(0), added)

    def _prod(self, index: str, low: Tree, high: Tree, body: Tree) -> Value:
        return self._series(index, low, high, body, Fraction(1), times)

    def _series(self, index: str, low: Tree, high: Tree, body: Tree, start: Value, join: Any) -> Value:
        first, last = whole(self.value(low)), whole(self.value(high))
        if last - first >= TERMS:
            raise TooLarge(f"{last - first} terms")
        total, outside = start, self.point
        for n in range(first, last + 1):
            self.point = {**outside, index: Fraction(n)}
            total = bounded(join(total, self.value(body)))
        self.point = outside
        return total

    def _fn(self, name: str, *arguments: Tree) -> Value:
        if name in ANGLES:
            arguments = tuple(_radians(argument) for argument in arguments)
        values = [self.value(argument) for argument in arguments]
        if self.real and FUNCTIONS[name] is log and any(map(is_negative, values)):
            raise Undefined
        return bounded(FUNCTIONS[name](*values))

    def _call(self, name: str, *arguments: Tree) -> Value:
        """A function of which only the name is known: some number for each of its arguments."""
        written = ",".join(number(self.value(argument)) for argument in arguments)
        digest = hashlib.sha256(f"{name} {written}".encode()).digest()
        return Fraction(int.from_bytes(digest[:6]), 1 << 47) + Fraction(1, 3)


def _radians(tree: Tree) -> Tree:
    """The tree with each degree in it as radians."""
    if tree[0] == "deg":
        return ("mul", tree[1], ("div", ("const", "pi"), ("num", Fraction(180))))
    return tuple(_radians(part) if isinstance(part, tuple) else part for part in tree)
