"""Runs a user's own Python file, once in the life of a process, and takes a function from it."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import BadInput, in_one_line

_loaded: dict[Path, tuple[int, ModuleType]] = {}
"""By file: when it was last changed (nanoseconds), and the module that it became."""


def load_attribute(key: str, name: str) -> Any:
    """Returns the attribute that ``name``, as ``path/to/file.py:attribute``, refers to; None if there is
    none.

    A file that has not changed since it was loaded is not run again. Raises BadInput that names ``key``, and
    the file and line where it does not run.
    """
    path, _, attribute = name.rpartition(":")
    try:
        exists = Path(path).is_file()
    except OSError:  # a name that is too long
        exists = False
    if not exists:
        raise BadInput(key, name, "allowed: path/to/file.py:function of a file that exists")
    file = Path(path).resolve()
    changed = file.stat().st_mtime_ns
    if file not in _loaded or _loaded[file][0] != changed:
        _loaded[file] = changed, _run(key, name, file)
    return getattr(_loaded[file][1], attribute, None)


@contextmanager
def own_code(key: str, name: str, failed: str) -> Iterator[None]:
    """Turns an error of a user's own code, an exit too, into bad input: ``key`` and ``name`` say what it was
    asked for, ``failed`` what has failed. The line names the place where it arose."""
    try:
        yield
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(key, name, f"{failed}: {in_one_line(error, frame=True)}") from error


def _run(key: str, name: str, file: Path) -> ModuleType:
    # In sys.modules, as an import would put it: dataclasses and pickle look a class's module up there.
    module = ModuleType(f"user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    if str(file.parent) not in sys.path:  # behind all else: for modules beside the file
        sys.path.append(str(file.parent))
    try:
        # Compiled from what is read here: stored bytecode may be that of another version in the same second.
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt):
            raise
        problem = f"the file does not run: {file}:{_line(error, file)}: {in_one_line(error)}"
        raise BadInput(key, name, problem) from error
    return module


def _line(error: BaseException, file: Path) -> int | str:
    """The line of ``file`` at which ``error`` arose."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or "?"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return lines[-1] if lines and lines[-1] is not None else "?"
