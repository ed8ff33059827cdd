"""Reads a streamed completion, and stops the server as soon as there is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from actors.server import parsed


async def read_completion(
    response: aiohttp.ClientResponse, cuts: Sequence[str], on_piece: Callable[[], None]
) -> Any:
    """Returns a streamed completion in the form of one that is not streamed, up to where a text of ``cuts``
    is whole. The caller then closes the connection, by which the server knows to stop. ``on_piece`` is called
    for each piece.

    A server that does not stream is read as it is. Raises aiohttp.ClientPayloadError where the stream ends
    before the completion does, and ValueError where the server says that it fails on the way, or a piece is
    none of a completion.
    """
    if not response.content_type.startswith("text/event-stream"):
        return parsed(await response.read())
    text, finish, usage = "", None, None
    async for line in response.content:
        name, _, data = line.partition(b":")
        if name != b"data" or not data.strip():
            continue
        on_piece()
        if data.strip() == b"[DONE]":
            break
        chunk = parsed(data)
        if isinstance(chunk, Mapping) and (error := chunk.get("error")):
            raise ValueError(f"the server failed on the way: {str(error)[:200]}")
        match chunk:
            case {"choices": None} | {"choices": []}:  # as of the piece that has the usage
                pass
            case {"choices": [dict(choice)]} if isinstance(choice.get("text") or "", str):
                text += choice.get("text") or ""
                finish = choice.get("finish_reason") or finish
            case {**others} if "choices" not in others:
                pass
            case _:
                raise ValueError(f"no piece of a completion: {str(chunk)[:200]}")
        usage = chunk.get("usage") or usage
        if any(cut in text for cut in cuts):
            finish, usage = finish or "stop", None  # what it counted up to here is not the whole
            break
    if finish is None:
        raise aiohttp.ClientPayloadError("the stream ended before the completion")
    return {"choices": [{"text": text, "finish_reason": finish}], "usage": usage}
