"""Units and counted things after a number: which words are one, which multiply, and which two contradict."""

from __future__ import annotations

import re

_NAMES = """
mm millimeter millimetre; cm centimeter centimetre; dm decimeter decimetre; m meter metre; nm nanometer;
km kms kilometer kilometre; in inch inche; ft foot feet; yd yard; mi mile; mg milligram; g gram;
kg kgs kilogram kilo; lb lbs pound; oz ounce; ml mL milliliter millilitre; L l liter litre; gal gallon;
s sec secs second; ms millisecond; min mins minute; h hr hrs hour; day; week; month; yr year; mph; kph kmh;
Hz hertz; kHz; MHz; N newton; J joule; kJ kilojoule; W watt; kW kilowatt; V volt; A ampere; K kelvin;
C celsius; F fahrenheit; mol mole; rad radian; deg degree; am a.m. a.m AM A.M.; pm p.m. p.m PM P.M.;
cent ¢; dollar $ USD US$ buck; € euro; £; ¥ yen; ₹ rupee Rs Rs.
"""
KNOWN = {name: group.split()[0] for group in _NAMES.split(";") for name in group.split()}
"""The one name of a unit, by each of its names in the singular."""
MULTIPLY = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Words after a number that multiply it."""
_PARTS = "hal third fourth fifth sixth seventh eighth ninth tenth quarter hundredth thousandth"
_GREEK = "alpha beta gamma delta epsilon theta lambda mu rho sigma tau phi psi omega pi"
_MATHEMATICS = """
half halves times plus minus divided multiplied squared cubed factorial zero below above remainder infinity
infinite modulo mod base root power than not no isn is are equal equals negative and or if percent e i
"""
_NEVER = frozenset([*MULTIPLY, *(f"{word}s" for word in MULTIPLY), *_PARTS.split(), *_GREEK.split()]) | {
    *(f"{part}s" for part in _PARTS.split()),
    *(f"{name}s" for name in _GREEK.split()),
    *_MATHEMATICS.split(),
}
"""Words that say something of the value."""
_COUNTED = (
    "people",
    "men",
    "women",
    "children",
    "feet",
    "mice",
    "geese",
    "teeth",
    "left",
    "total",
    "each",
    "apiece",
)
_FILLERS = frozenset(("square", "sq", "sq.", "cubic", "cu", "cu.", "squared", "cubed", "of", "a", "an"))
_WORD = re.compile(r"[A-Za-z.$¢€£¥₹]+|/|\^\s*\{?\s*(-?\d)\s*\}?")


def _one_name(word: str) -> str | None:
    """The one name of a known unit, whatever its number and case."""
    lower = word.lower().rstrip(".")
    for name in (word, word.rstrip("."), lower, lower.removesuffix("s")):
        if name in KNOWN and (len(name) > 1 or name == word.rstrip(".")):
            return KNOWN[name]
    return None


def is_unit(words: str, *, marked: bool = False, apart: bool = False) -> bool:
    r"""Tells whether words after a number only say what it counts.

    Those that are ``marked`` stand in ``\text`` or ``\mathrm``, where one thing and a letter are a unit too:
    ``1 \text{ apple}``, ``5 \mathrm{m}``. Those that are ``apart`` follow a number without symbols after a
    space, where a letter is one: ``5 m``, while ``5m`` may be a product.
    """
    found = [word for word in re.findall(r"[A-Za-z.]+", words) if word != "."]
    if not found:
        return False
    known = [_one_name(word) for word in found]
    if all(name or word.lower() in (*_FILLERS, "per") for name, word in zip(known, found, strict=True)):
        return any(known) and (marked or apart or len(found[0]) > 1)
    if found == ["times"]:
        return True
    if any(word.lower() in _NEVER for word in found) or any(
        len(word) == 1 and word not in "aA" and not name for name, word in zip(known, found, strict=True)
    ):
        return False
    return marked or any(
        name or word.lower() in _COUNTED or (re.search(r"(?<![su'i])s$", word) and len(word) > 3)
        for name, word in zip(known, found, strict=True)
    )


def multiplied(text: str) -> tuple[str, int] | None:
    """Returns the number before a word that multiplies it, and by what: ``5 million``."""
    found = re.fullmatch(rf"([+-]?[\d.,]*\d)\s*({'|'.join(MULTIPLY)})s?", text)
    return None if found is None else (found.group(1), MULTIPLY[found.group(2)])


def _over_under(unit: str) -> tuple[str | None, str | None]:
    """The known units of a rate above and below its line; None for what is no known unit."""
    sides = re.split(r"\bper\b|/", unit.replace("\\", ""))
    if re.fullmatch(r"(?i)kmh|kph", unit.strip()):
        sides = ["km", "h"]
    if re.fullmatch(r"(?i)mph", unit.strip()):
        sides = ["mi", "h"]
    return _power_of(sides[0]), _power_of(sides[1]) if len(sides) > 1 else None


def _power_of(unit: str) -> str | None:
    name, power = None, 1
    for word in _WORD.finditer(unit):
        text = word.group().lower()
        if word.group(1):
            power = int(word.group(1))
        elif text.rstrip(".") in ("square", "sq", "squared"):
            power = 2
        elif text.rstrip(".") in ("cubic", "cu", "cubed"):
            power = 3
        elif name is None:
            name = _one_name(word.group())
    return None if name is None else f"{name}^{power}"


def contradict(unit: str, other: str) -> bool:
    """Tells whether two units are known and are not the same. What one lacks contradicts nothing."""
    return any(
        one is not None and two is not None and one != two
        for one, two in zip(_over_under(unit), _over_under(other), strict=True)
    )


def dollars(unit: str) -> bool:
    """Tells whether a unit is dollars and nothing else."""
    return _over_under(unit) == ("dollar^1", None)
