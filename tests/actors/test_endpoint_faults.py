"""A running server as a replica: what it does wrong, what is waited for, and when it is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from actors import server as calls
from actors.endpoint import EndpointActor
from actors.messages import Failure, Load, Notice, RequestFailed
from actors.pool import Pool
from actors.server import ServerLost
from actors.spec import PoolSpec
from tests.support.endpoint import MODEL, NO_IDS, TOKENIZER, answers, ids, ids_as, made, request
from tests.support.openai_server import (
    FakeServer,
    LocalReplicaHandle,
    digits,
    drip,
    drop,
    hang,
    says,
    served,
    status,
)


@pytest.mark.parametrize(
    "faults",
    [
        [status(503), status(503)],
        [status(429, Retry_After="0.2")],
        [status(500), drop, status(502)],
        [drop],
    ],
)
@pytest.mark.parametrize("kind", ["vllm", "text"])
async def test_what_passes_is_waited_for(kind: str, faults: list[Any]):
    server = FakeServer(TOKENIZER, kind)
    async with served(server) as url:
        actor = await made(url)
        server.faults = list(faults)
        began = time.monotonic()
        (step,) = await answers(actor, [request()])
        assert step.tokens == ids(digits("12=", 1)[:7])
        assert time.monotonic() - began >= (0.2 if len(faults) == 1 and faults[0] is not drop else 0)
        await actor.shutdown()


async def test_an_error_that_does_not_pass_fails_its_request_alone_in_one_line():
    server = FakeServer(TOKENIZER)
    async with served(server) as url:
        actor = await made(url)
        for faults, words in (
            ([status(400, "the\nprompt is bad")], f"{url}: 400 the prompt is bad"),
            ([status(500, "oops")] * 4, "500 oops (tried 4 times)"),
            ([drop] * 4, "(tried 4 times)"),
        ):
            server.faults = list(faults)
            (failed,) = await answers(actor, [request("bad")])
            assert isinstance(failed, Failure)
            assert failed.error.startswith("generator-0, request bad: ")
            assert words in failed.error
            assert "\n" not in failed.error
            (good,) = await answers(actor, [request("good")])
            assert good.finish == "step"
        await actor.shutdown()


NO_PIECES = ("[1]", "null", "5", '"x"', '{"choices":["a"]}', '{"choices":[null]}', '{"choices":{"0":1}}')
NO_PIECES += ('{"choices":[{"text":5}]}', '{"choices":5}', "[" * 20_000)
NO_ANSWERS = ("5", "null", "[]", "{}", '{"choices":[null]}', '{"choices":{"0":1}}', '{"choices":[{}]}')


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        *(("text", says(piece, stream=True)) for piece in NO_PIECES),
        *(("vllm", says(body)) for body in (*NO_ANSWERS, "[" * 200_000, *map(ids_as, NO_IDS))),
        ("vllm", says('{"choices":[{"token_ids":5,"finish_reason":"stop"}]}')),
        ("vllm", says('{"choices":[{"token_ids":[5],"finish_reason":["stop"]}]}')),
        ("vllm", status(400, "[" * 200_000)),
    ],
)
async def test_whatever_a_server_says_a_request_is_answered_in_one_line_that_names_it(kind: str, answer: Any):
    server = FakeServer(TOKENIZER, kind)
    async with served(server) as url:
        actor = await made(url, retries=0)
        server.faults = [answer]
        (failed,) = await asyncio.wait_for(answers(actor, [request("bad")]), 20)
        assert isinstance(failed, Failure), failed
        assert failed.error.startswith(f"generator-0, request bad: {url}: ")
        assert "\n" not in failed.error
        assert len(failed.error) < 600
        (good,) = await answers(actor, [request("good")])
        assert good.finish == "step"
        await actor.shutdown()


async def test_an_error_that_nobody_foresaw_fails_its_request_and_hangs_nobody(monkeypatch):
    async with served(FakeServer(TOKENIZER)) as url:
        actor = await made(url)

        def broken(*values: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(actor._dialect, "result", broken)
        (failed,) = await asyncio.wait_for(answers(actor, [request("bad")]), 20)
        assert failed.error == f"generator-0, request bad: {url}: ZeroDivisionError:"
        await actor.shutdown()


async def test_a_stream_that_takes_too_long_is_no_server_that_is_lost():
    server = FakeServer(TOKENIZER, "text")
    async with served(server) as url:
        actor = await made(url, timeout=0.4, retries=1)
        piece = '{"choices":[{"text":"1","finish_reason":null}]}'
        server.faults = [drip(piece, 100, 0.05)] * 2
        (failed,) = await asyncio.wait_for(answers(actor, [request("slow")]), 20)
        assert "no whole answer in 0.4 s (tried 2 times)" in failed.error
        assert await actor.ping() == 0.0
        await actor.shutdown()


async def test_a_server_that_answers_nothing_for_too_long_is_lost_and_named():
    server = FakeServer(TOKENIZER)
    async with served(server) as url:
        actor = await made(url, timeout=0.5)
        server.faults = [hang()]
        await actor.submit([request()])
        await actor.collect()  # the notices of the start
        with pytest.raises(ServerLost, match=f"{url} has answered nothing .* no whole answer"):
            await actor.collect()
        with pytest.raises(ServerLost):
            await actor.ping()
        await actor.shutdown()


async def test_a_slow_request_beside_others_that_are_answered_is_sent_again():
    server = FakeServer(TOKENIZER)
    async with served(server) as url:
        actor = await made(url, timeout=0.5)
        server.faults = [hang()]
        await actor.submit([request("slow")])
        await asyncio.sleep(0.3)
        found = await answers(actor, [request("other")])
        while len(found) < 2:
            found += [each for each in await actor.collect() if not isinstance(each, Load | Notice)]
        assert {each.id: each.finish for each in found} == {"other": "step", "slow": "step"}
        await actor.shutdown()


async def test_a_server_that_is_away_for_a_while_is_said_to_be_and_said_to_be_back(monkeypatch):
    monkeypatch.setattr(calls, "QUIET_SECONDS", 0.0)
    server = FakeServer(TOKENIZER)
    async with served(server) as url:
        actor = await made(url)
        await actor.collect()
        server.faults = [status(503, "loading")] * 3
        await actor.submit([request("a"), request("b")])
        found: list[Any] = []
        while sum(isinstance(each, Notice) for each in found) < 2:
            found += await actor.collect()
        lines = [each.line for each in found if isinstance(each, Notice)]
        assert lines == [f"{url} is away (503 loading); called again for 5 s", f"{url} answers again"]
        await actor.shutdown()


async def test_a_pool_makes_a_lost_server_anew_and_gives_up_with_its_name():
    server = FakeServer(TOKENIZER)
    options = {"served": "it", "step_delimiter": "\n", "timeout": 0.4, "retries": 1}
    async with served(server) as url:
        spec = PoolSpec("generator", EndpointActor, MODEL, options={**options, "url": url}, return_poll=0.01)
        pool: Pool[Any] = Pool(spec, LocalReplicaHandle)
        notices: list[str] = []
        pool.on_notice = notices.append
        await pool.start(30)
        server.faults = [hang()]
        result = await pool.run(request())
        assert result.finish == "step"
        assert any(f"generator-0: it at {url}: token ids in and out" in line for line in notices)
        assert any(f"{url} has answered nothing" in line for line in notices)
        assert any("generator-0 is back" in line for line in notices)
        server.faults = [status(400, "too long")]
        with pytest.raises(RequestFailed, match=f"generator-0, request a: {url}: 400 too long"):
            await pool.run(request())
        await pool.close()
