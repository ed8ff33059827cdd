"""Says what went wrong in a replica in one line that names the place."""

from __future__ import annotations

import re
import traceback

_FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


def described(error: BaseException) -> str:
    """Returns the exception's class and message, and the last frame of its traceback."""
    frame = last_frame("".join(traceback.format_exception(error)))
    return f"{one_line(error)} ({frame})" if frame else one_line(error)


def one_line(error: BaseException) -> str:
    """Returns the class of an exception and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def last_frame(text: str) -> str:
    """Returns where the text of a traceback ends, as ``actors/engine.py:118 in engine_options``, or an empty
    string.

    Ray's frames are skipped. The path is shortened to the package's, or to its last two parts.
    """
    for frame in reversed(list(_FRAME.finditer(text))):
        path = frame["path"].rpartition("-packages/")[2]
        if not path.startswith(("ray/", "python/ray/")):
            short = path if path != frame["path"] else "/".join(path.split("/")[-2:])
            return f"{short}:{frame['line']} in {frame['function']}"
    return ""
