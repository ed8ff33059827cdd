"""Finds out what a server can do: which models it serves, and in which dialect it takes and gives samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.dialects import ChatDialect, Dialect, TextDialect, TokenDialect, Writer, cached_tokens
from actors.messages import SampleRequest
from actors.server import BASE, Server, ServerRefused

SECONDS = 9.0
"""The time that a server has to say which models it serves."""
KEY = "generator.endpoint.key names the environment variable that holds it"
ABSENT = (404, 405, 501)
"""Statuses of what a server does not have."""


@dataclass(frozen=True)
class Served:
    """What a server says of a model."""

    max_model_len: int | None = None
    """The largest length of prompt and output together, in tokens; None where it does not say."""
    vllm: bool = False


async def models(server: Server, name: str) -> Served:
    """Returns what the server says of a model. Raises ValueError where it refuses the key, or serves others;
    ServerLost where it does not answer.

    A server that does not list its models is asked for none.
    """
    try:
        found = await server.get("/models", SECONDS)
    except ServerRefused as error:
        if error.status in (401, 403):
            raise refused_key(server, error) from error
        if error.status in ABSENT:
            return Served()
        raise ValueError(f"{server.url}/models: {error.status} {error}") from error
    cards = found.get("data") if isinstance(found, Mapping) else None
    by_id = {card["id"]: card for card in cards or () if isinstance(card, Mapping) and "id" in card}
    if by_id and name not in by_id:
        several = ", ".join(list(by_id)[:20])
        raise ValueError(f"{server.url} serves no {name!r}; generator.endpoint.model can be: {several}")
    card = by_id.get(name, {})
    base = by_id.get(card.get("parent"), card)  # an adapter's card does not tell
    length = base.get("max_model_len")
    return Served(length if isinstance(length, int) else None, card.get("owned_by") == "vllm")


async def choose(server: Server, writer: Writer, *, vllm: bool) -> tuple[Dialect, list[str]]:
    """Returns the most exact dialect that a server speaks, and lines that say which, and what it costs.

    Raises ValueError where it speaks none, or none that fits how the generator's prompts are put.
    """
    ids = writer.ids("1 + 1 =")[:8] or (0, 0)
    probe = SampleRequest("probe", ids, 0, 8, until="end", temperature=0.0)
    tries: list[Dialect] = [
        TokenDialect(writer),
        TextDialect(writer, ids=True, knows_specials=False),
        TextDialect(writer, ids=False, knows_specials=False),
    ]
    reasons: list[str] = []
    for dialect in tries:
        by_ids = dialect is not tries[2]
        try:
            answer = await server.post(dialect.path, dialect.body(probe))
        except ServerRefused as error:
            if error.status in (401, 403):
                raise refused_key(server, error) from error
            reasons.append(f"{error.status} {error}")
            if error.status in ABSENT:
                break
            continue
        held = answer if isinstance(answer, Mapping) else {}
        choices, usage = held.get("choices"), held.get("usage")
        if not isinstance(choices, list) or len(choices) != 1:  # each id was taken for a prompt
            reasons.append(f"{len(choices or ())} choices to one prompt")
            continue
        if by_ids and usage and usage.get("prompt_tokens") not in (None, len(ids)):
            reasons.append(f"{usage['prompt_tokens']} prompt tokens where {len(ids)} were sent")
            continue
        lines = []
        if choices[0].get("token_ids") is None and isinstance(dialect, TokenDialect):
            dialect = TextDialect(writer, ids=True, knows_specials=True)
        elif isinstance(dialect, TokenDialect):
            lines = differing(writer, choices[0])
        return dialect, [*lines, *said(writer, server.url, dialect, usage, vllm=vllm)]
    chat = await _chat(server, writer, reasons[0])
    return chat, said(writer, server.url, chat, None, vllm=vllm)


async def _chat(server: Server, writer: Writer, why: str) -> ChatDialect:
    """Returns the dialect of a server that takes no completions, for the reason ``why``."""
    refused = ""
    for limit in ("max_tokens", "max_completion_tokens"):
        unfit: ValueError | None = None
        try:
            chat = ChatDialect(writer, limit=limit)
            body = chat.greeting()
        except ValueError as error:  # a server that does not chat either is told from one that does
            unfit = error
            body = {"model": writer.served, "messages": [{"role": "user", "content": "1 + 1 = ?"}]}
        try:
            await server.post(ChatDialect.path, body)
        except ServerRefused as error:
            if error.status in (401, 403):
                raise refused_key(server, error) from error
            refused = refused or f"{error.status} {error}"
            if error.status in ABSENT:
                refused += f"; {BASE}"
                break
            continue
        if unfit is not None:
            raise ValueError(f"{server.url}/completions: {why}; {unfit}")
        return chat
    raise ValueError(f"{server.url}/completions: {why}; {ChatDialect.path}: {refused}")


def refused_key(server: Server, error: ServerRefused) -> ValueError:
    """Returns the error of a server that does not take the key, or asks for one."""
    return ValueError(f"{server.url} refuses the key, or the lack of one ({error.status} {error}); {KEY}")


def differing(writer: Writer, choice: Mapping[str, Any]) -> list[str]:
    """Returns a line where the server's token ids are other texts in the generator's tokenizer."""

    def plain(text: str) -> str:
        return "".join(text.replace("\ufffd", "").split())

    ours, its = writer.text(choice["token_ids"]), choice.get("text") or ""
    if plain(ours) == plain(its):
        return []
    return [
        f"warning: {writer.served} wrote {its!r}, whose token ids are {ours!r} in the tokenizer of "
        "generator.model: is that the model that is served?"
    ]


def said(
    writer: Writer, url: str, dialect: Dialect, usage: Mapping[str, Any] | None, *, vllm: bool
) -> list[str]:
    """Returns how the server is asked, and which of an engine's guarantees it does not give."""
    how = {
        TokenDialect: "token ids in and out, as of an engine",
        TextDialect: (
            "its text is tokenized with generator.model's tokenizer, perhaps not into those that were sampled"
        ),
        ChatDialect: "it only chats, in its own template: whole solutions only (best_of_n, revisions)",
    }[type(dialect)]
    beside = "a sample may depend on what else the server computes" if vllm else "the server may ignore seeds"
    lost = [f"the same solutions when a request or a run is repeated ({beside})"]
    if cached_tokens(usage) is None:
        how_to = ": vllm serve --enable-prompt-tokens-details" if vllm else ""
        lost.append(f"a measure of the reuse of prefixes{how_to}")
    return [f"{writer.served} at {url}: {how}", f"not given by {url}: {'; '.join(lost)}"]
