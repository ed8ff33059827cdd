"""What a key of a configuration may hold, by the schema: in one word for the table of keys, and in a sentence
for the error of a value that it cannot hold."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from orchestrator.config.schema import Config

TYPE_NAMES: dict[Any, str] = {
    **{str: "text", int: "integer", float: "number", bool: "boolean", dict: "mapping", list: "list"},
    Any: "see there",
}
WORDS = {
    **{"text": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"},
    **{"list": "a list", "mapping": "a mapping of keys to values"},
}

CONTAINERS = {"mapping": dict, "list": list}


def type_name(kind: Any) -> str:
    """Returns the word for a field's type: ``number or null``."""
    options = get_args(kind)
    if type(None) in options:
        return f"{type_name(options[0])} or null"
    return "mapping" if is_dataclass(kind) else TYPE_NAMES[getattr(kind, "__origin__", kind)]


def section_of(kind: Any) -> Any:
    """Returns the dataclass that a type is, or is where it is not null; else None."""
    return next((option for option in (kind, *get_args(kind)) if is_dataclass(option)), None)


def kind_at(key: str) -> Any:
    """Returns the type of the field that a dotted key names. Raises LookupError where the schema has none."""
    kind: Any = Config
    for name in key.split("."):
        kind = get_type_hints(section_of(kind) or object)[name]
    return kind


def allowed_at(key: str) -> str:
    """Returns what a key may hold: ``allowed: a number or null``. Raises LookupError as ``kind_at`` does."""
    kind = kind_at(key)
    section = section_of(kind)
    word, _, null = type_name(kind).partition(" or ")
    if section is not None:
        names = [field.name for field in fields(section)]
        words = f"a section with keys such as {key}.{names[0]}"
    else:
        words = WORDS[word]
    return f"allowed: {words}{' or null' if null else ''}"


def misplaced(given: Any, prefix: str = "") -> tuple[str, Any] | None:
    """Returns, of a mapping, the first key that holds a section, a mapping or a list and is given something
    else, with what it is given; None where there is none."""
    for name, value in given.items():
        key = f"{prefix}{name}"
        try:
            kind = kind_at(key)
        except LookupError:  # an unknown key, or a strategy's own
            continue
        word, _, null = type_name(kind).partition(" or ")
        if (needed := CONTAINERS.get(word)) is None or (value is None and null):
            continue
        if not isinstance(value, needed):
            if isinstance(value, str) and value.startswith("${"):  # the value of another key
                continue
            return key, value
        inner = misplaced(value, f"{key}.") if section_of(kind) is not None else None
        if inner is not None:
            return inner
    return None
