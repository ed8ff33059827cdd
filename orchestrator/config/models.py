"""What is known of a run's models from their files: size, numbers, context, tokenizer, missing weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

from orchestrator.config.fingerprint import WEIGHTS
from orchestrator.config.lengths import context
from orchestrator.config.memory import Need, token_bytes, weight_bytes
from orchestrator.config.model_config import Section, config_of, costs_of
from orchestrator.config.preparation import Prepared
from orchestrator.formats.function import is_function
from orchestrator.problems.codec import load_tokenizer


@dataclass(frozen=True)
class ModelFacts:
    """One model."""

    role: str
    """``generator``, ``verifier``, ``reviser`` or ``judge``."""
    model: str
    revision: str | None
    architecture: str
    parameters: int
    dtype: str
    weight_bytes: int | None
    """Bytes of the weights of one replica, over all its GPUs; None where their quantisation is not known."""
    token_bytes: int | None
    """Bytes of the keys and values of one token, over all its GPUs; None where that is not known."""
    context: int | None
    """Tokens that it reads at most; None where that is not known."""
    vocabulary: int
    """Entries of its tokenizer."""
    chat_template: bool
    """Whether its tokenizer has one."""
    begin: str | None
    """The token that begins a sequence."""
    adapter: str | None
    """Directory of the LoRA adapter that it runs with."""


def sections(prepared: Prepared) -> list[tuple[str, Section]]:
    """Returns the role and the configuration of each model of a run."""
    config = prepared.config
    found: list[tuple[str, Section]] = [("generator", config.generator), ("verifier", config.verifier)]
    if prepared.strategy.strategy.has_reviser:
        found.append(("reviser", config.reviser))
    found.append(("judge", config.judge))
    return [
        (role, section)
        for role, section in found
        if section.model is not None and not is_function(section.model)
    ]


def model_facts(role: str, section: Section) -> ModelFacts:
    """Returns what is known of one model. Raises BadInput."""
    assert section.model is not None
    key = f"{role}.model"
    about = config_of(role, section)
    tokenizer = load_tokenizer(
        section.model, key=key, revision=section.revision, trust_remote_code=section.trust_remote_code
    )
    parameters = costs_of(role, section).n_parameters
    stored = _stored(about)
    dtype = stored if section.dtype == "auto" else section.dtype
    return ModelFacts(
        role,
        section.model,
        section.revision,
        str((about.get("architectures") or ["unknown"])[0]),
        parameters,
        f"auto ({stored})" if section.dtype == "auto" else section.dtype,
        weight_bytes(parameters, about, dtype, section.engine.get("quantization")),
        token_bytes(about, str(section.engine.get("kv_cache_dtype", "auto")), dtype),
        section.engine.get("max_model_len") or context(about),
        len(tokenizer),
        bool(getattr(tokenizer, "chat_template", None)),
        getattr(tokenizer, "bos_token", None),
        getattr(section, "adapter", None),
    )


def needs_of(prepared: Prepared, models: Sequence[ModelFacts]) -> list[Need]:
    """Returns the memory of the replicas that a run starts, of the models that ``models`` are about."""
    found = []
    for (role, section), facts in zip(sections(prepared), models, strict=True):
        if getattr(section, "endpoint", None) is None:
            gpus = section.resources.num_gpus
            found.append(
                Need(role, section.replicas, gpus, facts.weight_bytes, facts.token_bytes, facts.context)
            )
    return found


def _stored(about: Mapping[str, Any]) -> str:
    """The type that an engine computes in where it is to take the model's own: it narrows float32."""
    text = about.get("text_config")
    held = {**about, **text} if isinstance(text, Mapping) else about
    kind = str(held.get("dtype") or held.get("torch_dtype") or "float32").removeprefix("torch.")
    return "bfloat16" if kind == "float32" else kind


def missing_weights(prepared: Prepared) -> list[str]:
    """Returns a line for each model whose directory lacks weights."""
    found = []
    for role, section in sections(prepared):
        directory = Path(expanduser(str(section.model)))
        here = getattr(section, "endpoint", None) is None  # else a server has them
        if here and directory.is_dir() and (lost := _lost(directory)):
            found.append(f"{role}.model: {section.model} has no weights: {lost}")
    return found


def _lost(directory: Path) -> str | None:
    """What of a model's weights is not in its directory; None where all is."""
    indices = list(directory.glob("*.index.json"))
    for index in indices:
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            return f"{index.name} cannot be read ({error})"
        absent = sorted(name for name in shards if not (directory / str(name)).is_file())
        if absent:
            return f"{len(absent)} of the {len(shards)} files in {index.name} are not there ({absent[0]})"
    if indices or any(file.suffix in WEIGHTS for file in directory.iterdir()):
        return None
    return "no file that ends in " + ", ".join(WEIGHTS)
