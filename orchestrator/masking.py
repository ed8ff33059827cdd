"""Keeps secrets out of what is written and shown: the files of a run, its log, MLflow and the terminal."""

from __future__ import annotations

import re

MASK = "***"
"""Stands for a secret."""
_SECRET = re.compile(
    r"(?:^|[_.-])(?:token|password|passwd|secret|secrets|api_?key|key|credentials?)$", re.IGNORECASE
)
_OF_TEXT = re.compile(r"(?:^|[_.-])(?:bos|eos|pad|unk|sep|cls|mask|stop|start|end|special)_token$", re.I)
_VARIABLE = ".endpoint.key"
"""The end of keys that hold the name of an environment variable, not a secret."""
_USER = re.compile(r"^([A-Za-z][\w+.-]*://)([^/\s@]+)@(\S*)$")
_LEAST = 8
"""A shorter secret is not looked for in texts: it may be a part of any word."""

_known: set[str] = set()
"""The secrets of this process's configurations."""


def is_secret(key: str) -> bool:
    """Tells whether a dotted key names a secret, such as ``generator.engine.hf_token``."""
    return not key.endswith(_VARIABLE) and bool(_SECRET.search(key)) and not _OF_TEXT.search(key)


def without_user(text: str) -> str:
    """Returns a URI without its user and password; any other text as it is."""
    found = _USER.match(text)
    if found is None or "${" in found[2]:  # what is to be read elsewhere says nothing
        return text
    return f"{found[1]}{MASK}@{found[3]}"


def masked_value(key: str, value: object) -> object:
    """Returns the value of a dotted key as it may be written and shown."""
    if isinstance(value, str):
        return MASK if value and is_secret(key) else without_user(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and is_secret(key):
        return MASK
    return value


def is_masked(key: str, value: object) -> bool:
    """Tells whether the value of a dotted key stands for a secret that was not written."""
    return isinstance(value, str) and (f"//{MASK}@" in value or (value == MASK and is_secret(key)))


def remember(key: str, value: object) -> None:
    """Notes the secret that the value of a dotted key is, or holds: ``masked`` finds it in any text."""
    if isinstance(value, str):
        user = _USER.match(value)
        found = value if is_secret(key) else user[2].rpartition(":")[2] if user else ""
        if len(found) >= _LEAST and found != MASK:
            _known.add(found)


def masked(text: str) -> str:
    """Returns a text with every secret that is known in it masked."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
