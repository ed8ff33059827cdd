"""What the generator's configuration leaves to the model: sampling values, and how a question is put."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.budget.flops import optional_file
from orchestrator.config.checks import check_sampling
from orchestrator.config.schema import Config, GeneratorConfig
from orchestrator.errors import BadInput
from orchestrator.problems.codec import Codec
from orchestrator.problems.conversation import Conversation
from orchestrator.search.confidence import Confidence
from orchestrator.search.context import Sampling

OFF: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sampling values by key, with the value that changes nothing."""
OTHERS = ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Those that no strategy changes: a replica is started with them."""


def with_sampling(config: Config) -> tuple[Config, dict[str, float]]:
    """Returns the configuration with every sampling value named, and those that are the model's own.

    Raises BadInput where the model's generation_config.json cannot be read, or has a value that no engine
    takes.
    """
    section = config.generator
    own = generation_config(section)
    missing = [key for key in OFF if getattr(section, key) is None]
    taken = {key: own[key] for key in missing if own.get(key) is not None and own[key] != OFF[key]}
    if own.get("do_sample") is False and "temperature" in missing:
        taken["temperature"] = 0.0
    if taken.get("top_k") == -1:  # off, as vLLM had it before
        del taken["top_k"]
    for key, value in taken.items():
        check_sampling(key, value, f"it is of generation_config.json of {section.model}; ")
    values = {key: taken.get(key, OFF[key]) for key in missing}
    return replace(config, generator=replace(section, **values)), taken


def others(section: GeneratorConfig) -> dict[str, float]:
    """Returns the sampling values that a replica is started with: those that are on."""
    return {key: value for key in OTHERS if (value := getattr(section, key)) not in (None, OFF[key])}


def sampling_of(section: GeneratorConfig) -> Sampling:
    """Returns what requests are made with, of a section whose sampling values are named."""
    assert section.temperature is not None
    assert section.top_p is not None
    return Sampling(section.temperature, section.top_p, section.max_step_tokens, section.max_tokens)


def confidence_of(section: GeneratorConfig) -> Confidence | None:
    """Returns how the generator's own confidence is read; None where it is not asked for."""
    if section.confidence is None:
        return None
    return Confidence(None if section.confidence == "mean" else section.confidence)


def delimiters(section: GeneratorConfig) -> tuple[str, ...]:
    """Returns the texts that end a step."""
    given = section.step_delimiter
    return (
        ()
        if given is None or isinstance(given, Mapping)
        else (given,)
        if isinstance(given, str)
        else tuple(given)
    )


def step_pattern(section: GeneratorConfig) -> str | None:
    """Returns the regular expression that ends a step; None where texts do."""
    given = section.step_delimiter
    return str(given["regex"]) if isinstance(given, Mapping) else None


def codec_of(section: GeneratorConfig) -> Codec:
    """Loads the generator's tokenizer. Raises BadInput."""
    return Codec.from_pretrained(
        section.model,
        delimiters(section),
        section.end_of_thinking,
        step_pattern=step_pattern(section),
        stop=section.stop,
        conversation=Conversation(
            section.chat,
            section.system,
            tuple((turn["user"], turn["assistant"]) for turn in section.examples),
            _template(section.chat_template),
            section.chat_options,
            section.reply,
        ),
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )


def _template(given: str | None) -> str | None:
    if given is None or "{" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        needed = f"needed: a Jinja template, or a file that holds one ({error})"
        raise BadInput("generator.chat_template", given, needed) from error


def generation_config(section: GeneratorConfig) -> dict[str, Any]:
    file = optional_file(section.model, "generation_config.json", section.revision)
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        needed = f"its generation_config.json cannot be read ({error})"
        raise BadInput("generator.model", section.model, needed) from error
    return found if isinstance(found, dict) else {}
