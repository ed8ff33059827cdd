"""Reads a streamed completion, and stops the server as soon as there is enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import aiohttp


async def read_completion(response: aiohttp.ClientResponse, cuts: Sequence[str]) -> Any:
    """Returns a streamed completion in the form of one that is not streamed, up to where a text of ``cuts``
    is whole. The caller then closes the connection, by which the server knows to stop.

    A server that does not stream is read as it is. Raises aiohttp.ClientPayloadError where the stream ends
    before the completion does, and ValueError with the server's message where it fails on the way.
    """
    if not response.content_type.startswith("text/event-stream"):
        return json.loads(await response.read())
    text, finish, usage = "", None, None
    async for line in response.content:
        name, _, data = line.decode().partition(":")
        if name != "data" or not data.strip():
            continue
        if data.strip() == "[DONE]":
            break
        chunk = json.loads(data)
        if error := chunk.get("error"):
            raise ValueError(f"the server failed on the way: {error}")
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            text += choice.get("text") or ""
            finish = choice.get("finish_reason") or finish
        if any(cut in text for cut in cuts):
            finish, usage = finish or "stop", None  # what it counted up to here is not the whole
            break
    if finish is None:
        raise aiohttp.ClientPayloadError("the stream ended before the completion")
    return {"choices": [{"text": text, "finish_reason": finish}], "usage": usage}
