"""Turns the rows of a table, whatever its columns are called, into problems.

The columns of the problem and the answer are chosen once, by the first row; a row that lacks one is refused.
Names are compared without regard to case, and a space or hyphen is as an underscore.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import BadInput, one_of
from orchestrator.problems.multiple_choice import Choices, beside_each_other, looks_lettered, shuffled
from orchestrator.problems.problem import LETTERS, Problem, Wanted

Row = tuple[str, Mapping[str, Any]]
"""Where a row is (a file and line, for errors), and its cells by column."""

PROBLEM = ("problem", "question", "prompt", "query", "input", "instruction", "problem_text", "question_text")
ANSWER = (
    *("answer", "final_answer", "expected_answer", "correct_answer", "reference_answer", "short_answer"),
    *(
        "answers",
        "target",
        "ground_truth",
        "gold",
        "answerkey",
        "reward_model.ground_truth",
        "correct",
        "label",
    ),
    "solution",
)
ID = ("id", "unique_id", "task_id", "problem_id", "question_id", "record_id", "problem_idx", "idx", "uuid")
DIFFICULTY = ("difficulty", "level")
CHOICES = ("choices", "options")
WRONG = "incorrect_answer_"
"""Beginning of the names of the columns of wrong answers: of them and the right one the choices are made."""
ROLES = ("problem", "answer", "id", "difficulty", "choices", "wrong")
"""What ``problems.columns`` can name columns for."""
SEVERAL = {"choices": 2, "wrong": 1}
"""Roles that several columns may have together, and the fewest that they name."""
LONGEST_ATTRIBUTE = 200
"""Characters of the longest text that is kept as an attribute: a longer one tells no group of problems."""
MOST_DIFFICULT = 1e300
"""A difficulty as large as this, or none that is finite, is none."""
LONGEST_ANSWER = 200
"""Characters of the longest worked solution that is taken for an answer though nothing in it is boxed."""


def read_problems(rows: Iterable[Row], wanted: Wanted, name: str, *, only_id: bool = False) -> list[Problem]:
    """Returns the problems of the rows, as many as ``wanted.limit`` asks for; no more rows are read.

    ``name`` begins the ids of rows that have none. With ``only_id`` no other column than ``id`` is recognised
    as one of ids. Raises BadInput that names the row and its columns.
    """
    columns: Columns | None = None
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for where, row in rows:
        columns = columns or Columns.choose(row, wanted.columns, where, only_id)
        problem = columns.problem(row, where, f"{name}-{len(problems):05d}")
        if problem.id in seen:
            others = f"each problem needs an id of its own, and {seen[problem.id]} has this one too; "
            raise BadInput(
                f"{where}: {columns.id_of(row) or 'id'}",
                problem.id,
                f"{others}problems.columns={{id: null}} numbers them",
            )
        seen[problem.id] = where
        problems.append(problem)
        if len(problems) == wanted.limit:
            break
    if not problems:
        raise BadInput("problems.path", wanted.path, "it holds no problem")
    return problems


@dataclass(frozen=True)
class Columns:
    """The columns that a table's problems are made of."""

    problem_name: str
    answer_name: str
    given: Mapping[str, Any]
    """What ``problems.columns`` says, by role."""
    only_id: bool

    @classmethod
    def choose(cls, row: Mapping[str, Any], given: Mapping[str, Any], where: str, only_id: bool) -> Columns:
        """Chooses the columns of a table by its first row. Raises BadInput."""
        for role in given:
            if role not in ROLES:
                raise BadInput(f"problems.columns.{role}", given[role], one_of(ROLES, role))
            several = given[role] if role in ("choices", "wrong") else None
            if isinstance(several, list | tuple) and not SEVERAL[role] <= len(several) <= len(LETTERS):
                allowed = f"allowed: a column's name, or {SEVERAL[role]} to {len(LETTERS)} of them, or null"
                raise BadInput(f"problems.columns.{role}", list(several), allowed)
            for name in several if isinstance(several, list | tuple) else [given[role]]:
                if name is not None:
                    _given(row, name, role, where)
        return cls(
            _needed(row, given.get("problem"), PROBLEM, "problem", where),
            _needed(row, given.get("answer"), ANSWER, "answer", where),
            given,
            only_id,
        )

    def problem(self, row: Mapping[str, Any], where: str, name: str) -> Problem:
        """Returns a row's problem; ``name`` is its id where it has none. Raises BadInput."""
        prompt = _prompt(_cell(row, self.problem_name, where), f"{where}: {self.problem_name}")
        used = {self.problem_name, self.answer_name}
        id, id_name = name, self.id_of(row)
        if id_name is not None:
            used.add(id_name)
            id = _text(_value(row, id_name), f"{where}: {id_name}")
        choices = self._choices(row, where, used)
        truth = _cell(row, self.answer_name, where)
        at = f"{where}: {self.answer_name}"
        also: tuple[str, ...] = ()
        if isinstance(choices, list):  # right ones come with wrong ones: nothing says in which order
            right = _written(truth, at)
            if right.strip() in (wrong.strip() for wrong in choices):
                raise BadInput(at, right[:60], "a wrong answer of this problem is the same")
            shown, answer = shuffled(right, choices, id)
        elif choices is not None:
            shown, answer = choices.texts, choices.letter(truth, at)
        else:
            shown = ()
            answer, *others = _answers(truth, self.answer_name, at, chosen="answer" in self.given)
            also = tuple(others)
        for key, text in ((f"{id_name or 'id'}", id), (self.problem_name, prompt)):
            _clean(text, f"{where}: {key}")
        for text in (answer, *also, *shown):
            _clean(text, at)
        return Problem(id, prompt, answer, self._difficulty(row, where), also, attributes(row, used), shown)

    def id_of(self, row: Mapping[str, Any]) -> str | None:
        """Returns the name of the row's column of ids; None where it has none."""
        if self.only_id and "id" not in self.given:
            return "id" if row.get("id") is not None else None
        return _optional(row, self.given, "id", ID)

    def _difficulty(self, row: Mapping[str, Any], where: str) -> float | None:
        name = _optional(row, self.given, "difficulty", DIFFICULTY)
        value: Any = None if name is None else _value(row, name)
        said = value
        if isinstance(value, str):  # "Level 5"
            number = re.fullmatch(r"(?:level\s*)?([+-]?\d+(?:\.\d+)?)", value.strip(), re.IGNORECASE)
            value = float(number[1]) if number else None
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            size: Any = abs(value)  # a whole number may be too large for a float
            return float(value) if size < MOST_DIFFICULT else None
        if said is not None and "difficulty" in self.given:
            raise BadInput(f"{where}: {name}", said, "allowed: a number, or leave it out")
        return None

    def _choices(self, row: Mapping[str, Any], where: str, used: set[str]) -> Choices | list[str] | None:
        """The choices of a row; its wrong answers where it has those; None where it has neither."""
        wrong = self.given.get("wrong", sorted(name for name in row if _plain(name).startswith(WRONG)))
        if wrong:
            names = [wrong] if isinstance(wrong, str) else list(wrong)
            used.update(names)
            values = [_cell(row, name, where) for name in names]
            if len(values) == 1 and isinstance(values[0], list | tuple):
                (values,) = values
            at = f"{where}: {', '.join(names)}"
            texts = [_written(value, at) for value in values if value is not None]
            if not 1 <= len(texts) < len(LETTERS):
                raise BadInput(at, len(texts), f"allowed: 1 to {len(LETTERS) - 1} wrong answers")
            return texts
        given = self.given.get("choices")
        if isinstance(given, Sequence) and not isinstance(given, str):
            used.update(given)
            cells = [_cell(row, name, where) for name in given]
            return Choices.listed(cells, f"{where}: {', '.join(given)}", _text)
        name = _optional(row, self.given, "choices", CHOICES)
        value = None if name is None else _value(row, name)
        if name is not None and ("choices" in self.given or _may_be_choices(value)):
            used.add(name)
            return Choices.of(value, f"{where}: {name}", _text)
        if "choices" not in self.given and (letters := beside_each_other(row)):
            used.update(letters)
            cells = [row[letter] for letter in letters]
            return Choices.listed(cells, f"{where}: {', '.join(letters)}", _text)
        return None


def _may_be_choices(value: Any) -> bool:
    """Tells whether a cell that is only called so holds choices: a column of options may be another thing."""
    text = str(value)
    return (
        isinstance(value, list | tuple | Mapping)
        or text.lstrip().startswith(("[", "{"))
        or looks_lettered(text)
    )


def attributes(row: Mapping[str, Any], used: Iterable[str] = ()) -> tuple[tuple[str, str | int | float], ...]:
    """Returns the texts and numbers of a row, by column, without the columns in ``used``.

    A text that is a number as Python writes it is that number, so that a table says the same in each format.
    """
    left_out = set(used)
    kept = [(name, _scalar(value)) for name, value in row.items() if name not in left_out]
    return tuple((name, value) for name, value in kept if value is not None)


def _scalar(value: Any) -> str | int | float | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, str):
        for kind in (int, float):
            try:
                number: int | float = kind(value)
            except ValueError:
                continue
            if str(number) == value and math.isfinite(number):
                return number
        # Half a surrogate pair could not be written with the results.
        text = value.encode(errors="replace").decode()
        return text if text.strip() and len(text) <= LONGEST_ATTRIBUTE else None
    if isinstance(value, int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _answers(value: Any, name: str, at: str, *, chosen: bool) -> list[str]:
    """The right answers of a cell, of which a list may hold several."""
    if isinstance(value, list | tuple) and value:
        return list(dict.fromkeys(_answer(each, name, at, chosen) for each in value))
    return [_answer(value, name, at, chosen)]


def _answer(value: Any, name: str, at: str, chosen: bool) -> str:
    text = _written(value, at)
    _, mark, after = text.rpartition("####")  # GSM8K: reasoning, then the answer
    if mark and after.strip() and "\n" not in after.strip():
        return after.strip()
    if _plain(name) == "solution":
        box = last_box(text)
        if box is not None:
            return box
        if not chosen and len(text) > LONGEST_ANSWER:
            needed = r"it is a long text without \boxed{}; name the column of the answer: problems.columns"
            raise BadInput(at, f"{text[:40]}…", needed)
    return text


def last_box(text: str) -> str | None:
    r"""Returns what the last ``\boxed{…}`` or ``\fbox{…}`` holds; None where there is none, or it is empty or
    not closed."""
    found = list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))
    if not found:
        return None
    depth, start = 1, found[-1].end()
    for end in range(start, len(text)):
        if text[end - 1] == "\\" and text[end - 2 : end] != "\\\\":
            continue  # \{ is a brace that is shown
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end].strip() or None
    return None


def _text(value: Any, at: str) -> str:
    """A text, or a number as it is written: 204, 27 for 27.0, 0.5. Raises BadInput."""
    if isinstance(value, bool | Mapping | list | tuple) or value is None:
        raise BadInput(at, value, "needed: a text that is not empty, or a number")
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadInput(at, value, "needed: a text that is not empty, or a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if not isinstance(value, str) or not value.strip():
        raise BadInput(at, value, "needed: a text that is not empty, or a number")
    return value


def _written(value: Any, at: str) -> str:
    """A text or number that is no empty cell, which some tables write as NaN. Raises BadInput."""
    text = _text(value, at)
    if text.strip().lower() == "nan":
        raise BadInput(at, value, "needed: a text or a number, and this is how tables write an empty cell")
    return text


def _prompt(value: Any, at: str) -> str:
    """The text of a problem, which may be a chat of one user's message."""
    if isinstance(value, list | tuple):
        match value:
            case [{"role": "user", "content": str(text)}]:
                return _text(text, at)
        raise BadInput(at, value, "allowed: a text, or a list with one user's message")
    return _written(value, at)


def _clean(text: str, at: str) -> None:
    if re.search("[\ud800-\udfff]", text):  # JSON's escapes can hold a half
        raise BadInput(at, text[:60], "allowed: text without half a surrogate pair")
    if "\0" in text:
        raise BadInput(at, text[:60], "allowed: text without a NUL character")


def _plain(name: object) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _recognised(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of ``names`` that the row has, as the row writes it; a name with a dot is inside another."""
    by_plain: dict[str, str] = {}
    for name in row:
        if _plain(name) not in by_plain or name in names:
            by_plain[_plain(name)] = name
    for name in names:
        if name in by_plain:
            return by_plain[name]
        if "." in name and _value(row, name) is not None:
            return name
    return None


def _optional(
    row: Mapping[str, Any], given: Mapping[str, Any], role: str, names: Sequence[str]
) -> str | None:
    """The column of a role, if the row has one with anything in it."""
    name = given[role] if role in given else _recognised(row, names)
    return name if name is not None and _value(row, name) is not None else None


def _needed(row: Mapping[str, Any], given: Any, names: Sequence[str], role: str, where: str) -> str:
    """The name of the column of a role that every problem needs."""
    if given is not None:
        return str(given)
    found = _recognised(row, names)
    if found is None:
        which = f"say which one it is: problems.columns={{{role}: NAME}}{_meant(names, row)}"
        raise BadInput(f"{where}: {role}", None, f"{_there(row)}; {which}")
    return found


def _given(row: Mapping[str, Any], name: object, role: str, where: str) -> None:
    """Raises BadInput where ``problems.columns`` names a column that the row does not have."""
    if not isinstance(name, str):
        raise BadInput(f"problems.columns.{role}", name, "allowed: the name of a column")
    if name not in row and _value(row, name) is None:
        raise BadInput(f"problems.columns.{role}", name, f"{where}: {_there(row)}{_meant([name], row)}")


def _there(row: Mapping[str, Any]) -> str:
    return f"the columns are {', '.join(map(str, row)) or 'none'}"


def _meant(names: Sequence[str], row: Mapping[str, Any]) -> str:
    """The column, in words, whose name is most like one of ``names``; nothing where none is."""
    wanted = [_plain(name) for name in names]
    near = [other for other in row if get_close_matches(_plain(other), wanted, 1, 0.75)]
    return f"; nearest: {near[0]}" if near else ""


def _value(row: Mapping[str, Any], name: str) -> Any:
    """The cell of a column; None where it is empty or not there. ``a.b`` may be column b inside column a."""
    if name in row:
        return row[name]
    held: Any = row
    for part in name.split("."):
        held = held.get(part) if isinstance(held, Mapping) else None
    return held


def _cell(row: Mapping[str, Any], name: str, where: str) -> Any:
    """The cell of a column that must be there."""
    value = _value(row, name)
    if value is None and name not in row:
        missing = f"this row has no such column; {_there(row)}{_meant([name], row)}"
        raise BadInput(f"{where}: {name}", None, missing)
    return value
