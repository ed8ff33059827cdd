"""A server in place of the generator's engines: how it is named, what it heeds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from actors.server import Secret
from orchestrator.config.endpoint import chat_frame
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, fingerprint, prepare
from orchestrator.config.schema import EndpointConfig
from orchestrator.config.written import to_yaml
from orchestrator.errors import BadInput
from orchestrator.problems.codec import Codec
from orchestrator.problems.conversation import Conversation
from orchestrator.runs.session import pool_specs
from tests.support.paths import LAB_CONFIG
from tests.support.public_models import save_tokenizer

URL = "http://host:8000/v1"


def prepared(tmp_path: Path, *overrides: str) -> Prepared:
    return prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", *overrides]))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_an_endpoint_is_a_url_or_a_section_and_a_later_layer_goes_over_it(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"base: {LAB_CONFIG}\ngenerator: {{endpoint: {{url: {URL}, concurrency: 8}}}}\n")
    assert load(LAB_CONFIG, [f"generator.endpoint={URL}"]).generator.endpoint == EndpointConfig(URL)
    assert load(file).generator.endpoint == EndpointConfig(URL, concurrency=8)
    assert load(file, ["generator.endpoint.retries=1"]).generator.endpoint == EndpointConfig(
        URL, concurrency=8, retries=1
    )
    other = load(file, ["generator.endpoint=https://other/v1"]).generator.endpoint
    assert other == EndpointConfig("https://other/v1", concurrency=8)
    assert load(file, ["generator.endpoint=null"]).generator.endpoint is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator.endpoint=host:8000", r"generator\.endpoint\.url: 'host:8000'.*a base URL"),
        ("generator.endpoint=ftp://host/v1", "base URL, such as http://host:8000/v1"),
        ("generator.endpoint=http://host:x/v1", r"generator\.endpoint\.url"),
        ("generator.endpoint=8000", r"generator\.endpoint\.url: '8000'"),
        ("generator.endpoint.retries=2", r"generator\.endpoint\.url: null.*give it a value"),
        ("generator.endpoint.concurrency=0", r"generator\.endpoint\.concurrency: 0.*1 or more"),
        ("generator.endpoint.timeout_seconds=0", r"generator\.endpoint\.timeout_seconds: 0"),
        ("generator.endpoint.retries=-1", r"generator\.endpoint\.retries: -1.*0 or more"),
        ("generator.endpoint.key=NO_SUCH", r"generator\.endpoint\.key: 'NO_SUCH'.*is not set"),
        (
            "generator.endpoint.key=sk-123",
            r"generator\.endpoint\.key: '…'.*the name of an environment",
        ),
        ("generator.endpoint.ulr=x", r"generator\.endpoint\.ulr.*url"),
    ],
)
def test_a_bad_value_is_one_line(override: str, words: str):
    whole = override.startswith("generator.endpoint=") or "retries=2" in override
    base = [] if whole else [f"generator.endpoint={URL}"]
    with pytest.raises(BadInput, match=words) as raised:
        load(LAB_CONFIG, [*base, override])
    assert "\n" not in str(raised.value)
    assert "123" not in str(raised.value), "a key that was given by mistake is not shown"


def test_what_the_server_decides_is_named_and_left_out_of_the_record(tmp_path: Path):
    given = ("generator.dtype=bfloat16", "generator.replicas=2")
    run = prepared(tmp_path, f"generator.endpoint={URL}", *given)
    assert set(run.unheeded) == {
        "generator.dtype=bfloat16",
        "generator.engine.max_num_seqs=64",
        "generator.engine.max_model_len=128",
        "generator.replicas=2",
    }
    section = run.config.generator
    assert (section.engine, section.replicas, section.dtype) == ({}, 1, "auto")
    assert section.endpoint is not None
    assert section.endpoint.model == section.model, "the name at the server"
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(run.config))
    resumed = prepare(load(again))
    assert resumed.unheeded == ()
    assert fingerprint(resumed) == fingerprint(run)


def test_without_an_endpoint_nothing_changes(tmp_path: Path):
    run = prepared(tmp_path, "generator.replicas=2")
    assert (run.unheeded, run.config.generator.replicas) == ((), 2)


def test_the_key_comes_from_the_environment_and_is_in_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def key(*overrides: str) -> object:
        return pool_specs(prepared(tmp_path, f"generator.endpoint={URL}", *overrides)).generator.options[
            "key"
        ]

    assert key() is None
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("MINE", "own")
    assert key() == Secret("usual")
    assert key("generator.endpoint.key=MINE") == Secret("own")
    run = prepared(tmp_path, f"generator.endpoint={URL}", "generator.endpoint.key=MINE")
    assert yaml.safe_load(to_yaml(run.config))["generator"]["endpoint"]["key"] == "MINE"
    assert "own" not in repr(pool_specs(run).generator.options["key"])


def test_an_endpoint_holds_no_cpu_and_is_one_replica(tmp_path: Path):
    held = "generator.resources.custom={near: 1}"
    spec = pool_specs(prepared(tmp_path, f"generator.endpoint={URL}", held)).generator
    assert (spec.replicas, spec.num_cpus, spec.num_gpus, spec.custom) == (1, 0, 0, {"near": 1})
    assert spec.options["url"] == URL


@pytest.mark.parametrize("bos", [False, True])
def test_a_question_is_found_again_in_the_chat_that_asks_it(tmp_path: Path, bos: bool):
    tokenizer = save_tokenizer(tmp_path, bos=bos)
    put = Conversation(True, "Be brief.", (("1 + 1?", "2"),), options={"enable_thinking": False})
    codec = Codec(tokenizer, "\n\n", conversation=put)
    frame = chat_frame(codec)
    assert frame is not None
    question = "What is\n<b>6</b> \\times 7?"
    shown = tokenizer.decode(codec.encode(question), skip_special_tokens=False)
    assert frame.question(shown) == question
    assert [*frame.turns, {"role": "user", "content": question}] == put.turns(question)
    assert (frame.options, frame.unheeded) == ({"enable_thinking": False}, ())
    with pytest.raises(ValueError, match="continue no path"):
        frame.question(shown + "It is")


def test_what_a_server_that_only_chats_cannot_heed_is_known(tmp_path: Path):
    tokenizer = save_tokenizer(tmp_path)
    put = Conversation(True, template="{{ messages[0].content }}", reply="<think>")
    frame = chat_frame(Codec(tokenizer, "\n\n", conversation=put))
    assert frame is not None
    assert frame.unheeded == ("generator.chat_template", "generator.reply")
    assert chat_frame(Codec(tokenizer, "\n\n")) is None
