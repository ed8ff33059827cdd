"""A running server as a replica: what is told when it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from actors.endpoint import EndpointActor
from actors.messages import Notice
from actors.server import Secret, ServerLost
from actors.spec import PoolSpec
from tests.support.endpoint import EOS, MODEL, NO_IDS, TOKENIZER, ids_as, made, once, request
from tests.support.openai_server import (
    FakeServer,
    says,
    served,
)


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


@pytest.mark.parametrize(
    ("server", "options", "words"),
    [
        ({"name": "other"}, {}, "serves no 'it'; generator.endpoint.model can be: other"),
        ({"key": "secret"}, {}, "refuses the key, or the lack of one (401 bad key); generator.endpoint.key"),
        ({"key": "secret"}, {"key": Secret("wrong")}, "refuses the key"),
        *(
            ({"kind": kind}, {"logprobs": True}, "gives no log-probabilities of the tokens that were sampled")
            for kind in ("text", "strict", "strings")
        ),
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


async def test_log_probabilities_come_with_the_tokens_where_they_are_asked_for():
    asked, plain = await once(FakeServer(TOKENIZER), request("a", logprobs=True), request("b"), logprobs=True)
    assert asked.tokens == plain.tokens
    assert asked.logprobs == tuple(-token / 100 for token in asked.tokens)
    assert plain.logprobs == ()


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ("null", "no log-probabilities of 1 tokens: None"),
        ('{"token_logprobs":[]}', "no log-probabilities of 1 tokens"),
        ('{"token_logprobs":[null]}', "'None' is no log-probability"),
        ('{"token_logprobs":[0.5]}', "0.5 is no log-probability"),
        ('{"token_logprobs":[NaN]}', "nan is no log-probability"),
    ],
)
async def test_log_probabilities_that_are_none_are_one_line_at_the_start(held: str, words: str):
    answer = f'{{"choices":[{{"token_ids":[5],"text":"","finish_reason":"stop","logprobs":{held}}}]}}'
    async with served(FakeServer(TOKENIZER, faults=[says(answer)])) as url:
        with pytest.raises(ValueError, match="http") as raised:
            await made(url, logprobs=True)
    assert words in str(raised.value)
