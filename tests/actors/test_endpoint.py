"""A running server as a replica: what it is asked, and what becomes of its answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.endpoint import EndpointActor
from actors.messages import Failure, SampleRequest
from tests.support.endpoint import EOS, TOKENIZER, answers, ids, made, once, request
from tests.support.openai_server import (
    FakeServer,
    digits,
    hang,
    served,
)

KINDS = ("vllm", "text", "strict", "strings")


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


async def test_a_sample_ends_where_the_servers_context_is_full():
    server = FakeServer(TOKENIZER, max_model_len=8)
    long, none = await once(server, request("a", until="end"), request("b", prompt="12345678"))
    assert (long.finish, len(long.tokens)) == ("length", 5)
    assert isinstance(none, Failure)
    assert "leaves no room in 8" in none.error


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
