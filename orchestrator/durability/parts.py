"""Names what of a run is not as its journal was begun with."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

UNKNOWN = "its configuration is another one, or a model, the problems or a file have changed since"


def changed(begun: str | None, parts: Mapping[str, str]) -> str:
    """Returns in words which ``parts`` differ from those that a journal was begun with: digests by name, as
    JSON; what it may be where the journal, of an earlier version, has none."""
    before: dict[str, str] = msgspec.json.decode(begun) if begun else {}
    differ = [name for name in {**before, **parts} if before and before.get(name) != parts.get(name)]
    if not differ:
        return UNKNOWN
    named = " and ".join([", ".join(differ[:-1]), differ[-1]] if differ[1:] else differ)
    return f"{named} {'are' if differ[1:] else 'is'} not as it was begun with"
