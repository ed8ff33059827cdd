"""Runs a user's own Python file, once in the life of a process, and takes a function from it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import BadInput

_loaded: dict[Path, tuple[int, ModuleType]] = {}
"""By file: when it was last changed (nanoseconds), and the module that it became."""


def load_attribute(key: str, name: str) -> Any:
    """Returns the attribute that ``name``, as ``path/to/file.py:attribute``, refers to; None if there is
    none.

    A file that has not changed since it was loaded is not run again. Raises BadInput that names ``key``, and
    the file and line where it does not run.
    """
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise BadInput(key, name, "allowed: path/to/file.py:function of a file that exists")
    file = Path(path).resolve()
    changed = file.stat().st_mtime_ns
    if file not in _loaded or _loaded[file][0] != changed:
        _loaded[file] = changed, _run(key, name, file)
    return getattr(_loaded[file][1], attribute, None)


def _run(key: str, name: str, file: Path) -> ModuleType:
    # In sys.modules, as an import would put it: dataclasses and pickle look a class's module up there.
    module_name = f"user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise BadInput(key, name, "allowed: path/to/file.py:function of a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        problem = f"{type(error).__name__}: {error}"
        raise BadInput(key, name, f"the file does not run: {file}:{_line(error, file)}: {problem}") from error
    return module


def _line(error: Exception, file: Path) -> int | str:
    """The line of ``file`` at which ``error`` arose."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or "?"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return lines[-1] if lines and lines[-1] is not None else "?"
