"""Problems, and the reading of a user's own problem set."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import BadInput


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a known answer."""

    id: str
    """Stable across runs: it seeds the sampling and is the problem's key in the journal."""
    prompt: str
    answer: str
    difficulty: float | None = None
    """The source's own measure, where it has one (the lab: the number of blanks)."""
    also: tuple[str, ...] = ()
    """Other answers that are right."""


def read_jsonl(path: Path | str, limit: int | None = None) -> list[Problem]:
    """Returns the problems of a file with one JSON object a line: ``problem`` and ``answer`` (strings), and
    optionally ``id`` and ``difficulty``. Raises BadInput that names the file and the line."""
    file = Path(path)
    if not file.is_file():
        raise BadInput("problems.path", str(path), "allowed: an existing file with one JSON object a line")
    problems: list[Problem] = []
    seen: set[str] = set()
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadInput("problems.path", str(path), f"the file is not UTF-8 text ({error.reason})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problem = _problem(line, f"{file.stem}-{len(problems):05d}", f"{path}:{number}")
        if problem.id in seen:
            raise BadInput(f"{path}:{number}: id", problem.id, "each problem needs an id of its own")
        seen.add(problem.id)
        problems.append(problem)
        if limit is not None and len(problems) == limit:
            break
    if not problems:
        raise BadInput("problems.path", str(path), "the file holds no problem")
    return problems


def _problem(line: str, name: str, where: str) -> Problem:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(where, line[:60], f"the line is not JSON ({error.msg})") from error
    if not isinstance(entry, dict):
        raise BadInput(where, line[:60], "allowed: a JSON object with problem and answer")
    for key in ("problem", "answer"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise BadInput(f"{where}: {key}", entry.get(key), "needed: a string that is not empty")
    difficulty = entry.get("difficulty")
    if difficulty is not None and (isinstance(difficulty, bool) or not isinstance(difficulty, int | float)):
        raise BadInput(f"{where}: difficulty", difficulty, "allowed: a number, or leave it out")
    id = str(entry.get("id", name))
    for key, text in (("id", id), ("problem", entry["problem"]), ("answer", entry["answer"])):
        if re.search("[\ud800-\udfff]", text):  # JSON's escapes can hold a half
            raise BadInput(f"{where}: {key}", text, "allowed: text without half a surrogate pair")
    if "\0" in id:
        raise BadInput(f"{where}: id", id, "allowed: text without a NUL character")
    return Problem(id, entry["problem"], entry["answer"], difficulty)
