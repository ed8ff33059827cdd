"""Says what went wrong in a replica in one line, with the place."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

from ray.exceptions import RayTaskError

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REFUSED = re.compile(r"\bvalidation errors? for \S+$")
LONGEST_VALUE = 60
"""Characters of a refused value that are shown: a longer one is a whole object."""
_FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


def described(error: BaseException) -> str:
    """Returns the exception's class and message, and the last frame of its traceback."""
    frame = last_frame("".join(traceback.format_exception(error)))
    return f"{one_line(error)} ({frame})" if frame else one_line(error)


def reason(error: BaseException) -> str:
    """Returns a remote exception in one line: its class and its message (``told``)."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return one_line(error.cause)
    lines = [line.strip() for line in traceback_text(error).splitlines() if line.strip()]
    naming = [i for i, line in enumerate(lines) if "Error" in line and ":" in line]
    return told(lines[naming[-1] :]) if naming else (lines or [type(error).__name__])[-1]


def one_line(error: BaseException) -> str:
    """Returns the class of an exception and its message (``told``)."""
    return told(f"{type(error).__name__}: {error}".splitlines())


def told(lines: Sequence[str]) -> str:
    """Returns a message in one line: its first line and, where pydantic has refused fields, each with the
    reason and the value."""
    if not _REFUSED.search(lines[0]):
        return lines[0]
    found, field = [], ""
    for line in map(str.strip, lines[1:]):
        message, separator, details = line.partition(" [type=")
        if not separator:
            field = "" if line.startswith("For further information") else line
            continue
        value = details.partition("input_value=")[2].rpartition(", input_type=")[0]
        shown = f" (it is {value})" if 0 < len(value) <= LONGEST_VALUE else ""
        found.append(f"{field}: {message}{shown}" if field else f"{message}{shown}")
        field = ""
    return f"{lines[0]}: {'; '.join(found)}" if found else lines[0]


def traceback_text(error: BaseException) -> str:
    """Returns the remote traceback that Ray keeps in the text of its exceptions, without colours."""
    return _ANSI_COLOUR.sub("", str(error))


def last_frame(traceback: str) -> str:
    """Returns where a traceback ends, as ``actors/engine.py:118 in engine_options``, or an empty string.

    Ray's frames are skipped. The path is shortened to the package's, or to its last two parts.
    """
    for frame in reversed(list(_FRAME.finditer(traceback))):
        path = frame["path"].rpartition("-packages/")[2]
        if not path.startswith(("ray/", "python/ray/")):
            short = path if path != frame["path"] else "/".join(path.split("/")[-2:])
            return f"{short}:{frame['line']} in {frame['function']}"
    return ""
