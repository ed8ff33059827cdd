"""Finds a checker by its name and parameters, as the key ``problems.answers`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from orchestrator.errors import BadInput, meant, one_of
from orchestrator.grading.checker import Checker
from orchestrator.grading.choice import Choice
from orchestrator.grading.code import Code
from orchestrator.grading.exact import Exact
from orchestrator.grading.judge import Judge
from orchestrator.grading.math import Math
from orchestrator.grading.number import Number
from orchestrator.grading.reasoning_gym import ReasoningGym
from orchestrator.grading.user import UserChecker

KEY = "problems.answers"
CHECKERS: Mapping[str, type] = {
    "exact": Exact,
    "math": Math,
    "choice": Choice,
    "number": Number,
    "code": Code,
    "judge": Judge,
    "reasoning_gym": ReasoningGym,
}
"""By name. The fields of a checker's dataclass are its parameters."""


def resolve(section: object) -> Checker:
    """Returns the checker of a name, or of a mapping with ``name`` and parameters. Raises BadInput."""
    given: dict[str, Any] = {str(k): v for k, v in section.items()} if isinstance(section, Mapping) else {}
    name = given.pop("name", None) if isinstance(section, Mapping) else section
    if isinstance(name, str) and ".py:" in name:
        checker = UserChecker(name, given)
        checker.check()
        return checker
    if not isinstance(name, str) or name not in CHECKERS:
        raise BadInput(KEY, section, one_of([*CHECKERS, "path/to/file.py:function"], name))
    known = {field.name: field.default for field in fields(CHECKERS[name])}
    for parameter, value in given.items():
        if parameter not in known:
            takes = ", ".join(known) or "no parameters"
            raise BadInput(f"{KEY}.{parameter}", value, f"{meant(parameter, known)}{name} takes {takes}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"{KEY}.{parameter}", value, "allowed: a number")
    made: Checker = CHECKERS[name](**given)
    return made


def file_of(section: object) -> str | None:
    """Returns the path of the user's file that a section names; None where it names none."""
    name = section.get("name") if isinstance(section, Mapping) else section
    return name.rpartition(":")[0] if isinstance(name, str) and ".py:" in name else None
