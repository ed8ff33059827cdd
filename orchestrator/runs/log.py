"""The log of a run: a file that keeps warnings, progress and the traceback of every failure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import visible
from orchestrator.masking import masked

FILE = "run.log"
"""The file's name in the directory of a run or a sweep."""
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _File(logging.FileHandler):
    """Drops a record that the disk does not take: the full disk is told by what it ends, and what is still
    to be written as the log closes must not take that error's place."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Readable(logging.Formatter):
    """Masks secrets, and writes control characters as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(visible, masked(super().format(record)).split("\n")))


@contextmanager
def logged(directory: Path, level: str) -> Iterator[None]:
    """Appends what this process's modules log at ``level`` or above to the log in ``directory``.

    ``level`` is debug, info, warning or error. Raises OSError where the disk takes no file.
    """
    handler = _File(directory / FILE, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Readable(FORMAT))
    handler.setLevel(level.upper())
    loggers = [logging.getLogger(name) for name in ("orchestrator", "actors")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        # The log of a sweep and that of its cell are open at once, each at its own level.
        logger.setLevel(min(logger.level, handler.level) if logger.level else handler.level)
    try:
        yield
    finally:
        for logger, former in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(former)
        handler.close()
