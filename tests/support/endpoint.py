"""An endpoint's replica over a server of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.endpoint import EndpointActor
from actors.messages import Load, Notice, SampleRequest
from orchestrator.config.schema import LAB_MODELS
from orchestrator.problems.codec import load_tokenizer
from tests.support.openai_server import FakeServer, served

MODEL = str(LAB_MODELS / "generator-s")
TOKENIZER = load_tokenizer(MODEL, key="model")
EOS = TOKENIZER.eos_token_id

NO_IDS = ("1e999", "999999", "-1", "true", "1.7", "1" + 30 * "0", '"12"', "null", "[1]")
"""What is no token id of the model, as JSON."""


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER(text)["input_ids"])


def request(name: str = "a", prompt: str = "12=", **values: Any) -> SampleRequest:
    return SampleRequest(name, ids(prompt), **{"seed": 1, "max_tokens": 40} | values)


async def made(url: str, **options: Any) -> EndpointActor:
    values = {"served": "it", "step_delimiter": "\n", "retries": 3, "timeout": 5.0}
    values |= {"first_wait": 0.01}
    return await asyncio.to_thread(EndpointActor, "generator-0", MODEL, url=url, **values | options)


async def answers(actor: EndpointActor, requests: Sequence[SampleRequest]) -> list[Any]:
    """The answers in the order of the requests."""
    await actor.submit(list(requests))
    found: dict[str, Any] = {}
    while len(found) < len(requests):
        found |= {each.id: each for each in await actor.collect() if not isinstance(each, Load | Notice)}
    return [found[request.id] for request in requests]


async def once(server: FakeServer, *requests: SampleRequest, **options: Any) -> list[Any]:
    async with served(server) as url:
        actor = await made(url, **options)
        server.faults, faults = [], server.faults
        try:
            server.bodies.clear()
            server.faults = faults
            return await answers(actor, requests)
        finally:
            await actor.shutdown()


def ids_as(token: str) -> str:
    return f'{{"choices":[{{"token_ids":[{token}],"finish_reason":"stop","text":""}}]}}'
