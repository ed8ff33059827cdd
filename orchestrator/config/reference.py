"""The table of all keys of a configuration, generated from the schema.

``python -m orchestrator.config.reference`` prints it as Markdown; ``--write configs/KEYS.md`` puts it into
that file, between the two marks.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import MISSING

from orchestrator.config.kinds import section_of, type_name
from orchestrator.config.loading import SWEEP
from orchestrator.config.schema import Config, SweepConfig

BEGIN = "<!-- Made by: python -m orchestrator.config.reference --write configs/KEYS.md -->"
END = "<!-- End of the table of keys -->"


def table() -> str:
    """Returns the table, a row a key: those of the run itself first, then section by section."""
    lines = ["| key | type | default | what it does |", "|---|---|---|---|"]
    keys = [key for key in fields(Config) if not key.metadata]
    types = get_type_hints(Config)
    lines += [row for key in keys if not section_of(types[key.name]) for row in _rows(key, Config)]
    sections = [(key.name, section_of(types[key.name])) for key in keys]
    for name, section in [*sections, (SWEEP, SweepConfig)]:
        if section is not None:
            lines.append(f"| **`{name}`** | | | **{_one_line(section.__doc__)}** |")
            lines += [row for key in fields(section) for row in _rows(key, section, f"{name}.")]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Returns ``text`` with the table between its marks. Raises ValueError where it lacks them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"needed: a line {BEGIN} and after it a line {END}")
    return f"{before}{begin}\n{table()}\n{end}{after}"


def sentences(schema: type) -> dict[str, str]:
    """Returns the string literal under each field of a dataclass, by the field's name."""
    (definition,) = ast.parse(inspect.getsource(schema)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, following in pairwise(definition.body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = _one_line(text)
    return found


def _rows(key: Field[Any], schema: type, prefix: str = "") -> Iterator[str]:
    """Yields the row of a field, and those of the section that it holds. Raises KeyError for a key without a
    sentence."""
    kind = get_type_hints(schema)[key.name]
    section = section_of(kind)
    described = sentences(schema)
    if section is None or key.name in described:
        cells = (f"`{prefix}{key.name}`", type_name(kind), _default(key), described[key.name])
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    if section is not None:
        for inner in fields(section):
            yield from _rows(inner, section, f"{prefix}{key.name}.")


def _default(key: Field[Any]) -> str:
    default = key.default if key.default_factory is NO_DEFAULT else key.default_factory()
    return "needed" if default == MISSING else f"`{json.dumps(default)}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> None:
    """Print the table, or write it into a file."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.config.reference", description=main.__doc__)
    parser.add_argument("--write", metavar="FILE", type=Path, help="a file with the two marks")
    file = parser.parse_args().write
    if file is None:
        print(table())
        return
    try:
        file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        parser.error(f"{file}: {error}")


if __name__ == "__main__":
    main()
