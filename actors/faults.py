"""Says what went wrong in a replica in one line, with the place."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

from ray.exceptions import RayTaskError

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REFUSED = re.compile(r"\bvalidation errors? for (\S+)$")
_OWN = re.compile(r"^actors\.\w+\.(?=\w+Error: )")
_PASSING = re.compile(
    r"FirstPassError|out of memory|OutOfMemory|Free memory on device|Error in memory profiling"
    r"|EADDRINUSE|[Aa]ddress already in use|(?:Connection|Connect|ReadTimeout|Timeout|HfHubHTTP|Proxy)Error"
)
LONGEST_VALUE = 60
"""Characters of a refused value that are shown: a longer one, or all arguments, is a whole object."""
_FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


def described(error: BaseException) -> str:
    """Returns the exception's class and message, and the last frame of its traceback."""
    frame = last_frame("".join(traceback.format_exception(error)))
    return f"{one_line(error)} ({frame})" if frame else one_line(error)


def reason(error: BaseException) -> str:
    """Returns a remote exception in one line: its class and its message (``told``)."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return one_line(error.cause)
    lines = [line for line in traceback_text(error).splitlines() if line.strip()]
    naming = [i for i, line in enumerate(lines) if "Error" in line and ":" in line]
    return told(lines[naming[-1] :]) if naming else (lines or [type(error).__name__])[-1].strip()


def one_line(error: BaseException) -> str:
    """Returns the class of an exception and its message (``told``)."""
    return told(f"{type(error).__name__}: {str(error).strip()}".splitlines())


def told(lines: Sequence[str]) -> str:
    """Returns a message in one line: its first line or, where pydantic has refused fields, each of them with
    the reason and the value."""
    first = _OWN.sub("", lines[0].strip())
    if not (refused := _REFUSED.search(first)):
        return first
    found, field, message = [], "", ""
    for line in lines[1:]:
        if not message and not line.startswith("  "):  # a message is indented, a field is not
            field = f".{line.strip()}"
            continue
        if not message and line.strip().startswith("For further information"):
            continue
        text, separator, details = line.strip().partition(" [type=")
        message = f"{message} {text}".strip()
        if separator:
            value = details.partition("input_value=")[2].rpartition(", input_type=")[0]
            whole = not value or len(value) > LONGEST_VALUE or value.startswith("ArgsKwargs(")
            shown = "" if whole else f" (it is {value})"
            found.append(f"{refused[1]}{field}: {message.removeprefix('Value error, ')}{shown}")
            field = message = ""
    return "; ".join(found) or first


def traceback_text(error: BaseException) -> str:
    """Returns the remote traceback that Ray keeps in the text of its exceptions, without colours."""
    return _ANSI_COLOUR.sub("", str(error))


def may_pass(reason: str) -> bool:
    """Tells whether what stopped a start may be gone at the next one: the model's first pass failed, memory
    or a port was still held by others, a download broke. A configuration that is refused stays so."""
    return bool(_PASSING.search(reason))


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
