"""Reads the names of vLLM's engine options without importing vLLM, which takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SOURCE = "engine/arg_utils.py"


@cache
def engine_arguments() -> frozenset[str]:
    """Returns the fields of the installed vLLM's ``EngineArgs``, read from its source; an empty set where
    there is none, as on a machine without engines."""
    spec = find_spec("vllm")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [file for place in places if (file := Path(place) / SOURCE).is_file()]
    for node in ast.parse(files[0].read_text(encoding="utf-8")).body if files else ():
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            return frozenset(field.id for field in fields if isinstance(field, ast.Name))
    return frozenset()
