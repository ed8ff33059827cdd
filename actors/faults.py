"""What one request does wrong in a replica, in one line that names the place."""

from __future__ import annotations

import traceback

from actors.handle import last_frame, one_line


def described(error: BaseException) -> str:
    """Returns the exception's class and message, and the last frame of its traceback."""
    frame = last_frame("".join(traceback.format_exception(error)))
    return f"{one_line(error)} ({frame})" if frame else one_line(error)
