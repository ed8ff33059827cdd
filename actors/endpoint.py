"""A replica without an engine: its samples are those of a running OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from actors.dialects import ChatFrame, Dialect, Writer
from actors.greeting import Served, choose, models
from actors.hub import HubAccess
from actors.messages import Failure, Load, Notice, PoolFailed, ReplicaInfo, Request, Result, SampleRequest
from actors.outbox import Outbox
from actors.server import FIRST_WAIT, GaveUp, Secret, Server, ServerLost, ServerRefused, read_json, said
from actors.sse import read_completion
from actors.stops import Stops, check_texts


class EndpointActor:
    """Answers ``SampleRequest`` as ``GeneratorActor`` does, with the interface of ``actors.replica.Replica``.

    Create it with ``ray.remote(EndpointActor)``. It computes nothing, so it needs no CPU and no vLLM.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        url: str,
        served: str | None = None,
        key: Secret | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        retries: int = 5,
        step_delimiter: str | Sequence[str],
        end_of_thinking: str | None = None,
        stop: Sequence[str] = (),
        sampling: Mapping[str, float] | None = None,
        frame: ChatFrame | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        logprobs: bool = False,
        first_wait: float = FIRST_WAIT,
        hub: HubAccess | None = None,
    ) -> None:
        """Loads the tokenizer of ``model`` (a directory or hub id), and asks the server what it can do.

        ``served`` is the model's name at the server under ``url``; None means ``model``. At most
        ``concurrency`` requests are there at once. ``timeout`` and ``first_wait`` (seconds) and ``retries``
        are those of ``Server``; the texts and ``sampling`` those of ``GeneratorActor``. Servers that only
        chat need ``frame``. ``logprobs`` tells that requests may ask for log-probabilities.

        Raises ValueError where the server does not have the model, refuses the key, or has no interface that
        is known, ServerLost where it does not answer, and the exceptions of the tokenizer.
        """
        if hub is not None:
            hub.apply()
        from transformers import AutoTokenizer

        started = time.perf_counter()
        check_texts(step_delimiter, end_of_thinking, stop)
        self.name, self.model, self.url = name, model, url.rstrip("/")
        tokenizer = AutoTokenizer.from_pretrained(
            model, revision=revision, trust_remote_code=trust_remote_code
        )
        stops = Stops.of(tokenizer, step_delimiter, end_of_thinking, stop)
        section = name.rpartition("-")[0]
        held = dict(sampling or {})
        writer = Writer(name, served or model, tokenizer, stops, held, frame, section, logprobs=logprobs)
        self._server_of = partial(
            Server, url, key=key, timeout=timeout, retries=retries, first_wait=first_wait, section=section
        )
        self._concurrency = concurrency
        self._outbox: Outbox[Result | Failure | Notice] = Outbox()
        # In a thread: the actor may be made where an event loop runs already.
        with ThreadPoolExecutor(1) as thread:
            self._served, self._dialect, lines = thread.submit(asyncio.run, self._meet(writer)).result()
        self._outbox.put([Notice(line) for line in lines])
        self._server: Server | None = None
        self._places = asyncio.Semaphore(concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running, self._most = 0, 0
        self._lost: ServerLost | None = None
        self._start_seconds = time.perf_counter() - started

    async def _meet(self, writer: Writer) -> tuple[Served, Dialect, list[str]]:
        server = self._server_of()
        try:
            served = await models(server, writer.served)
            dialect, lines = await choose(
                server, replace(writer, max_model_len=served.max_model_len), vllm=served.vllm
            )
        except ServerRefused as error:
            raise ValueError(f"{self.url}: {error.status} {error}") from error
        except GaveUp as error:
            raise ValueError(str(error)) from error
        finally:
            await server.close()
        return served, dialect, lines

    async def info(self) -> ReplicaInfo:
        """Returns what is known of the server. The caller begins anew, as in ``Replica.info``."""
        self._outbox.begin_anew()
        return ReplicaInfo(
            name=self.name,
            node=ray.get_runtime_context().get_node_id() if ray.is_initialized() else platform.node(),
            pid=os.getpid(),
            max_model_len=self._served.max_model_len or 0,
            max_num_seqs=self._concurrency,
            kv_cache_tokens=0,
            start_seconds=self._start_seconds,
        )

    async def submit(self, requests: list[Request]) -> None:
        """Takes requests and returns at once; see ``Replica.submit``."""
        if self._server is None:
            self._server = self._server_of(on_notice=lambda line: self._outbox.put([Notice(line)]))
        here = {*self._tasks, *self._outbox.ids}
        for request in requests:
            if request.id not in here:
                here.add(request.id)
                self._tasks[request.id] = asyncio.create_task(self._answer(self._server, request))

    async def collect(self) -> list[Result | Failure | Notice | Load]:
        """Waits for a result, and returns all there are and the load; see ``Replica.collect``.

        Raises ServerLost where the server has answered nothing for ``timeout`` seconds.
        """
        ready = await self._outbox.take()
        if self._lost is not None:
            raise self._lost
        most, self._most = self._most, self._running
        waiting = len(self._tasks) - self._running
        return [*ready, Load(most, waiting, 0.0, 0)] if ready else []

    async def abort(self, ids: list[str]) -> None:
        """Drops these requests; closing their connections tells the server to stop. Unknown ids are
        ignored."""
        for id in ids:
            if (task := self._tasks.pop(id, None)) is not None:
                task.cancel()
        self._outbox.drop(set(ids))

    async def forget(self) -> None:
        """Does nothing: the server's caches are its own."""

    async def ping(self) -> float:
        """Returns 0: the calls themselves find a server that does not answer. Raises ServerLost if it is."""
        if self._lost is not None:
            raise self._lost
        return 0.0

    async def shutdown(self) -> None:
        """Drops all requests, and closes the connections. Idempotent."""
        tasks = list(self._tasks.values())
        await self.abort(list(self._tasks))
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.close()

    async def _answer(self, server: Server, request: Request) -> None:
        try:
            async with self._places:
                self._running += 1
                self._most = max(self._most, self._running)
                try:
                    result: Result | Failure = await self._asked(server, request)
                finally:
                    self._running -= 1
        except ServerLost as error:
            self._lost = error
            self._outbox.put([Notice(str(error))])  # wakes the collector, which raises it
            return
        except Exception as error:  # whatever a server makes of an answer: the caller waits for it
            line = " ".join(self._told(error).split())
            result = Failure(request.id, f"{self.name}, request {request.id}: {line}", self.name)
        if self._tasks.get(request.id) is asyncio.current_task():  # else it was aborted
            del self._tasks[request.id]
            self._outbox.put([result])

    def _told(self, error: Exception) -> str:
        """What went wrong with a request, with the server's URL."""
        if isinstance(error, ServerRefused):
            return f"{self.url}: {error.status} {error}"
        if isinstance(error, GaveUp):
            return str(error)
        known = isinstance(error, ValueError | TypeError) and str(error)
        return f"{self.url}: {error if known else said(error)}"

    async def _asked(self, server: Server, request: Request) -> Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"an endpoint answers no {type(request).__name__}")
        dialect = self._dialect
        body, cuts = dialect.body(request), dialect.cuts(request.until)
        read = partial(read_completion, cuts=cuts, on_piece=server.heard) if body.get("stream") else read_json
        return dialect.result(request, await server.post(dialect.path, body, read))


async def look(spec_name: str, model: str, options: Mapping[str, Any]) -> None:
    """Asks the server of an ``EndpointActor``'s options which models it has, from this process: that takes
    seconds less than an actor's start.

    Raises PoolFailed, in one line, where it does not answer, refuses the key, or does not have the model.
    """
    server = Server(options["url"], key=options.get("key"), section=spec_name)
    try:
        await models(server, options.get("served") or model)
    except (ValueError, ServerLost) as error:
        raise PoolFailed(f"{spec_name}: {error}") from error
    finally:
        await server.close()
