"""Secrets are told by their keys and by what an address holds; nothing else is changed."""

from __future__ import annotations

import pytest

from orchestrator import masking
from orchestrator.errors import BadInput, visible
from orchestrator.masking import MASK, is_masked, is_secret, masked, masked_value, without_user


@pytest.mark.parametrize(
    "key",
    [
        "generator.engine.hf_token",
        "strategy.api_key",
        "x.password",
        "client-secret",
        "a.key",
        "apikey",
        "token",
    ],
)
def test_a_secret_is_told_by_its_key(key):
    assert is_secret(key)
    assert masked_value(key, "hunter2secret") == masked_value(key, 12345) == MASK


@pytest.mark.parametrize(
    "key",
    [
        "generator.max_tokens",
        "budget.tokens",
        "verifier.token_ratio",
        "generator.end_of_thinking",
        "strategy.stop_token",
        "engine.eos_token",
        "generator.endpoint.key",  # the name of an environment variable
        "judge.endpoint.key",
        "keys.of",
    ],
)
def test_other_keys_are_no_secrets(key):
    assert not is_secret(key)
    assert masked_value(key, "value") == "value"


def test_of_an_address_the_user_is_masked_and_no_other_text_is_changed():
    assert without_user("postgresql://user:s3cretpw@host/x") == f"postgresql://{MASK}@host/x"
    assert without_user("https://token@host:1/a@b") == f"https://{MASK}@host:1/a@b"
    for text in ("https://host/a@b", "see http://a:b@c for more", "plain", "postgresql://u:${oc.env:PW}@h/x"):
        assert without_user(text) == text


def test_a_known_secret_is_masked_in_any_text(monkeypatch):
    monkeypatch.setattr(masking, "_known", set())
    masking.remember("generator.engine.hf_token", "hunter2secret")
    masking.remember("tracking.uri", "postgresql://user:s3cretpw@host/x")
    masking.remember("strategy.api_key", "short")
    masking.remember("name", "lab-test-0000")
    text = "EngineArgs(hf_token='hunter2secret') at s3cretpw, short, lab-test-0000"
    assert masked(text) == f"EngineArgs(hf_token='{MASK}') at {MASK}, short, lab-test-0000"


def test_a_masked_value_is_known_again():
    assert is_masked("a.token", MASK)
    assert is_masked("tracking.uri", f"http://{MASK}@h")
    assert not is_masked("strategy.name", MASK)


def test_an_error_shows_no_secret_and_no_control_character_reaches_a_terminal():
    assert str(BadInput("engine.hf_token", "hunter2", "x")) == "engine.hf_token: '***' is not usable; x"
    assert "s3cret" not in str(BadInput("tracking.uri", "http://u:s3cret@h", "x"))
    assert visible("a\x1b[31mb\nc\td\u202e") == "a\\x1b[31mb\\nc\td\\u202e"
