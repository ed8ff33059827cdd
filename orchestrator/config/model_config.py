"""Reads a model's config.json as its engine reads it: at the section's revision, with its overrides."""

from __future__ import annotations

from typing import Any

from orchestrator.budget.flops import CostModel, read_config
from orchestrator.config.schema import GeneratorConfig, JudgeConfig, ReviserConfig, VerifierConfig

Section = GeneratorConfig | VerifierConfig | ReviserConfig | JudgeConfig


def config_of(role: str, section: Section) -> dict[str, Any]:
    """Returns the content of ``config.json``, changed by ``engine.hf_overrides``. Raises BadInput."""
    assert section.model is not None
    overrides = section.engine.get("hf_overrides")
    return read_config(section.model, f"{role}.model", section.revision, overrides)


def costs_of(role: str, section: Section, choices: int = 0) -> CostModel:
    """Returns the costs of a section's model (``CostModel.from_pretrained``). Raises BadInput."""
    assert section.model is not None
    return CostModel.from_pretrained(
        section.model,
        key=f"{role}.model",
        revision=section.revision,
        choices=choices,
        overrides=section.engine.get("hf_overrides"),
    )
