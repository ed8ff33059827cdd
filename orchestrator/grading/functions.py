"""The functions that expressions may have, by name, of values within the bounds of ``arithmetic``."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from orchestrator.grading.arithmetic import (
    MP,
    TERMS,
    TINY,
    TooLarge,
    Undefined,
    Value,
    as_float,
    power,
    whole,
)


def _factorial(n: Value) -> Value:
    if abs(as_float(n)) > TERMS:
        raise TooLarge("a factorial of too many factors")
    if isinstance(n, Fraction) and n.denominator == 1:
        if n < 0:
            raise Undefined
        return Fraction(math.factorial(n.numerator))
    return MP.gamma(as_float(n) + 1)


def _binomial(n: Value, k: Value) -> Value:
    if max(abs(as_float(n)), abs(as_float(k))) > 10 * TERMS:
        raise TooLarge("a binomial of too many factors")
    if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1 and n >= 0:
        return Fraction(math.comb(n.numerator, k.numerator) if k >= 0 else 0)
    return MP.binomial(as_float(n), as_float(k))


def log(x: Value, base: Value = None) -> Value:
    """Returns a logarithm, the natural one without a base. Raises Undefined."""
    if x == 0 or base in (0, 1):
        raise Undefined
    top = MP.log(as_float(x))
    return top if base is None else top / MP.log(as_float(base))


def _exp(x: Value) -> Value:
    return power(+MP.e, x)


def _integers(join: Any) -> Any:
    return lambda *values: Fraction(join(*(whole(value) for value in values)))


def _extreme(pick: Any) -> Any:
    return lambda *values: pick(values, key=as_float)


def _floor(value: Value, up: bool = False) -> Value:
    if not isinstance(value, Fraction):
        if isinstance(value, MP.mpc) or MP.isinf(value):
            raise Undefined
        nearest = MP.nint(value)
        if abs(value - nearest) < TINY * (1 + abs(value)):
            return Fraction(int(nearest))
        return Fraction(int(MP.ceil(value) if up else MP.floor(value)))
    return Fraction(math.ceil(value) if up else math.floor(value))


def _clean(function: Any) -> Any:
    """The function of ``arithmetic.MP`` whose zeros are zeros, and whose poles are none."""

    def cleaned(x: Value) -> Value:
        value = function(as_float(x))
        if abs(value) < TINY:
            return Fraction(0)
        if abs(value) > 1 / TINY:
            raise Undefined
        return value

    return cleaned


ANGLES = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "arsinh": "arcsinh", "arcosh": "arccosh"}
FUNCTIONS: dict[str, Any] = {
    "ln": log,
    "log": log,
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
    "Re": lambda x: MP.re(as_float(x)),
    "Im": lambda x: MP.im(as_float(x)),
    **{name: _clean(getattr(MP, name)) for name in ANGLES},
    **{f"arc{name}": getattr(MP, f"a{name}") for name in sorted(ANGLES)},
    **{f"{name}h": getattr(MP, f"{name}h") for name in sorted(ANGLES)},
    **{f"arc{name}h": getattr(MP, f"a{name}h") for name in ("sin", "cos", "tan")},
}
FUNCTIONS |= {alias: FUNCTIONS[name] for alias, name in _ALIASES.items()} | {"artanh": FUNCTIONS["arctanh"]}
