"""A running server in place of the generator's engines: what of the configuration it heeds, and its key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from actors.dialects import ChatFrame
from actors.server import Secret
from orchestrator.config.schema import Config, GeneratorConfig, JudgeConfig, ResourcesConfig
from orchestrator.errors import BadInput, at_least
from orchestrator.problems.codec import Codec
from orchestrator.problems.conversation import Turn

if TYPE_CHECKING:
    from orchestrator.config.schema import EndpointConfig

USUAL_KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key where none is named."""
QUESTION = "Zqx7391xqZ"
"""Stands for a question; no chat template has it, and every tokenizer gives it back."""


def check_endpoint(section: str, endpoint: EndpointConfig) -> None:
    """Raises BadInput that names the key of a section, the value and what is allowed."""
    name, here = f"{section}.endpoint", endpoint
    try:
        parts = urlsplit(here.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port
        good = False
    if not good:
        raise BadInput(f"{name}.url", here.url, "allowed: a base URL, such as http://host:8000/v1")
    if here.key is not None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", here.key):  # it may be a key: it is not shown
            raise BadInput(f"{name}.key", "…", "allowed: the name of an environment variable, not the key")
        if not os.environ.get(here.key):
            raise BadInput(f"{name}.key", here.key, "this environment variable is not set; it holds the key")
    at_least(f"{name}.concurrency", here.concurrency, 1)
    at_least(f"{name}.timeout_seconds", here.timeout_seconds, 1)
    at_least(f"{name}.retries", here.retries, 0)


def with_endpoint(config: Config) -> tuple[Config, tuple[str, ...]]:
    """Returns the configuration as an endpoint heeds it, with the model's name there, and the keys that it
    cannot heed, each with its value. Without an endpoint both are as they were, and none."""
    section = config.generator
    if section.endpoint is None:
        return config, ()
    usual, held = GeneratorConfig(), section.resources
    given = {
        **({"dtype": section.dtype} if section.dtype not in (usual.dtype, "auto") else {}),
        **{f"engine.{key}": value for key, value in section.engine.items() if value is not None},
        **({"replicas": section.replicas} if section.replicas != 1 else {}),
        **({"min_replicas": section.min_replicas} if section.min_replicas not in (None, 1) else {}),
        **({"resources.num_cpus": held.num_cpus} if held.num_cpus not in (0, 1) else {}),
        **({"resources.num_gpus": held.num_gpus} if held.num_gpus else {}),
        **({"adapter": section.adapter} if section.adapter else {}),
    }
    heeded = replace(at_server(section), adapter=None)
    return replace(config, generator=heeded), tuple(f"generator.{key}={given[key]}" for key in given)


S = TypeVar("S", GeneratorConfig, JudgeConfig)


def at_server(section: S) -> S:
    """Returns a section as its endpoint heeds it, with the model's name there."""
    assert section.endpoint is not None
    return replace(
        section,
        dtype="auto",
        engine={},
        replicas=1,
        min_replicas=None,
        resources=ResourcesConfig(0.0, 0.0, section.resources.custom),
        endpoint=replace(section.endpoint, model=section.endpoint.model or section.model),
    )


def secret(endpoint: EndpointConfig) -> Secret | None:
    """Returns the key from the environment; None where there is none."""
    value = os.environ.get(endpoint.key or USUAL_KEY)
    return Secret(value) if value else None


def chat_frame(codec: Codec) -> ChatFrame | None:
    """Returns what stands around a question, for a server that only chats; None where prompts are none."""
    put = codec.conversation
    if not put.chat:
        return None
    unheeded = [
        f"generator.{key}" for key, given in (("chat_template", put.template), ("reply", put.reply)) if given
    ]
    return framed(codec.tokenizer, codec.encode(QUESTION), put.turns("")[:-1], put.options, unheeded)


def framed(
    tokenizer: Any,
    prompt: Sequence[int],
    turns: Sequence[Turn],
    options: Mapping[str, Any],
    unheeded: Sequence[str] = (),
) -> ChatFrame:
    """Returns what stands around ``QUESTION`` in the prompt that asks it after the messages ``turns``."""
    text = tokenizer.decode(list(prompt), skip_special_tokens=False)
    before, found, after = text.partition(QUESTION)
    lost = [] if found else ["this chat template"]  # it, or the tokenizer, changes questions
    return ChatFrame(tuple(turns), before, after, options, (*unheeded, *lost))
