"""Finds the characters of problems that a model never sees, since its tokenizer has no token for them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from orchestrator.config.preparation import Prepared
from orchestrator.config.rendering import decoded
from orchestrator.errors import counted
from orchestrator.problems.problem import filled

SHOWN = 5
"""Characters that are named."""


def lost_letters(prepared: Prepared) -> Iterator[str]:
    """Yields a warning for each model whose tokenizer loses characters of the problems."""
    readers: dict[str, Any] = {"generator.model": prepared.codec.tokenizer}
    if (
        prepared.verifier is not None and prepared.verifier.format is not None
    ):  # else it reads the same tokens
        readers["verifier.model"] = prepared.verifier.tokenizer
    if prepared.judge is not None:
        readers["judge.model"] = prepared.judge.question.tokenizer
    seen: list[Any] = [None]
    template = prepared.config.problems.template
    for key, tokenizer in readers.items():
        if any(tokenizer is other for other in seen):
            continue
        seen.append(tokenizer)
        found = {p.id: lost for p in prepared.problems if (lost := lost_of(tokenizer, filled(template, p)))}
        if found:
            letters = list(dict.fromkeys("".join(found.values())))
            more = f" and {len(letters) - SHOWN} more" if len(letters) > SHOWN else ""
            where = f"{len(found):,} of {counted(len(prepared.problems), 'problem')}"
            yield (
                f"{key}: its tokenizer has no token for {', '.join(map(repr, letters[:SHOWN]))}{more}, in "
                f"{where}, such as {next(iter(found))}: it cannot read them"
            )


def lost_of(tokenizer: Any, text: str) -> str:
    """Returns the characters of a text that are gone once it was encoded and decoded. White space does not
    count, nor does another form of the same character."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    tokens = [each for each in tokenizer(text, add_special_tokens=False)["input_ids"] if each != unknown]
    lost = _letters(text) - _letters(decoded(tokenizer, tokens))
    written = dict.fromkeys(each for each in text if lost.keys() & _letters(each))
    return "".join(written or lost)


def _letters(text: str) -> Counter[str]:
    return Counter("".join(unicodedata.normalize("NFKC", text).split()))
