"""Computes expressions within bounds, and writes values so that equal ones are written alike.

Rational numbers stay exact. Others have ``DIGITS`` digits, of which ``SHOWN`` are written. An expression with
symbols is known by its values at fixed points, near zero and far from it, where some symbols are negative
(there |x| is not x).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from mpmath import MPContext

from orchestrator.grading.latex import Tree

DIGITS = 60
"""Decimal digits of a computation."""
SHOWN = 18
"""Decimal digits by which two values differ if they differ: the rest absorbs rounding and cancellation."""
BITS = 1 << 16
"""The most bits of a number's exponent or of a whole number."""
TERMS = 1000
"""The most terms of a sum or product, and of a factorial."""
OPERATIONS = 20_000
"""The most operations of one value."""
REAL = 3
"""The fewest points at which an expression has real values and is known by them."""
SYMBOLS = 12
"""The most symbols of an expression."""

Value = Any
"""A Fraction, or a real or complex number of ``_mp``."""

_mp = MPContext()
_mp.dps = DIGITS
_TINY = _mp.mpf(10) ** -45
_EXACT = 10**SHOWN


class TooLarge(Exception):
    """The value, or the work that it needs, is above a bound."""


class Undefined(Exception):
    """The expression has no value."""


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
    values = [None if value is None else _float(value) for value in _at_points(tree, names)]
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
                point[name] = _float(-size if name == negative else size)
            turn += 1
            yield point, least < 1


def number(value: Value) -> str:
    """Returns what is written for a number. Raises Undefined."""
    if isinstance(value, Fraction):
        if abs(value.numerator) >= _EXACT or value.denominator >= _EXACT:
            return f"{value.numerator:x}/{value.denominator:x}"  # hexadecimal: Python bounds decimals
        value = _float(value)
    if isinstance(value, _mp.mpc):
        real, imaginary = value.real, value.imag
        if abs(imaginary) > _TINY * abs(real):
            if abs(real) <= _TINY * abs(imaginary):
                return f"{number(imaginary)}i"
            return f"{number(real)}{'+' if imaginary > 0 else ''}{number(imaginary)}i"
        value = real
    if _mp.isnan(value):
        raise Undefined
    if value == 0:
        return "0"
    return str(_mp.nstr(value, SHOWN, min_fixed=-5, max_fixed=SHOWN))


def _float(value: Value) -> Value:
    return _mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


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
        return {"pi": +_mp.pi, "e": +_mp.e, "i": _mp.mpc(0, 1), "inf": _mp.inf}[name]

    def _deg(self, of: Tree) -> Value:
        return self.value(of)

    def _neg(self, of: Tree) -> Value:
        return -self.value(of)

    def _add(self, *terms: Tree) -> Value:
        total: Value = Fraction(0)
        largest = _mp.mpf(0)
        for term in terms:
            value = self.value(term)
            total = _added(total, value)
            largest = max(largest, abs(_float(value)))
        if not isinstance(total, Fraction) and abs(total) < _TINY * largest:
            return Fraction(0)  # what is left is rounding
        return total

    def _mul(self, a: Tree, b: Tree) -> Value:
        return _bounded(_times(self.value(a), self.value(b)))

    def _div(self, a: Tree, b: Tree) -> Value:
        over, under = self.value(a), self.value(b)
        if under == 0:
            raise Undefined
        if isinstance(over, Fraction) and isinstance(under, Fraction):
            return _bounded(over / under)
        return _float(over) / _float(under)

    def _pow(self, base: Tree, exponent: Tree) -> Value:
        # A real number with a fraction of odd denominator as its exponent has a real power.
        of, power = self.value(base), self.value(exponent)
        self._refuse_unreal(of, power)
        return _power(of, power)

    def _refuse_unreal(self, base: Value, exponent: Value) -> None:
        """Raises Undefined for a power of a negative number that is not real, where only real ones count."""
        odd = isinstance(exponent, Fraction) and exponent.denominator % 2
        if self.real and not odd and _is_negative(base):
            raise Undefined

    def _root(self, of: Tree, degree: Tree) -> Value:
        index = self.value(degree)
        if index == 0:
            raise Undefined
        inverse = 1 / index if isinstance(index, Fraction) else 1 / _float(index)
        base = self.value(of)
        self._refuse_unreal(base, inverse)
        return _power(base, inverse)

    def _sum(self, index: str, low: Tree, high: Tree, body: Tree) -> Value:
        return self._series(index, low, high, body, Fraction(0), _added)

    def _prod(self, index: str, low: Tree, high: Tree, body: Tree) -> Value:
        return self._series(index, low, high, body, Fraction(1), _times)

    def _series(self, index: str, low: Tree, high: Tree, body: Tree, start: Value, join: Any) -> Value:
        first, last = _whole(self.value(low)), _whole(self.value(high))
        if last - first >= TERMS:
            raise TooLarge(f"{last - first} terms")
        total, outside = start, self.point
        for n in range(first, last + 1):
            self.point = {**outside, index: Fraction(n)}
            total = _bounded(join(total, self.value(body)))
        self.point = outside
        return total

    def _fn(self, name: str, *arguments: Tree) -> Value:
        if name in _ANGLES:
            arguments = tuple(_radians(argument) for argument in arguments)
        values = [self.value(argument) for argument in arguments]
        if self.real and _FUNCTIONS[name] is _log and any(map(_is_negative, values)):
            raise Undefined
        return _bounded(_FUNCTIONS[name](*values))

    def _call(self, name: str, *arguments: Tree) -> Value:
        """A function of which only the name is known: some number for each of its arguments."""
        written = ",".join(number(self.value(argument)) for argument in arguments)
        digest = hashlib.sha256(f"{name} {written}".encode()).digest()
        return Fraction(int.from_bytes(digest[:6]), 1 << 47) + Fraction(1, 3)


def _is_negative(value: Value) -> bool:
    return not isinstance(value, _mp.mpc) and value < 0


def _radians(tree: Tree) -> Tree:
    """The tree with each degree in it as radians."""
    if tree[0] == "deg":
        return ("mul", tree[1], ("div", ("const", "pi"), ("num", Fraction(180))))
    return tuple(_radians(part) if isinstance(part, tuple) else part for part in tree)


def _added(a: Value, b: Value) -> Value:
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else _float(a) + _float(b)


def _times(a: Value, b: Value) -> Value:
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else _float(a) * _float(b)


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * BITS:
            raise TooLarge("a number of too many digits")
    elif value != 0 and not _mp.isinf(value) and not _mp.isnan(value) and abs(_mp.mag(value)) > BITS:
        raise TooLarge("a number of too many digits")
    return value


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction):
        nearest = Fraction(int(_mp.nint(_mp.re(value)))) if not _mp.isinf(value) else None
        if nearest is None or abs(value - _float(nearest)) > _TINY * (1 + abs(value)):
            raise Undefined
        return nearest.numerator
    if value.denominator != 1:
        raise Undefined
    return value.numerator


def _power(base: Value, exponent: Value) -> Value:
    if base == 0:
        if _mp.re(_float(exponent)) <= 0:
            if exponent == 0:
                return Fraction(1)
            raise Undefined
        return Fraction(0)
    if _mp.isinf(_float(base)) or _mp.isinf(_float(exponent)):
        return _float(base) ** _float(exponent)
    bits = abs(_float(exponent)) * max(1, abs(_mp.mag(_float(base))))
    if bits > BITS:
        raise TooLarge("a power of too many digits")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            size = max(base.numerator.bit_length(), base.denominator.bit_length())
            if size * abs(exponent.numerator) > 2 * BITS:
                raise TooLarge("a power of too many digits")
            return base**exponent.numerator
        exact = _exact_root(base, exponent)
        if exact is not None:
            return exact
    if isinstance(exponent, Fraction) and exponent.denominator % 2 and exponent.denominator > 1:
        real = _mp.re(_float(base))
        if _mp.im(_float(base)) == 0 and real < 0:
            sign = -1 if exponent.numerator % 2 else 1
            return sign * (-real) ** _float(exponent)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _float(base) ** exponent.numerator
    return _float(base) ** _float(exponent)


def _exact_root(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power where it is rational: of large squares no digit is lost."""
    if exponent.denominator != 2 or base < 0:
        return None
    roots = math.isqrt(base.numerator), math.isqrt(base.denominator)
    if roots[0] ** 2 != base.numerator or roots[1] ** 2 != base.denominator:
        return None
    return Fraction(*roots) ** exponent.numerator


def _factorial(n: Value) -> Value:
    if abs(_float(n)) > TERMS:
        raise TooLarge("a factorial of too many factors")
    if isinstance(n, Fraction) and n.denominator == 1:
        if n < 0:
            raise Undefined
        return Fraction(math.factorial(n.numerator))
    return _mp.gamma(_float(n) + 1)


def _binomial(n: Value, k: Value) -> Value:
    if max(abs(_float(n)), abs(_float(k))) > 10 * TERMS:
        raise TooLarge("a binomial of too many factors")
    if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1 and n >= 0:
        return Fraction(math.comb(n.numerator, k.numerator) if k >= 0 else 0)
    return _mp.binomial(_float(n), _float(k))


def _log(x: Value, base: Value = None) -> Value:
    if x == 0 or base in (0, 1):
        raise Undefined
    top = _mp.log(_float(x))
    return top if base is None else top / _mp.log(_float(base))


def _exp(x: Value) -> Value:
    return _power(+_mp.e, x)


def _integers(join: Any) -> Any:
    return lambda *values: Fraction(join(*(_whole(value) for value in values)))


def _extreme(pick: Any) -> Any:
    return lambda *values: pick(values, key=_float)


def _floor(value: Value, up: bool = False) -> Value:
    if not isinstance(value, Fraction):
        if isinstance(value, _mp.mpc) or _mp.isinf(value):
            raise Undefined
        nearest = _mp.nint(value)
        if abs(value - nearest) < _TINY * (1 + abs(value)):
            return Fraction(int(nearest))
        return Fraction(int(_mp.ceil(value) if up else _mp.floor(value)))
    return Fraction(math.ceil(value) if up else math.floor(value))


def _clean(function: Any) -> Any:
    """The function of ``_mp`` whose zeros are zeros, and whose poles are none."""

    def cleaned(x: Value) -> Value:
        value = function(_float(x))
        if abs(value) < _TINY:
            return Fraction(0)
        if abs(value) > 1 / _TINY:
            raise Undefined
        return value

    return cleaned


_ANGLES = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "arsinh": "arcsinh", "arcosh": "arccosh"}
_FUNCTIONS: dict[str, Any] = {
    "ln": _log,
    "log": _log,
    "exp": _exp,
    "factorial": _factorial,
    "binom": _binomial,
    "abs": lambda x: abs(x),
    "floor": _floor,
    "ceil": lambda x: _floor(x, up=True),
    "gcd": _integers(math.gcd),
    "lcm": _integers(math.lcm),
    "max": _extreme(max),
    "min": _extreme(min),
    "Re": lambda x: _mp.re(_float(x)),
    "Im": lambda x: _mp.im(_float(x)),
    **{name: _clean(getattr(_mp, name)) for name in _ANGLES},
    **{f"arc{name}": getattr(_mp, f"a{name}") for name in sorted(_ANGLES)},
    **{f"{name}h": getattr(_mp, f"{name}h") for name in sorted(_ANGLES)},
    **{f"arc{name}h": getattr(_mp, f"a{name}h") for name in ("sin", "cos", "tan")},
}
_FUNCTIONS |= {alias: _FUNCTIONS[name] for alias, name in _ALIASES.items()} | {
    "artanh": _FUNCTIONS["arctanh"]
}
