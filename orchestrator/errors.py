"""The error that a user can cause and can mend, and the one line in which any error is said."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from orchestrator.masking import masked_value

_OURS = Path(__file__).resolve().parent
_INSTALLED = ("site-packages", sysconfig.get_path("stdlib"), "<frozen")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class BadInput(Exception):
    """Bad config, dataset, model directory or request: one readable line, exit status 2.

    Raised before any engine starts. The line names the key, the value and what is allowed; a secret is
    masked.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        value = masked_value(key, value)
        super().__init__(f"{key}: {as_given(value)} is not usable; {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed

    def within(self, place: str) -> BadInput:
        """Returns the same error with the ``place`` where its key is, such as a cell of a sweep."""
        return BadInput(f"{place}: {self.key}", self.value, self.allowed)


class UnknownKey(BadInput):
    """A key that a configuration does not have: there is no value to speak of."""

    def __init__(self, key: str, allowed: str) -> None:
        Exception.__init__(self, f"{key}: unknown key; {allowed}")
        self.key, self.value, self.allowed = key, None, allowed

    def within(self, place: str) -> UnknownKey:
        """Returns the same error with the ``place`` where its key is."""
        return UnknownKey(f"{place}: {self.key}", self.allowed)


WORDS = {None: "null", True: "true", False: "false"}
LARGE = 1e6
"""From here on a number of FLOPs or tokens is written as ``1e9``."""


def as_given(value: object) -> str:
    """Returns a value as a configuration has it: ``null`` and not ``None``, ``1e9`` and not
    ``1000000000.0``."""
    if value is None or isinstance(value, bool):
        return WORDS[value]
    if isinstance(value, float) and LARGE <= abs(value) < float("inf"):
        exact = next(text for digits in range(17) if float(text := f"{value:.{digits}e}") == value)
        mantissa, _, exponent = exact.partition("e")
        return f"{mantissa}e{int(exponent)}"
    if type(value) is list:
        return f"[{', '.join(map(as_given, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {as_given(held)}' for key, held in value.items())}}}"
    return repr(value)


def counted(count: int, thing: str, things: str = "") -> str:
    """Returns a count with its noun: ``1 run``, ``2 runs``. ``things`` is a plural that no s makes."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def at_least(key: str, value: float, least: float) -> None:
    """Raises BadInput unless ``value`` is finite and ``least`` or more."""
    if not least <= value < float("inf"):  # written so that NaN is refused too
        raise BadInput(key, value, f"allowed: {least:g} or more")


def one_of(names: Iterable[str], given: object = None) -> str:
    """Returns the words for a choice: ``allowed: a, b or c``; before them the name that is meant, where
    ``given`` is nearly one of them."""
    names = list(names)
    allowed = " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{meant(given, names)}allowed: {allowed}"


def meant(given: object, names: Iterable[str]) -> str:
    """Returns ``did you mean a? `` where ``given`` is nearly one of the names, else an empty text."""
    near = get_close_matches(given, list(names), 1) if isinstance(given, str) else []
    return f"did you mean {near[0]}? " if near else ""


def visible(text: str) -> str:
    """Returns a text as one line that no terminal obeys: control characters are written as escapes."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def in_one_line(error: BaseException, *, frame: bool = False) -> str:
    """Returns the error's type and the first line of its message, at most 300 characters of it.

    With ``frame``, also the place where it arose: the last frame of a user's own code, or the last frame.
    """
    try:
        text = str(error)
    except Exception:  # an exception of a user's own, whose text cannot be made
        text = ""
    lines = text.encode(errors="backslashreplace").decode().strip().splitlines()
    message = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    place = last_frame(error) if frame else None
    return f"{message} ({place})" if place else message


def last_frame(error: BaseException) -> str | None:
    """Returns the place where ``error`` arose, as ``file.py:12 in function``; None where that is not known.

    A user's frame is preferred.
    """
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame for frame in frames if Path(frame.filename).is_file()]  # not those of compiled modules
    return users_place(files) or (_place((files or list(frames))[-1]) if frames else None)


def users_place(frames: Sequence[traceback.FrameSummary]) -> str | None:
    """Returns the place of the last frame outside this project, the standard library and installed packages;
    None where there is none."""
    users = [frame for frame in frames if not Path(frame.filename).resolve().is_relative_to(_OURS)]
    users = [frame for frame in users if not any(part in frame.filename for part in _INSTALLED)]
    return _place(users[-1]) if users else None


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}:{frame.lineno} in {frame.name}"
