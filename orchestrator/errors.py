"""The error that a user can cause and can mend, and the one line in which any error is said."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

_OURS = Path(__file__).resolve().parent
_INSTALLED = ("site-packages", sysconfig.get_path("stdlib"), "<frozen")


class BadInput(Exception):
    """Bad config, dataset, model directory or request: one readable line, exit status 2.

    Raised before any engine starts. The line names the key, the value and what is allowed.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {value!r} is not usable; {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


def at_least(key: str, value: float, least: float) -> None:
    """Raises BadInput unless ``value`` is finite and ``least`` or more."""
    if not least <= value < float("inf"):  # written so that NaN is refused too
        raise BadInput(key, value, f"allowed: {least:g} or more")


def one_of(names: Iterable[str]) -> str:
    """Returns the words for a choice: ``allowed: a, b or c``."""
    names = list(names)
    return "allowed: " + (" or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0])


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

    A frame outside this project, the standard library and installed packages is preferred: it is the user's.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    files = [frame for frame in frames if Path(frame.filename).is_file()]  # not those of compiled modules
    users = [frame for frame in files if not Path(frame.filename).resolve().is_relative_to(_OURS)]
    users = [frame for frame in users if not any(part in frame.filename for part in _INSTALLED)]
    found = (users or files or frames)[-1]
    return f"{found.filename}:{found.lineno} in {found.name}"
