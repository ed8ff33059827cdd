"""Problems of ``reasoning_gym``: families of puzzles that are made, each with a scorer of its own.

A problem's answer is the whole entry as JSON, for the checker ``reasoning_gym`` to score against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import BadInput, in_one_line, one_of
from orchestrator.problems.columns import attributes
from orchestrator.problems.problem import Problem, Wanted

SIZE = 500
"""Puzzles of a family where neither ``problems.limit`` nor the option ``size`` says how many."""


def read(wanted: Wanted) -> list[Problem]:
    """Returns the puzzles of the family ``wanted.path``; ``wanted.options`` are its own, with ``seed`` (0
    unless given) and ``size``. Raises BadInput."""
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        needed = f"needed: its package (pip install reasoning-gym; {in_one_line(error)})"
        raise BadInput("problems.source", "reasoning_gym", needed) from error
    family = str(wanted.path)
    if family not in DATASETS:
        near = get_close_matches(family, DATASETS, 3) or sorted(DATASETS)[:5]
        raise BadInput(
            "problems.path", wanted.path, f"{one_of(near)}, or another of {len(DATASETS)} families"
        )
    options = {"seed": 0, "size": wanted.limit or SIZE, **wanted.options}
    try:
        made = create_dataset(family, **options)
        count = len(made) if wanted.limit is None else min(len(made), wanted.limit)
        entries = [made[index] for index in range(count)]
    except Exception as error:  # a family checks its options by assert, TypeError and others
        raise BadInput("problems.options", dict(wanted.options), f"{family}: {in_one_line(error)}") from error
    if not entries:
        raise BadInput("problems.options.size", options["size"], "allowed: 1 or more")
    return [
        Problem(
            id=f"{family}-{options['seed']}-{index:05d}",
            prompt=str(entry["question"]),
            answer=truth(family, options, index, entry),
            attributes=attributes(entry["metadata"]),
        )
        for index, entry in enumerate(entries)
    ]


def truth(family: str, options: Mapping[str, Any], index: int, entry: Mapping[str, Any]) -> str:
    """Returns what the checker needs to score an answer, as JSON: the entry, and how it was made.

    Values that JSON does not have, such as dates, are there as text.
    """
    held = {
        "answer": entry["answer"],
        "family": family,
        "options": dict(options),
        "index": index,
        "question": entry["question"],
        "metadata": entry["metadata"],
    }
    return json.dumps(held, ensure_ascii=False, default=str)
