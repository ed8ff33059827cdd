"""Finds out what a server can do: which models it serves, and in which dialect it takes and gives samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.dialects import (
    ChatDialect,
    Dialect,
    TextDialect,
    TokenDialect,
    Writer,
    cached_tokens,
    counted,
    only_choice,
    text_of,
)
from actors.messages import SampleRequest
from actors.server import BASE, Server, ServerRefused

SECONDS = 9.0
"""The time that a server has to say which models it serves."""
ABSENT = (404, 405, 501)
"""Statuses of what a server does not have."""


@dataclass(frozen=True)
class Served:
    """What a server says of a model."""

    max_model_len: int | None = None
    """The largest length of prompt and output together, in tokens; None where it does not say."""
    vllm: bool = False


async def models(server: Server, name: str) -> Served:
    """Returns what the server says of a model. Raises ValueError where it refuses the key, serves others, or
    lists what are no models; ServerLost where it does not answer.

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
    listed = found.get("data") if isinstance(found, Mapping) else None
    cards = [] if listed is None else listed
    if not isinstance(cards, list) or not all(_is_card(card) for card in cards):
        raise ValueError(f"{server.url}/models answers with no list of models: {str(found)[:80]!r}; {BASE}")
    by_id = {card["id"]: card for card in cards}
    if by_id and name not in by_id:
        several = ", ".join(list(by_id)[:20])
        key = f"{server.section}.endpoint.model"
        raise ValueError(f"{server.url} serves no {name!r}; {key} can be: {several}")
    card = by_id.get(name, {})
    parent = card.get("parent")
    base = by_id.get(parent, card) if isinstance(parent, str) else card  # an adapter's card does not tell
    return Served(counted(base, "max_model_len") or None, card.get("owned_by") == "vllm")


def _is_card(card: Any) -> bool:
    return isinstance(card, Mapping) and isinstance(card.get("id"), str)


async def choose(server: Server, writer: Writer, *, vllm: bool) -> tuple[Dialect, list[str]]:
    """Returns the most exact dialect that a server speaks, and lines that say which, and what it costs.

    Raises ValueError where it speaks none, none that fits how the generator's prompts are put, none that has
    the log-probabilities that are asked for, or its answer is no completion.
    """
    dialect, lines = await _chosen(server, writer, vllm=vllm)
    if writer.logprobs and not dialect.gives_logprobs:
        raise ValueError(
            f"{server.url} gives no log-probabilities of the tokens that were sampled, which "
            f"{writer.section}.confidence reads: an engine does, or a server of vLLM; allowed here: null"
        )
    return dialect, lines


async def _chosen(server: Server, writer: Writer, *, vllm: bool) -> tuple[Dialect, list[str]]:
    ids = writer.ids("1 + 1 =")[:8] or (0, 0)
    probe = SampleRequest("probe", ids, 0, 8, until="end", temperature=0.0, logprobs=writer.logprobs)
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
        match answer:
            case {"error": error} if error and "choices" not in answer:
                reasons.append(f"200 {str(error)[:200]}")
                continue
            case {"choices": [_, _, *_] as several}:  # each id was taken for a prompt
                reasons.append(f"{len(several)} choices to one prompt")
                continue
        usage = answer.get("usage") if isinstance(answer, Mapping) else None
        read = counted(usage, "prompt_tokens")
        if by_ids and read not in (None, len(ids)):
            reasons.append(f"{read} prompt tokens where {len(ids)} were sent")
            continue
        lines = []
        try:
            choice = only_choice(answer)
            text = text_of(choice, "text")
            if isinstance(dialect, TokenDialect):
                if choice.get("token_ids") is None:
                    dialect = TextDialect(writer, ids=True, knows_specials=True)
                else:
                    lines = differing(writer, dialect.sampled(choice), text)
                    if writer.logprobs:
                        dialect.logprobs(choice)
        except ValueError as error:
            raise ValueError(f"{server.url}{dialect.path}: {error}") from error
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
            answer = await server.post(ChatDialect.path, body)
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
        try:
            message = only_choice(answer).get("message")
        except ValueError as error:
            raise ValueError(f"{server.url}{ChatDialect.path}: {error}") from error
        if not isinstance(message, Mapping):
            raise ValueError(
                f"{server.url}{ChatDialect.path}: a choice without a message: {str(answer)[:200]}"
            )
        return chat
    raise ValueError(f"{server.url}/completions: {why}; {ChatDialect.path}: {refused}")


def refused_key(server: Server, error: ServerRefused) -> ValueError:
    """Returns the error of a server that does not take the key, or asks for one."""
    key = f"{server.section}.endpoint.key names the environment variable that holds it"
    return ValueError(f"{server.url} refuses the key, or the lack of one ({error.status} {error}); {key}")


def differing(writer: Writer, tokens: Sequence[int], its: str) -> list[str]:
    """Returns a line where the server's token ids are not the text ``its`` in the generator's tokenizer."""

    def plain(text: str) -> str:
        return "".join(text.replace("\ufffd", "").split())

    ours = writer.text(tokens)
    if plain(ours) == plain(its):
        return []
    return [
        f"warning: {writer.served} wrote {its!r}, whose token ids are {ours!r} in the tokenizer of "
        f"{writer.section}.model: is that the model that is served?"
    ]


def said(writer: Writer, url: str, dialect: Dialect, usage: Any, *, vllm: bool) -> list[str]:
    """Returns how the server is asked, and which of an engine's guarantees it does not give."""
    how = {
        TokenDialect: "token ids in and out, as of an engine",
        TextDialect: (
            f"its text is tokenized with {writer.section}.model's tokenizer, perhaps not into those that "
            "were sampled"
        ),
        ChatDialect: "it only chats, in its own template: whole solutions only (best_of_n, revisions)",
    }[type(dialect)]
    beside = "a sample may depend on what else the server computes" if vllm else "the server may ignore seeds"
    lost = [f"the same solutions when a request or a run is repeated ({beside})"]
    if cached_tokens(usage) is None:
        how_to = ": vllm serve --enable-prompt-tokens-details" if vllm else ""
        lost.append(f"a measure of the reuse of prefixes{how_to}")
    return [f"{writer.served} at {url}: {how}", f"not given by {url}: {'; '.join(lost)}"]
