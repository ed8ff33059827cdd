"""Notations that are no expressions: choices, words, digits in a base, residues, ratios and times."""

from __future__ import annotations

import re

from orchestrator.grading.wording import FUNCTIONS, unwrapped

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_GROUPS_OF_THREE = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED = re.compile(r"[+-]?\d{1,3}(?: \d{3})+")
_CHOICE = re.compile(r"\(?\s*([A-Z])\s*\)|([A-Z])")
_CHOSEN = re.compile(
    r"\(\s*([A-Z])\s*\)\s*[.:]?\s*(?=[^\s=<>+\-*/^_(,&|])(?!\\(?:cup|cap|setminus|subset|cdot|times|to|le|ge|ne|in|pm|wedge|vee)(?![A-Za-z]))(.+)|([A-Z])[.):]\s+(?=\S)(.+)"
)
_BASE = re.compile(
    r"([0-9A-Fa-f][0-9A-Fa-f ]*)\s*(?:_\s*\{?\s*\(?([0-9]{1,2}|[a-z]{3,9})\)?\s*\}?|\(?\s*base\s+(\w+)\s*\)?)"
)
_NUMERALS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen
"""
_BASES = _NUMERALS.split()
_MODULUS = re.compile(
    r"(.+?)\s*(?:\(\s*mod\s*(.+?)\s*\)|\\pmod\s*\{?(.+?)\}?|\\[bp]?mod\s*\{?(.+?)\}?|\bmod\s+(.+))$"
)
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+")
_CLOCK = re.compile(r"(\d{1,2}:\d\d)\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '.\-])*")
_SHORT_WORDS = frozenset("no up ok he me we us it so go ii iv vi ix xi".split())  # noqa: SIM905


def without_thousands(text: str) -> str:
    """Returns the text without the separators of its only number: ``1,250 dollars``; ``(100,200)`` has
    none."""
    found = _GROUPS_OF_THREE.findall(text)
    if len(found) == 1 and text.count(",") == found[0].count(",") and not re.search(r"[(\[{][^)\]}]*,", text):
        return text.replace(",", "")
    return text


def chosen(text: str) -> tuple[str, str] | None:
    """Returns the letter of a choice, and what is written after it: ``(C) 4``."""
    plain = unwrapped(text)
    if (only := _CHOICE.fullmatch(plain)) is not None:
        return only.group(1) or only.group(2), ""
    if (found := _CHOSEN.fullmatch(plain)) is not None:
        return found.group(1) or found.group(3), found.group(2) or found.group(4)
    return None


def based(text: str) -> tuple[str, str] | None:
    """Returns the digits and the base of a number that is written in one."""
    found = _BASE.fullmatch(unwrapped(text))
    if found is None:
        return None
    base = found.group(2) or found.group(3)
    base = str(_BASES.index(base)) if base in _BASES else base
    if not base.isdigit() or not 2 <= int(base) <= 36:
        return None
    digits = found.group(1).replace(" ", "").upper().lstrip("0") or "0"
    return (digits, base) if all(int(digit, 36) < int(base) for digit in digits) else None


def modulo(text: str) -> tuple[str, str] | None:
    """Returns the residue and the modulus of ``3 \\pmod 7``."""
    found = _MODULUS.fullmatch(text)
    if found is None:
        return None
    return found.group(1), next(group for group in found.groups()[1:] if group)


def digits(text: str) -> str | None:
    """Returns a whole or decimal number without its separators of thousands; None where it has none."""
    plain = unwrapped(text)
    if _THOUSANDS.fullmatch(plain) or _SPACED.fullmatch(plain):
        return plain.replace(",", "").replace(" ", "")
    return None


def counted(text: str) -> str | None:
    """Returns the key of a ratio (3:4) or of a time (4:30 p.m.); None where the text is neither."""
    plain = unwrapped(text)
    if (clock := _CLOCK.fullmatch(plain)) is not None:
        return f"{clock.group(1)} {clock.group(2).lower()}m"
    return plain.replace(" ", "") if _RATIO.fullmatch(plain) else None


def words(text: str) -> str | None:
    """Returns the key of an answer of words; None where it is mathematics."""
    plain = unwrapped(text)
    if not _LETTERS.fullmatch(plain):
        return None
    runs = re.findall(r"[^\W\d_]+", plain)
    if len(runs) == 1 and FUNCTIONS.match(plain.lower()) and plain.islower():
        return None
    longest = max(map(len, runs))
    texted = plain != text and longest > 1
    if longest > 2 or texted or plain.lower() in _SHORT_WORDS:
        kept = [run.lower() for run in runs if run.lower() not in ("the", "a", "an")]
        return " ".join(kept) or plain.lower()
    return None
