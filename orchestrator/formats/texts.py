"""What formats share: pieces of text as token ids, chats, and the entries of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.problems.conversation import Turn, begun, render_chat


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Returns the token ids of a text without the tokens that only begin or end a sequence."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def chat(
    tokenizer: Any, turns: Sequence[Turn], *, reply: bool, model: str, key: str = "verifier.model"
) -> tuple[int, ...]:
    """Returns the token ids of a chat in the tokenizer's own template; with ``reply``, up to where the
    assistant's answer begins.

    Raises BadInput that names ``key`` where the tokenizer has no template, or one that refuses these turns.
    """
    # A verifier answers at once: where a template can leave thinking out, it is left out.
    options = {"enable_thinking": False}
    text = render_chat(tokenizer, turns, reply=reply, key=key, value=model, options=options)
    return begun(tokenizer, text)


def one_token(tokenizer: Any, text: str, *, key: str, model: str) -> tuple[int, str]:
    """Returns the id and the vocabulary's entry of the last token of ``text``.

    Raises BadInput that names ``key`` where the vocabulary has no such entry.
    """
    found = ids(tokenizer, text)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if not found or found[-1] == unknown:
        raise BadInput(key, text, f"needed: a token of the vocabulary of {model}")
    entry = tokenizer.convert_ids_to_tokens(found[-1])
    return found[-1], entry


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Returns how many first tokens are the same."""
    length = min(len(a), len(b))
    if tuple(a[:length]) == tuple(b[:length]):
        return length
    return next(i for i in range(length) if a[i] != b[i])
