"""Finds how the run's verifier is shown a path: its format, costs and the longest text that it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from actors.reading import Reading
from orchestrator.budget.flops import CostModel
from orchestrator.config.lengths import context
from orchestrator.config.model_config import config_of, costs_of
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput
from orchestrator.formats.definition import Format, FormatFacts
from orchestrator.formats.function import FunctionFormat, is_function
from orchestrator.formats.registry import FUNCTION, OF_LANGUAGE_MODELS, STEPS, build, guessed, labels
from orchestrator.problems.codec import Codec, load_tokenizer


@dataclass(frozen=True)
class PreparedVerifier:
    """A verifier that has been looked at and not started."""

    costs: CostModel
    format: Format | None
    """None where it reads the generator's token ids."""
    limit: int | None
    """The longest input in tokens; None where neither the engine's options nor the model tell."""
    tokenizer: Any
    """Its own Hugging Face tokenizer; None of a function."""

    @property
    def function(self) -> FunctionFormat | None:
        """The user's function, where that is the verifier and no engine is."""
        return self.format if isinstance(self.format, FunctionFormat) else None

    @property
    def reading(self) -> Reading:
        """How the engine's outputs become scores."""
        return Reading() if self.format is None else self.format.reading


def prepare_verifier(config: Config, codec: Codec) -> tuple[Config, PreparedVerifier | None]:
    """Returns the verifier, and the configuration with its format and kind named.

    Raises BadInput where the model's configuration leaves the format open, or does not fit it.
    """
    section = config.verifier
    if section.model is None:
        return replace(config, verifier=replace(section, kind=section.kind or "prm")), None
    if is_function(section.model):
        function = FunctionFormat(section.model, section.kind != "prm")
        function.check()
        kind = "orm" if function.whole else "prm"
        named = replace(config, verifier=replace(section, format=FUNCTION, kind=kind))
        return named, PreparedVerifier(CostModel.free(), function, None, None)
    about = config_of("verifier", section)
    name = section.format or guessed(section.model, about)
    if name == FUNCTION:
        raise BadInput("verifier.model", section.model, "needed with this format: path/to/file.py:function")
    tokenizer = load_tokenizer(
        section.model,
        key="verifier.model",
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )
    limit = section.engine.get("max_model_len") or context(about)
    if name == STEPS:
        costs = costs_of("verifier", section)
        _check_ids(config, codec, tokenizer, costs, labels(about))
        format, kind = None, section.kind or "prm"
    else:
        if name in OF_LANGUAGE_MODELS:  # said before its vocabulary is looked at
            costs_of("verifier", section, choices=1)
        facts = FormatFacts(
            section.model,
            tokenizer,
            about,
            None if section.kind is None else section.kind == "orm",
            section.system,
            codec.space if section.separator is None else section.separator,
            section.template,
            section.choices,
        )
        format = build(name, facts)
        tokens = format.reading.tokens
        costs = costs_of("verifier", section, choices=len(tokens))
        if not tokens:
            _check_head(section.model, name, costs, format.reading, labels(about))
        kind = "orm" if format.whole else "prm"
    if name != "judge" and ".py:" not in name:
        for key, value in (("template", section.template), ("choices", section.choices)):
            if value:
                needed = f"allowed: with verifier.format=judge; this is {name}"
                raise BadInput(f"verifier.{key}", value, needed)
    named = replace(config, verifier=replace(section, format=name, kind=kind))
    return named, PreparedVerifier(costs, format, limit, tokenizer)


def _check_ids(config: Config, codec: Codec, tokenizer: object, costs: CostModel, outputs: int) -> None:
    """Raises BadInput unless the verifier can read the generator's token ids."""
    model = config.verifier.model
    if not costs.reward:
        raise BadInput(
            "verifier.model", model, f"format {STEPS} needs a reward model; this one has no such head"
        )
    if tokenizer.get_vocab() != codec.tokenizer.get_vocab():  # type: ignore[attr-defined]
        raise BadInput(
            "verifier.model",
            model,
            f"format {STEPS} reads the generator's token ids, so its tokenizer must have the same vocabulary "
            f"as generator.model's ({config.generator.model}); verifier.format=token reads its text",
        )
    if outputs not in Reading().outputs:
        raise BadInput("verifier.model", model, f"it has {outputs} labels; format {STEPS} reads 1 or 2")


def _check_head(model: str, name: str, costs: CostModel, reading: Reading, outputs: int) -> None:
    """Raises BadInput unless the model has the reward head that the format reads."""
    if not costs.reward:
        raise BadInput("verifier.model", model, f"format {name} reads a reward head, which it has not")
    if outputs not in reading.outputs:
        counts = " or ".join(map(str, reading.outputs))
        raise BadInput("verifier.model", model, f"it has {outputs} labels; format {name} reads {counts}")
