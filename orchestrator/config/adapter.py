"""Looks at a LoRA adapter before a start: that it is one, and what it costs."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from os.path import expanduser
from pathlib import Path

from orchestrator.budget.flops import CostModel
from orchestrator.errors import BadInput

WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"
MOST_RANK = 512
"""The largest rank that vLLM takes."""


def with_adapter(costs: CostModel, adapter: str | None, key: str) -> CostModel:
    """Returns the costs of a model with a LoRA adapter: each of its weights is one more multiply-add a
    position.

    Raises BadInput that names ``key`` where the directory holds no such adapter.
    """
    if adapter is None:
        return costs
    rank(adapter, key)
    from safetensors import safe_open

    file = Path(expanduser(adapter)) / WEIGHTS
    try:
        with safe_open(file, "pt") as weights:
            names = list(weights.keys())
            shapes = {name: weights.get_slice(name).get_shape() for name in names}
    except Exception as error:  # safetensors has an exception of its own, beside OSError
        raise BadInput(key, adapter, f"{file} cannot be read ({error})") from error
    low = sum(prod(shape) for name, shape in shapes.items() if "lora_A" in name or "lora_B" in name)
    if not low:
        raise BadInput(key, adapter, f"{WEIGHTS} holds no LoRA weights")
    return replace(
        costs,
        position_flops=costs.position_flops + 2 * low,
        n_parameters=costs.n_parameters + low,
        non_embedding_parameters=costs.non_embedding_parameters + low,
    )


def rank(adapter: str, key: str) -> int:
    """Returns the rank of an adapter. Raises BadInput that names ``key`` where there is none."""
    file = Path(expanduser(adapter)) / SETTINGS
    needed = f"needed: the directory of a LoRA adapter, with {SETTINGS} and {WEIGHTS}"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(key, adapter, needed) from None
    except (OSError, ValueError) as error:
        raise BadInput(key, adapter, f"{file} cannot be read ({error})") from error
    found = settings.get("r") if isinstance(settings, dict) else None
    if not isinstance(found, int) or str(settings.get("peft_type")).upper() != "LORA":
        raise BadInput(key, adapter, needed)
    largest = max([found, *(settings.get("rank_pattern") or {}).values()])
    if not 1 <= largest <= MOST_RANK:
        raise BadInput(key, adapter, f"its rank is {largest}; allowed: 1 to {MOST_RANK}")
    return largest
