"""Parts of an answer that a comma, a word or a relation joins: equations, inequalities, names of values."""

from __future__ import annotations

import re
from collections.abc import Callable

from orchestrator.grading import values
from orchestrator.grading.arithmetic import TooLarge, Undefined
from orchestrator.grading.latex import Tree, Unreadable, read
from orchestrator.grading.wording import unwrapped, without_unit

Key = Callable[[str], str | None]
"""Returns the key of a value; None where it is not read."""

SEPARATOR = re.compile(
    r",|;|\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|\\wedge(?![A-Za-z])|\\vee(?![A-Za-z])|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
)
RELATION = re.compile(
    r"\\(?:le|ge|ne|in|approx|equiv|sim|iff|implies|Rightarrow|to|rightarrow)(?![A-Za-z])|[=<>]"
)
_NAME = re.compile(
    r"(?:\\(?:text|mathrm|textbf|operatorname|mbox)\s*\{[^{}]*\}"  # \text{Area}
    r"|m?\s*\\(?:angle|triangle|measuredangle)\s*[A-Za-z{}\\ ]*"
    r"|\|?\\?(?:overline|vec|bar|hat|mathbf|mathcal|overrightarrow)\s*\{?[A-Za-z ]+\}?(?:_\{?\w+\}?)?\|?"
    r"|\\[A-Za-z]+(?:_\{?\w+\}?)?"  # \theta
    r"|\|?(?![a-z]{2}(?![A-Za-z])|[xyz]{3}|[abc]{3})[A-Za-z]{1,3}'{0,2}(?:_\s*(?:\{[^{}]*\}|\w))?(?:\^\{?(?:-1|\\prime|\\ast)\}?)?\|?"
    r"|\[[A-Za-z]+\]"
    r"|[A-Za-z][A-Za-z ]{3,40}"  # the total area
    r")\s*(?:\([^()=<>]*\))?"
)
_NAMES = re.compile(r"\(\s*[A-Za-z](?:_\{?\w\}?)?(?:\s*,\s*[A-Za-z](?:_\{?\w\}?)?)+\s*\)")
# Possessive, so that nothing is tried twice.
_ONLY_SYMBOLS = re.compile(r"(?:[A-Za-z]'*+(?:_\{?\w++\}?)?|[-+*/^(){}\s]|\\[a-z]++)++")
_SYMBOL = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?|\\(?:theta|alpha|beta|lambda|mu|phi)")


def parts(text: str, separator: re.Pattern[str]) -> list[str]:
    """Returns the parts of a text between separators that are outside of all groups."""
    found, depth, start, at = [], 0, 0, 0
    while at < len(text):
        if text.startswith(r"\begin", at):
            depth += 1
        elif text.startswith(r"\end", at):
            depth -= 1
        match = separator.match(text, at) if depth == 0 else None
        if match is not None and match.end() > at:
            found.append(text[start:at])
            at = start = match.end()
            continue
        if text[at] == "\\" and text[at + 1 : at + 2] in ("{", "}"):
            depth += 1 if text[at + 1] == "{" else -1
            at += 2
            continue
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth = max(0, depth - 1)
        at += 1
    return [part.strip() for part in [*found, text[start:]]]


def named(text: str) -> tuple[str, str]:
    """Returns the name on the left of a tidied answer and what it names; without a name, "" and all."""
    sides = parts(text, RELATION)
    if len(sides) < 2:
        return "", text
    signs = [found.strip() for found in signs_between(text, sides)]
    if any(sign not in ("=", r"\in", r"\approx", r"\equiv") for sign in signs):
        return "", text
    if _NAME.fullmatch(sides[0]) or _NAMES.fullmatch(sides[0]):
        return sides[0], sides[-1]
    if len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[1]) and not re.search(sides[1], sides[0]):
        return sides[1], sides[0]
    return "", text


def unnamed(text: str) -> str:
    """Returns the list of the values of a tidied list whose parts all have names, else the text."""
    pairs = [named(item) for item in parts(text, SEPARATOR) if item]
    return ", ".join(value for _, value in pairs) if all(name for name, _ in pairs) else text


def signs_between(text: str, sides: list[str]) -> list[str]:
    """The relations between the sides that ``parts`` found."""
    found, at = [], 0
    for side in sides[:-1]:
        at = text.index(side, at) + len(side) if side else at
        match = RELATION.search(text, at)
        assert match is not None
        found.append(match.group())
        at = match.end()
    return found


def symbol_of(text: str) -> str | None:
    """Returns the single symbol that a tidied answer gives a number or bounds; None where it does not."""
    sides = parts(text, RELATION)
    signs = signs_between(text, sides) if len(sides) in (2, 3) else []
    if not signs or any(sign not in ("=", "<", ">", r"\le", r"\ge", r"\ne") for sign in signs):
        return None
    found = [side for side in sides if _SYMBOL.fullmatch(side)]
    trees = [_tree(side) for side in sides if not _SYMBOL.fullmatch(side)]
    if len(found) != 1 or any(tree is None or values.symbols(tree) for tree in trees):
        return None
    return found[0].replace("{", "").replace("}", "")


def equation_key(sides: list[str]) -> str | None:
    """Two sides that are values say what the last one is: 2 + 3 = 5."""
    trees = [_tree(side) for side in sides]
    if any(tree is None for tree in trees):
        return None
    left, right = trees[-2], trees[-1]
    assert left is not None
    assert right is not None
    try:
        if not values.symbols(left) and len(sides) == 2 and not values.symbols(right):
            return values.value_key(right)
        if len(sides) > 2:
            return values.value_key(right)
        return f"0 = {values.equation_key(('add', left, ('neg', right)))}"
    except (TooLarge, Undefined):
        return None


def equation(text: str) -> str | None:
    """Returns the key of a tidied answer as an equation, whatever stands alone on its left."""
    sides = parts(text, RELATION)
    if len(sides) != 2 or signs_between(text, sides) != ["="]:
        return None
    left, right = _tree(sides[0]), _tree(sides[1])
    if left is None or right is None or len(values.symbols(left) | values.symbols(right)) < 2:
        return None
    try:
        return values.equation_key(("add", left, ("neg", right)))
    except (TooLarge, Undefined):
        return None


def only_symbols_left(text: str) -> str | None:
    """Returns the right side of a tidied answer whose left side is made of symbols alone: m + n = 5."""
    sides = parts(text, RELATION)
    if (
        len(sides) == 2
        and signs_between(text, sides) == ["="]
        and _ONLY_SYMBOLS.fullmatch(sides[0])
        and sides[0][0] != "-"
    ):
        return sides[1]
    return None


def _tree(text: str) -> Tree | None:
    try:
        return read(unwrapped(without_unit(text)[0]))
    except Unreadable:
        return None


def are_inequalities(items: list[str]) -> bool:
    return all(re.search(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])", item) for item in items)


def joined(items: list[str], one: Key, *, union: bool) -> str | None:
    """Several inequalities for one symbol: a union after "or", else what all of them allow."""
    bounds = [_bounds(item, one) for item in items]
    if any(bound is None for bound in bounds):
        return None
    if union:
        return union_of([_between(*bound) for bound in bounds if bound])
    low = next((b[0] for b in bounds if b and b[0] != _LOWEST), _LOWEST)
    high = next((b[1] for b in bounds if b and b[1] != _HIGHEST), _HIGHEST)
    if len(bounds) != 2 or sum(b[0] != _LOWEST for b in bounds if b) > 1:
        return None
    return _between(low, high)


Bound = tuple[str, bool]
"""An end of an interval: its key, and True where it belongs to the interval."""
_LOWEST: Bound = ("-inf", False)
_HIGHEST: Bound = ("+inf", False)


def _between(low: Bound, high: Bound) -> str:
    return f"{'[' if low[1] else '('}{low[0]}, {high[0]}{']' if high[1] else ')'}"


def _bounds(text: str, one: Key) -> tuple[Bound, Bound] | None:
    sides = parts(text, RELATION)
    if len(sides) not in (2, 3) or "" in sides:
        return None
    signs = signs_between(text, sides)
    if any(sign not in ("<", ">", r"\le", r"\ge") for sign in signs):
        return None
    at = next((i for i, side in enumerate(sides) if _SYMBOL.fullmatch(side)), None)
    if at is None or (len(sides) == 3 and (at != 1 or len({sign in (">", r"\ge") for sign in signs}) > 1)):
        return None
    low, high = _LOWEST, _HIGHEST
    for i, sign in enumerate(signs):
        other = sides[i + 1] if i >= at else sides[i]
        written = one(other)
        if written is None or written.startswith(("f(", "'", "{")):
            return None
        closed = sign in (r"\le", r"\ge")
        below = (sign in (">", r"\ge")) == (i >= at)  # the other side is the lower end
        if below:
            low = (written, closed)
        else:
            high = (written, closed)
    return low, high


def interval(sides: list[str], signs: list[str], one: Key) -> str | None:
    if signs == [r"\ne"] and _SYMBOL.fullmatch(sides[0]) and (hole := one(sides[1])) is not None:
        return union_of([f"(-inf, {hole})", f"({hole}, +inf)"])
    bounds = _bounds(
        "".join(f"{side} {sign} " for side, sign in zip(sides, signs, strict=False)) + sides[-1], one
    )
    return None if bounds is None else _between(*bounds)


def inequality(sides: list[str], signs: list[str]) -> str | None:
    if len(sides) != 2 or signs[0] not in ("<", ">", r"\le", r"\ge", r"\ne"):
        return None
    left, right = _tree(sides[0]), _tree(sides[1])
    if left is None or right is None:
        return None
    if signs[0] in (">", r"\ge"):
        left, right = right, left
    sign = {">": "<", r"\ge": "<=", r"\le": "<=", "<": "<"}.get(signs[0], "!=")
    try:
        difference: Tree = ("add", left, ("neg", right))
        return f"{values.equation_key(difference, signed=sign != '!=')} {sign} 0"
    except (TooLarge, Undefined):
        return None


def union_of(pieces: list[str | None]) -> str | None:
    if None in pieces:
        return None
    sets = sorted({str(piece) for piece in pieces if piece != "{}"})
    if all(not one.startswith(("(", "[")) for one in sets):
        return _flat(sets)
    return " ∪ ".join(sets) if sets else "{}"


def _flat(keys: list[str]) -> str:
    members = sorted({member for one in keys for member in one.strip("{}").split(" | ")})
    return members[0] if len(members) == 1 else "{" + " | ".join(members) + "}"
