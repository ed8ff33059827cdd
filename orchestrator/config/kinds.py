"""What a key of a configuration may hold, by the schema: in one word for the table of keys, and in a sentence
for the error of a value that it cannot hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from orchestrator.config.schema import Config, EndpointConfig

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


def kind_at(key: str, schema: type = Config) -> Any:
    """Returns the type of what a dotted key names: a field of the ``schema``, or a member of a mapping or a
    list. Raises LookupError where there is none."""
    kind: Any = schema
    for name in re.findall(r"[^.\[\]]+", key):
        section = section_of(kind)
        kind = _member(kind) if section is None else _types(section)[name]
    return kind


@cache
def _types(section: type) -> dict[str, Any]:
    """The type of each key of a section, by its name."""
    hints = get_type_hints(section)
    return {field.name: hints[field.name] for field in fields(section) if not field.metadata}


def _member(kind: Any) -> Any:
    """The type of the members of a mapping or a list, null or not. Raises LookupError where it is neither."""
    for option in (kind, *get_args(kind)):
        if get_origin(option) in (dict, list):
            return get_args(option)[-1]
    raise LookupError(kind)


def allowed_at(key: str, schema: type = Config) -> str:
    """Returns what a key may hold: ``allowed: a number or null``. Raises LookupError as ``kind_at`` does, and
    where it may hold anything."""
    kind = kind_at(key, schema)
    section = section_of(kind)
    word, _, null = type_name(kind).partition(" or ")
    words = WORDS[word] if section is None else f"a section with keys such as {key}.{fields(section)[0].name}"
    return f"allowed: {words}{' or null' if null else ''}"


def sections_with(name: str) -> list[str]:
    """Returns the keys of this name that sections of the configuration have: ``generator.temperature``."""
    sections = {key: section_of(kind) for key, kind in _types(Config).items()}
    return [f"{key}.{name}" for key, section in sections.items() if section and name in _types(section)]


def misplaced(given: Any, schema: type = Config, prefix: str = "") -> tuple[str, Any] | None:
    """Returns, of a mapping, the first key that holds a section, a mapping or a list and is given something
    else, with what it is given; None where there is none."""
    for name, value in given.items():
        key = f"{prefix}{name}"
        try:
            kind = kind_at(key, schema)
        except LookupError:  # an unknown key
            continue
        word, _, null = type_name(kind).partition(" or ")
        if (needed := CONTAINERS.get(word)) is None or (value is None and null):
            continue
        if isinstance(value, str) and ("${" in value or section_of(kind) is EndpointConfig):
            continue  # the value of another key; an endpoint's URL
        if not isinstance(value, needed):
            return key, value
        inner = misplaced(value, schema, f"{key}.") if section_of(kind) is not None else None
        if inner is not None:
            return inner
    return None


def wrong_member(given: Mapping[str, Any], prefix: str = "") -> tuple[str, Any] | None:
    """Returns the first member of a mapping or a list of texts or numbers that is a mapping or a list itself,
    by its key; None where there is none. OmegaConf looks into neither."""
    for name, value in given.items():
        key = f"{prefix}{name}"
        kind = kind_at(key)
        if section_of(kind) is not None:
            inner = wrong_member(value, f"{key}.") if isinstance(value, dict) else None
            if inner is not None:
                return inner
        elif _plain_members(kind):
            for place, member in _members(value):
                if isinstance(member, (dict, list)):
                    return f"{key}{place}", member
    return None


def _members(value: Any) -> list[tuple[str, Any]]:
    """The members of a mapping or a list, each with what comes after the key; none of anything else."""
    if isinstance(value, dict):
        return [(f".{name}", member) for name, member in value.items()]
    return [(f"[{at}]", member) for at, member in enumerate(value)] if isinstance(value, list) else []


def _plain_members(kind: Any) -> bool:
    try:
        return _member(kind) in (str, int, float, bool)
    except LookupError:
        return False
