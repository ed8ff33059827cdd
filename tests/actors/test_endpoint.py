"""A running server as a replica: what it is asked, what becomes of its answers, and when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors import server as calls
from actors.endpoint import EndpointActor
from actors.messages import Failure, Load, Notice, RequestFailed, SampleRequest
from actors.pool import Pool
from actors.server import Secret, ServerLost
from actors.spec import PoolSpec
from orchestrator.config.schema import LAB_MODELS
from orchestrator.problems.codec import load_tokenizer
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

MODEL = str(LAB_MODELS / "generator-s")
TOKENIZER = load_tokenizer(MODEL, key="model")
EOS = TOKENIZER.eos_token_id
KINDS = ("vllm", "text", "strict", "strings")


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


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_an_end_and_a_cut_are_told_apart_and_are_the_same_tokens_of_every_server(kind: str):
    asked = [
        request("step", until="step"),
        request("end", until="end"),
        request("last", prompt="12=123456\n123456\n", until="step"),
        request("cut", until="end", max_tokens=9),
        request("short", until="step", max_tokens=4),
    ]
    step, end, last, cut, short = await once(FakeServer(TOKENIZER, kind), *asked)
    whole = digits("12=", 1)
    assert (step.finish, step.tokens) == ("step", ids(whole[:7])), "the delimiter is part of it"
    assert (end.finish, end.tokens) == ("end", (*ids(whole), EOS))
    assert last.finish == "end"
    assert last.tokens == (*ids(digits("12=123456\n123456\n", 1)), EOS)
    assert (cut.finish, cut.tokens) == ("length", ids(whole)[:9])
    assert (short.finish, short.tokens) == ("length", ids(whole)[:4])
    assert {each.replica for each in (step, end)} == {"generator-0"}


async def test_vllm_is_sent_every_value_so_that_its_own_defaults_do_not_count():
    server = FakeServer(TOKENIZER)
    asked = request(until="step", seed=-1, temperature=0.7, top_p=0.9)
    await once(server, asked, sampling={"top_k": 5}, stop=("3.",))
    (body,) = server.bodies
    assert body == {
        "model": "it",
        "prompt": list(ids("12=")),
        "seed": (1 << 63) - 1,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 40,
        "min_tokens": 0,
        "stop": ["3."],
        "stop_token_ids": list(ids("\n")),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "return_token_ids": True,
    }


async def test_a_server_that_gives_text_is_stopped_where_a_step_ends():
    server = FakeServer(TOKENIZER, "text", write=lambda prompt, seed: "1\n" + "2" * 400)
    (step,) = await once(server, request(until="step", max_tokens=500))
    assert step.tokens == ids("1\n")
    assert server.sent < 200, "it was told to stop by the closed connection"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stop_ends_a_solution_and_a_step_but_is_no_step(kind: str):
    server = FakeServer(TOKENIZER, kind, write=lambda prompt, seed: "12#34\n5")
    step, end = await once(server, request("s"), request("e", until="end"), stop=("#",))
    assert [step.finish, end.finish] == ["end", "end"]
    assert TOKENIZER.decode(end.tokens, skip_special_tokens=True).partition("#")[0] == "12"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thought_ends_at_the_marker_and_not_at_a_stop(kind: str):
    server = FakeServer(TOKENIZER, kind, write=lambda prompt, seed: "1#2.=3")
    (thought,) = await once(server, request(until="thought"), stop=("#",), end_of_thinking=".=")
    assert (thought.finish, thought.tokens) == ("thought", ids("1#2.="))


async def test_the_tokens_that_the_server_ran_are_what_it_says():
    fresh = await once(FakeServer(TOKENIZER), request(until="end"))
    known = await once(FakeServer(TOKENIZER, cached=True), request(until="end"))
    assert fresh[0].computed_tokens == 3 + len(fresh[0].tokens) - 1
    assert known[0].computed_tokens == 1 + len(known[0].tokens) - 1


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
NO_IDS = ("1e999", "999999", "-1", "true", "1.7", "1" + 30 * "0", '"12"', "null", "[1]")


def ids_as(token: str) -> str:
    return f'{{"choices":[{{"token_ids":[{token}],"finish_reason":"stop","text":""}}]}}'


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


@pytest.mark.parametrize(
    "listed",
    [*('{"data":5}', '{"data":[{"id":["it"]}]}', '{"data":[{"id":5}]}', '{"data":["it"]}', '{"data":{}}')],
)
async def test_a_list_that_is_none_of_models_is_one_line_at_the_start(listed: str):
    async with served(FakeServer(TOKENIZER, listed=listed)) as url:
        with pytest.raises(ValueError, match="answers with no list of models") as raised:
            await made(url)
    assert str(raised.value).startswith(f"{url}/models ")


@pytest.mark.parametrize(
    "listed", ["[]", "{}", '{"data":[{"id":"it","parent":[],"max_model_len":true}]}', '{"data":null}']
)
async def test_a_list_that_tells_little_is_enough(listed: str):
    async with served(FakeServer(TOKENIZER, listed=listed)) as url:
        actor = await made(url)
        assert (await actor.info()).max_model_len == 0
        await actor.shutdown()


@pytest.mark.parametrize("answer", [*("5", "[]", '{"choices":5}', '{"choices":["a"]}'), *map(ids_as, NO_IDS)])
async def test_a_first_answer_that_is_no_completion_is_one_line_at_the_start(answer: str):
    async with served(FakeServer(TOKENIZER, faults=[says(answer)])) as url:
        with pytest.raises(ValueError, match=r"no completion of one choice|the token id") as raised:
            await made(url)
    assert str(raised.value).startswith(f"{url}/completions: ")


async def test_a_usage_that_is_none_is_not_told():
    answer = '{"choices":[{"token_ids":[5],"text":"","finish_reason":"stop"}],"usage":5}'
    async with served(FakeServer(TOKENIZER, cached=True, faults=[says(answer)])) as url:
        actor = await made(url)
        said = "\n".join(each.line for each in await actor.collect() if isinstance(each, Notice))
        assert "a measure of the reuse of prefixes" in said
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


async def test_an_abort_closes_the_connection_and_gives_no_result():
    server = FakeServer(TOKENIZER)
    async with served(server) as url:
        actor = await made(url)
        server.faults = [hang()]
        await actor.submit([request("a")])
        while not server.at_once:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await actor.abort(["a", "unknown"])
        (again,) = await answers(actor, [request("a", seed=2)])
        assert again.tokens == ids(digits("12=", 2)[:7]), "the id may come again"
        assert server.aborted == 1
        await actor.shutdown()


async def test_no_more_requests_are_at_the_server_than_was_said():
    server = FakeServer(TOKENIZER, delay=0.02)
    async with served(server) as url:
        actor = await made(url, concurrency=3)
        info = await actor.info()
        assert (info.max_num_seqs, info.kv_cache_tokens, info.max_model_len) == (3, 0, 0)
        found = await answers(actor, [request(str(n), seed=n) for n in range(12)])
        assert [each.tokens for each in found] == [ids(digits("12=", n)[:7]) for n in range(12)]
        assert server.most == 3
        await actor.shutdown()


@pytest.mark.parametrize(
    ("server", "options", "words"),
    [
        ({"name": "other"}, {}, "serves no 'it'; generator.endpoint.model can be: other"),
        ({"key": "secret"}, {}, "refuses the key, or the lack of one (401 bad key); generator.endpoint.key"),
        ({"key": "secret"}, {"key": Secret("wrong")}, "refuses the key"),
        ({"kind": "chat"}, {}, "/completions: 404 no such path; this server only chats: generator.chat=true"),
    ],
)
async def test_what_cannot_be_is_one_line_at_the_start(server: Any, options: Any, words: str):
    began = time.monotonic()
    async with served(FakeServer(TOKENIZER, **server)) as url:
        with pytest.raises(ValueError, match="http") as raised:
            await made(url, **options)
    assert words in str(raised.value)
    assert url in str(raised.value)
    assert "wrong" not in str(raised.value), "the key is not shown"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "is it the base URL"), ("/models", "is it the base URL"), (":", "does not answer")],
)
async def test_a_wrong_url_is_one_line_at_the_start(path: str, words: str):
    async with served(FakeServer(TOKENIZER)) as url:
        wrong = url.replace("/v1", path) if path != ":" else "http://127.0.0.1:9/v1"
        with pytest.raises((ValueError, ServerLost), match=words) as raised:
            await made(wrong)
    assert wrong in str(raised.value)


async def test_the_key_is_sent_and_not_shown():
    server = FakeServer(TOKENIZER, key="secret")
    await once(server, request(), key=Secret("secret"))
    assert {header["Authorization"] for header in server.headers} == {"Bearer secret"}
    assert "secret" not in repr(PoolSpec("g", EndpointActor, MODEL, options={"key": Secret("secret")}))


@pytest.mark.parametrize(
    ("kind", "cached", "words", "not_words"),
    [
        ("vllm", False, ["token ids in and out", "what else the server computes", "reuse"], ["seeds"]),
        ("vllm", True, ["token ids in and out"], ["reuse", "seeds"]),
        ("text", False, ["tokenized with generator.model's tokenizer", "ignore seeds", "reuse"], []),
    ],
)
async def test_what_is_not_given_is_said_at_the_start(
    kind: str, cached: bool, words: list[str], not_words: list[str]
):
    async with served(FakeServer(TOKENIZER, kind, cached=cached)) as url:
        actor = await made(url)
        said = "\n".join(each.line for each in await actor.collect() if isinstance(each, Notice))
        assert "warning" not in said
        assert all(word in said for word in words)
        assert not any(word in said for word in not_words)
        await actor.shutdown()


async def test_another_models_tokens_are_noticed():
    class Other:
        """The same server with its vocabulary in another order."""

        eos_token_id = EOS

        def __call__(self, text: str, **options: Any) -> Any:
            return TOKENIZER(text, **options)

        def decode(self, tokens: Sequence[int], **options: Any) -> str:
            return "".join(chr(ord("a") + token) for token in tokens)

    async with served(FakeServer(Other())) as url:
        actor = await made(url)
        said = "\n".join(each.line for each in await actor.collect() if isinstance(each, Notice))
        assert "is that the model that is served?" in said
        await actor.shutdown()


async def test_a_sample_ends_where_the_servers_context_is_full():
    server = FakeServer(TOKENIZER, max_model_len=8)
    long, none = await once(server, request("a", until="end"), request("b", prompt="12345678"))
    assert (long.finish, len(long.tokens)) == ("length", 5)
    assert isinstance(none, Failure)
    assert "leaves no room in 8" in none.error


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


async def test_a_server_that_only_chats_writes_whole_solutions(tmp_path: Path):
    from actors.dialects import ChatFrame
    from tests.support.public_models import save_tokenizer

    tokenizer = save_tokenizer(tmp_path)
    frame = ChatFrame(
        ({"role": "system", "content": "Be brief."},),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    )
    prompt = tuple(tokenizer(f"{frame.before}What is 1 + 1?{frame.after}")["input_ids"])
    server = FakeServer(tokenizer, "chat", write=lambda prompt, seed: f"It is {seed}.")
    async with served(server) as url:
        values = {"served": "it", "step_delimiter": "\n\n", "frame": frame}
        actor = await asyncio.to_thread(EndpointActor, "generator-0", str(tmp_path), url=url, **values)
        path = (*prompt, *tokenizer("It is")["input_ids"])
        whole, step, continued = await answers(
            actor,
            [
                SampleRequest("whole", prompt, 7, 40, "end"),
                SampleRequest("step", prompt, 7, 40),
                SampleRequest("continued", path, 7, 40, "end"),
            ],
        )
        assert tokenizer.decode(whole.tokens) == "It is 7.<|im_end|>"
        assert whole.finish == "end"
        assert server.bodies[-1]["messages"] == [*frame.turns, {"role": "user", "content": "What is 1 + 1?"}]
        assert "cannot stop at the end of a step: it writes whole solutions" in step.error
        assert "can continue no path: it writes whole solutions" in continued.error
        await actor.shutdown()
