"""Requests and answers of servers, without one: cuts, limits, prompts as text, and what errors say."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dialects import (
    ChatDialect,
    ChatFrame,
    TextDialect,
    TokenDialect,
    Writer,
    computed_tokens,
    first_end,
    unbegun,
)
from actors.messages import SampleRequest
from actors.server import explained, proxy_of, retry_after
from actors.stops import Stops
from tests.support.public_models import save_tokenizer

FRAME = ChatFrame((), "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def writer(tokenizer: Any) -> Writer:
    stops = Stops.of(tokenizer, ("\n\n", "##"), "</think>", ("STOP",))
    return Writer("generator-0", "it", tokenizer, stops, {}, FRAME)


def answer(text: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": reason} | more]}


texts = st.text(st.sampled_from("ab1 é\n#"), min_size=1, max_size=30)


@given(text=texts, limit=st.integers(1, 20), reason=st.sampled_from(["stop", "length"]))
def test_text_is_cut_at_the_first_delimiter_and_never_longer_than_was_granted(
    writer: Writer, text: str, limit: int, reason: str
):
    dialect = TextDialect(writer, ids=True, knows_specials=True)
    result = dialect.result(SampleRequest("r", (5, 6), 0, limit), answer(text, reason))
    cut = min((at + 2 for at in (text.find("\n\n"), text.find("##")) if at >= 0), default=None)
    whole = writer.ids(text[:cut])
    end = (writer.tokenizer.eos_token_id,) if cut is None and reason == "stop" else ()
    assert result.tokens == (*whole, *end)[:limit]
    if len(whole) + len(end) > limit:
        assert result.finish == "length"
    else:
        assert result.finish == ("step" if cut is not None else {"stop": "end"}.get(reason, reason))
        assert writer.text(result.tokens).removesuffix("<|im_end|>") == text[:cut]


@given(tokens=st.lists(st.integers(5, 200), min_size=1, max_size=20), limit=st.integers(1, 20))
def test_token_ids_are_taken_as_they_are(writer: Writer, tokens: list[int], limit: int):
    mark = writer.stops.marks["step"].texts[0]
    for reason, finish in ((mark, "step"), (None, "end"), (7, "end"), ("STOP", "end")):
        given = answer("", token_ids=tokens, stop_reason=reason)
        result = TokenDialect(writer).result(SampleRequest("r", (5,), 0, limit), given)
        assert result.tokens == tuple(tokens[:limit])
        assert result.finish == (finish if len(tokens) <= limit else "length")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no completion"),
        ([], "no completion"),
        ({"choices": []}, "no completion"),
        (answer("a", "content_filter", token_ids=[5]), "ended it with 'content_filter'"),
        (answer("a"), "token_ids"),
        (answer("", token_ids=[]), "wrote nothing"),
    ],
)
def test_an_answer_that_is_none_says_so(writer: Writer, given: Any, words: str):
    with pytest.raises(ValueError, match=words):
        TokenDialect(writer).result(SampleRequest("r", (5,), 0, 4), given)


def test_a_marker_that_is_one_token_is_not_sampled_first(tokenizer: Any):
    stops = Stops.of(tokenizer, (), "<extra_0>")
    body = TokenDialect(Writer("g", "it", tokenizer, stops, {})).body(
        SampleRequest("r", (5,), 0, 4, "thought")
    )
    (token,) = tokenizer.convert_tokens_to_ids(["<extra_0>"])
    assert (body["stop_token_ids"], body["min_tokens"], body["stop"]) == ([token], 1, [])


def test_a_kind_of_sample_that_there_is_not_is_refused(tokenizer: Any):
    writer = Writer("g", "it", tokenizer, Stops.of(tokenizer, "\n"), {})
    for dialect in (TokenDialect(writer), TextDialect(writer, ids=True, knows_specials=False)):
        with pytest.raises(ValueError, match="no end_of_thinking was given"):
            dialect.body(SampleRequest("r", (5,), 0, 4, "thought"))


def test_thinking_that_comes_apart_from_the_answer_is_put_before_it(writer: Writer):
    message = {"content": "It is 2.", "reasoning_content": "1 and 1"}
    asked = SampleRequest("r", (5,), 0, 99, "end")
    given = {"choices": [{"message": message, "finish_reason": "stop"}]}
    result = ChatDialect(writer).result(asked, given)
    assert writer.text(result.tokens) == "1 and 1</think>It is 2.<|im_end|>"
    plain = Writer("g", "it", writer.tokenizer, Stops.of(writer.tokenizer, "\n"), {}, FRAME)
    with pytest.raises(ValueError, match=r"generator\.end_of_thinking is needed"):
        ChatDialect(plain).result(asked, given)


def test_a_chat_that_the_server_cannot_heed_is_refused(writer: Writer):
    frame = ChatFrame((), "", "", unheeded=("generator.reply",))
    with pytest.raises(ValueError, match=r"cannot heed generator\.reply"):
        ChatDialect(Writer("g", "it", writer.tokenizer, writer.stops, {}, frame))


@pytest.mark.parametrize("bos", [False, True])
def test_a_prompt_as_text_has_not_the_begin_of_sequence_that_the_server_adds(tmp_path: Path, bos: bool):
    tokenizer = save_tokenizer(tmp_path, bos=bos)
    if bos:  # as those of Llama do
        from tokenizers.processors import TemplateProcessing

        begin = tokenizer.bos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
        )
    prompt = tokenizer("1 + 1 =")["input_ids"]
    assert (prompt[0] == tokenizer.bos_token_id) == bos
    assert unbegun(tokenizer, prompt) == "1 + 1 ="
    assert tokenizer(unbegun(tokenizer, prompt))["input_ids"] == prompt


@given(text=texts, marks=st.lists(st.sampled_from(["\n\n", "##", "a", "é1"]), max_size=3))
def test_the_first_mark_is_the_one_that_is_complete_first(text: str, marks: list[str]):
    found = [end for end in range(1, len(text) + 1) if any(text[:end].endswith(mark) for mark in marks)]
    assert first_end(text, marks) == (found[0] if found else None)


@given(
    prompt=st.integers(1, 9),
    new=st.integers(1, 9),
    usage=st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": st.none() | st.integers(0, 9),
            "completion_tokens": st.none() | st.integers(0, 9),
            "prompt_tokens_details": st.none() | st.fixed_dictionaries({"cached_tokens": st.integers(0, 20)}),
        },
    ),
)
def test_computed_tokens_are_a_number_whatever_a_server_says(prompt: int, new: int, usage: Any):
    assert computed_tokens(SampleRequest("r", (5,) * prompt, 0, 9), new, usage) >= 0


@pytest.mark.parametrize("count", [1.5, -1, True, "4", [4], 10**30, float("nan")])
def test_a_count_that_is_none_is_not_told(count: Any):
    asked = SampleRequest("r", (5,) * 10, 0, 9)
    details = {"cached_tokens": count}
    usage = {"prompt_tokens": count, "completion_tokens": count, "prompt_tokens_details": details}
    assert computed_tokens(asked, 4, usage) == 13
    assert (
        computed_tokens(asked, 4, count) == computed_tokens(asked, 4, {"prompt_tokens_details": count}) == 13
    )


def test_computed_tokens_of_a_full_and_of_an_empty_usage():
    asked = SampleRequest("r", (5,) * 10, 0, 9)
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    assert computed_tokens(asked, 4, usage) == 5
    assert computed_tokens(asked, 4, None) == 13


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None), ("inf", None)],
)
def test_retry_after(header: str | None, seconds: float | None):
    assert retry_after(header) == seconds


def test_retry_after_may_be_a_date():
    wait = retry_after(formatdate(time.time() + 30, usegmt=True))
    assert wait == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "too\\nlong", "code": 400}}', "too long"),
        (b'{"object": "error", "message": "no"}', "no"),
        (b'{"detail": "not authenticated"}', "not authenticated"),
        (b'{"error": "model not found"}', "model not found"),
        (b"<html>\n<h1>502</h1>", "<html> <h1>502</h1>"),
        (b"\xff" * 999, "\ufffd" * 300),
        (b"", ""),
    ],
)
def test_an_error_is_said_in_one_line(body: bytes, said: str):
    assert explained(body) == said


def test_a_proxy_is_the_environments(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")
    assert proxy_of("https://outside/v1") == "http://proxy:3128"
    assert proxy_of("https://inside:8000/v1") is None
