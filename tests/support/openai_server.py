"""An OpenAI-compatible HTTP server whose model is a function of the text and the seed.

The kinds are servers that there are: ``vllm`` speaks token ids; ``text`` takes them and gives text;
``strict`` also refuses fields that OpenAI's do not have; ``strings`` takes only text; ``chat`` has no
completions.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from actors.faults import one_line
from actors.handle import Broken, Gone
from actors.spec import PoolSpec

PLAIN = frozenset(
    [
        *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("seed", "stop", "stream", "presence_penalty", "frequency_penalty"),
    ]
)
"""Fields of OpenAI's own."""
Write = Callable[[str, int], str]
"""The model: continues a prompt to the end of the solution."""
Fault = Callable[[web.Request], Any]


def status(code: int, message: str = "busy", **headers: str) -> Fault:
    """Answers with a status."""

    async def answer(request: web.Request) -> web.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"error": {"message": message}}, status=code, headers=names)

    return answer


def says(body: str, *, stream: bool = False) -> Fault:
    """Answers with a text, as it is, or as the only piece of a stream."""

    async def answer(request: web.Request) -> web.Response:
        if stream:
            return web.Response(text=f"data: {body}\n\n", content_type="text/event-stream")
        return web.Response(text=body, content_type="application/json")

    return answer


def drip(piece: str, count: int, seconds: float) -> Fault:
    """Streams a piece again and again, with a wait before each."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(count):
            await asyncio.sleep(seconds)
            await response.write(f"data: {piece}\n\n".encode())
        return response

    return answer


def hang(seconds: float = 60.0) -> Fault:
    """Answers late."""

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.json_response({})

    return answer


async def drop(request: web.Request) -> web.StreamResponse:
    """Begins an answer, and breaks the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


def digits(prompt: str, seed: int) -> str:
    """Writes rows of digits as the lab's puzzles have, three in all."""
    written = prompt.rpartition("=")[2].count("\n")
    rng = random.Random(f"{prompt}|{seed}")
    return "\n".join("".join(rng.choices("123456", k=6)) for _ in range(3 - written))


@dataclass
class FakeServer:
    """Use it as ``async with served(FakeServer(tokenizer)) as url``."""

    tokenizer: Any
    kind: str = "vllm"
    write: Write = digits
    name: str = "it"
    key: str | None = None
    max_model_len: int | None = None
    cached: bool = False
    listed: str | None = None
    """The JSON of its models, in place of what it has."""
    faults: list[Fault] = field(default_factory=list)
    """What the next completions meet, in this order; the greeting's too."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """What was asked for."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    aborted: int = 0
    sent: int = 0
    """Pieces of streams."""
    at_once: int = 0
    most: int = 0
    delay: float = 0.0

    async def models(self, request: web.Request) -> web.Response:
        if self._unknown(request):
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        if self.listed is not None:
            return web.Response(text=self.listed, content_type="application/json")
        card = {"id": self.name, "object": "model", "owned_by": "vllm" if self.kind == "vllm" else "me"}
        length = {"max_model_len": self.max_model_len} if self.max_model_len else {}
        return web.json_response({"object": "list", "data": [card | length]})

    async def asked(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        body = await request.json()
        self.bodies.append(body)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if self.faults:
                return await self.faults.pop(0)(request)
            await asyncio.sleep(self.delay)
            return await self._answer(request, body)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        chat = "messages" in body
        if self._unknown(request):
            return await status(401, "bad key")(request)
        if chat != (self.kind == "chat"):
            return await status(404, "no such path")(request)
        if self.kind in ("strict", "chat") and (extra := body.keys() - PLAIN):
            return await status(400, f"unrecognised: {', '.join(sorted(extra))}")(request)
        prompt = body.get("prompt")
        if self.kind == "strings" and not isinstance(prompt, str):
            return await status(400, "prompt: a string is needed")(request)
        if chat:
            prompt = body["messages"][-1]["content"]
        ids = self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        written = list(
            self.tokenizer(self.write(text, body.get("seed", 0)), add_special_tokens=False)["input_ids"]
        )
        written.append(self.tokenizer.eos_token_id)
        tokens, finish, reason = self._stopped(written, body)
        shown = self.tokenizer.decode(tokens, skip_special_tokens=self.kind != "vllm")
        if isinstance(reason, str) and not body.get("include_stop_str_in_output"):
            shown = shown[: shown.index(reason)]
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(tokens)}
        if self.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": len(ids) - 1}
        if body.get("stream"):
            return await self._stream(request, shown, finish)
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        choice |= {"message": {"role": "assistant", "content": shown}} if chat else {"text": shown}
        if self.kind == "vllm":
            choice |= {"stop_reason": reason, "token_ids": tokens if body.get("return_token_ids") else None}
            if body.get("logprobs") is not None:
                choice["logprobs"] = {"token_logprobs": [-token / 100 for token in tokens]}
        return web.json_response({"choices": [choice], "usage": usage})

    def _stopped(self, written: Sequence[int], body: dict[str, Any]) -> tuple[list[int], str, object]:
        extended = self.kind == "vllm"
        for count in range(1, min(len(written), body.get("max_tokens", 16)) + 1):
            tokens = list(written[:count])
            if extended and tokens[-1] in body.get("stop_token_ids", ()):
                return tokens, "stop", tokens[-1]
            if tokens[-1] == self.tokenizer.eos_token_id:
                return tokens, "stop", None
            text = self.tokenizer.decode(tokens, skip_special_tokens=False)
            for stop in body.get("stop") or ():
                if stop in text:
                    return tokens, "stop", stop
        return list(written[: body.get("max_tokens", 16)]), "length", None

    async def _stream(self, request: web.Request, text: str, finish: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for letter in text:
            await self._send(response, {"choices": [{"text": letter, "finish_reason": None}]})
            self.sent += 1
            await asyncio.sleep(0.001)
        await self._send(response, {"choices": [{"text": "", "finish_reason": finish}]})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, chunk: dict[str, Any]) -> None:
        await response.write(f": alive\n\ndata: {json.dumps(chunk)}\n\n".encode())

    def _unknown(self, request: web.Request) -> bool:
        return self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}"


@asynccontextmanager
async def served(server: FakeServer) -> AsyncIterator[str]:
    """Serves, and yields the base URL."""
    app = web.Application()
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/completions", server.asked)
    app.router.add_post("/v1/chat/completions", server.asked)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


class LocalReplicaHandle:
    """A replica in this process, in place of ``actors.handle.RayReplicaHandle``."""

    def __init__(self, spec: PoolSpec, name: str) -> None:
        self.spec, self.name = spec, name
        self._replica: asyncio.Task[Any] | None = None
        self._ending: list[asyncio.Task[None]] = []

    async def call(self, method: str, *args: Any) -> Any:
        if self._replica is None:
            making = asyncio.to_thread(self.spec.replica, self.name, self.spec.model, **self.spec.options)
            self._replica = asyncio.create_task(making)
        try:
            replica = await asyncio.shield(self._replica)
        except Exception as error:
            raise Gone(one_line(error)) from error
        try:
            return await getattr(replica, method)(*args)
        except Exception as error:
            raise Broken(one_line(error)) from error

    def restart(self) -> None:
        if self._replica is not None and self._replica.done() and self._replica.exception() is None:
            self._ending.append(asyncio.create_task(self._replica.result().shutdown()))
        self._replica = None

    def kill(self) -> None:
        self.restart()
