"""Arithmetic within bounds: rational numbers stay exact, others have ``DIGITS`` digits.

Of these ``SHOWN`` are written."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from mpmath import MPContext

DIGITS = 60
"""Decimal digits of a computation."""
SHOWN = 18
"""Decimal digits by which two values differ if they differ: the rest absorbs rounding and cancellation."""
BITS = 1 << 16
"""The most bits of a number's exponent or of a whole number."""
TERMS = 1000
"""The most terms of a sum or product, and of a factorial."""

Value = Any
"""A Fraction, or a real or complex number of ``MP``."""

MP = MPContext()
MP.dps = DIGITS
TINY = MP.mpf(10) ** -45
_EXACT = 10**SHOWN


class TooLarge(Exception):
    """The value, or the work that it needs, is above a bound."""


class Undefined(Exception):
    """The expression has no value."""


def number(value: Value) -> str:
    """Returns what is written for a number. Raises Undefined."""
    if isinstance(value, Fraction):
        if abs(value.numerator) >= _EXACT or value.denominator >= _EXACT:
            return f"{value.numerator:x}/{value.denominator:x}"  # hexadecimal: Python bounds decimals
        value = as_float(value)
    if isinstance(value, MP.mpc):
        real, imaginary = value.real, value.imag
        if abs(imaginary) > TINY * abs(real):
            if abs(real) <= TINY * abs(imaginary):
                return f"{number(imaginary)}i"
            return f"{number(real)}{'+' if imaginary > 0 else ''}{number(imaginary)}i"
        value = real
    if MP.isnan(value):
        raise Undefined
    if value == 0:
        return "0"
    return str(MP.nstr(value, SHOWN, min_fixed=-5, max_fixed=SHOWN))


def as_float(value: Value) -> Value:
    """Returns a number of ``MP``."""
    return MP.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def is_negative(value: Value) -> bool:
    """Tells whether a number is real and below zero."""
    return not isinstance(value, MP.mpc) and value < 0


def added(a: Value, b: Value) -> Value:
    """Returns a sum, which is exact where both terms are."""
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else as_float(a) + as_float(b)


def times(a: Value, b: Value) -> Value:
    """Returns a product, which is exact where both factors are."""
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else as_float(a) * as_float(b)


def bounded(value: Value) -> Value:
    """Returns the value. Raises TooLarge where it has too many digits."""
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * BITS:
            raise TooLarge("a number of too many digits")
    elif value != 0 and not MP.isinf(value) and not MP.isnan(value) and abs(MP.mag(value)) > BITS:
        raise TooLarge("a number of too many digits")
    return value


def whole(value: Value) -> int:
    """Returns the whole number that a value is. Raises Undefined where it is none."""
    if not isinstance(value, Fraction):
        nearest = Fraction(int(MP.nint(MP.re(value)))) if not MP.isinf(value) else None
        if nearest is None or abs(value - as_float(nearest)) > TINY * (1 + abs(value)):
            raise Undefined
        return nearest.numerator
    if value.denominator != 1:
        raise Undefined
    return value.numerator


def power(base: Value, exponent: Value) -> Value:
    """Returns a power. Raises TooLarge and Undefined."""
    if base == 0:
        if MP.re(as_float(exponent)) <= 0:
            if exponent == 0:
                return Fraction(1)
            raise Undefined
        return Fraction(0)
    if MP.isinf(as_float(base)) or MP.isinf(as_float(exponent)):
        return as_float(base) ** as_float(exponent)
    bits = abs(as_float(exponent)) * max(1, abs(MP.mag(as_float(base))))
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
        real = MP.re(as_float(base))
        if MP.im(as_float(base)) == 0 and real < 0:
            sign = -1 if exponent.numerator % 2 else 1
            return sign * (-real) ** as_float(exponent)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return as_float(base) ** exponent.numerator
    return as_float(base) ** as_float(exponent)


def _exact_root(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power where it is rational: of large squares no digit is lost."""
    if exponent.denominator != 2 or base < 0:
        return None
    roots = math.isqrt(base.numerator), math.isqrt(base.denominator)
    if roots[0] ** 2 != base.numerator or roots[1] ** 2 != base.denominator:
        return None
    return Fraction(*roots) ** exponent.numerator
