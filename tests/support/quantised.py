"""Tiny language models with quantised weights, in two of the formats that published models have, and the same
models in plain Transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

GROUP = 32
"""Weights of a row that share a scale, in GPTQ's format."""

Quantised = tuple[dict[str, Tensor], Tensor]
"""What is stored in place of a matrix, by the end of its name, and the matrix that this stands for."""


def int8(weight: Tensor) -> Quantised:
    """Returns a matrix as compressed-tensors stores it: 8 bits a weight, a scale a row."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    whole = (weight / scale).round().to(torch.int8)
    return {"weight": whole, "weight_scale": scale}, whole * scale


def gptq(weight: Tensor) -> Quantised:
    """Returns a matrix as GPTQ stores it: 4 bits a weight, a scale for ``GROUP`` weights of a row."""
    rows, columns = weight.shape
    grouped = weight.view(rows, columns // GROUP, GROUP)
    scale = (grouped.abs().amax(2) / 7).half()
    whole = (grouped / scale[:, :, None].float()).round().clamp(-8, 7)
    stored = {
        "qweight": _packed(whole.view(rows, columns).T.long() + 8, along=0),
        "qzeros": _packed(torch.full((columns // GROUP, rows), 7), along=1),  # it stores one less
        "scales": scale.T.contiguous(),
        "g_idx": (torch.arange(columns) // GROUP).int(),
    }
    return stored, (whole * scale[:, :, None].float()).view(rows, columns)


def _packed(values: Tensor, along: int) -> Tensor:
    """Eight numbers below 16, neighbours in a dimension, in each int32."""
    shifts = 4 * torch.arange(8)
    eights = values.movedim(along, -1).unflatten(-1, (-1, 8))
    return (eights << shifts).sum(-1).to(torch.int32).movedim(-1, along).contiguous()


FORMATS: dict[str, tuple[Callable[[Tensor], Quantised], dict[str, Any]]] = {
    "int8": (
        int8,
        {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "dynamic": False},
                    "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
                }
            },
        },
    ),
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}),
}


def quantise(base: Path, path: Path, name: str) -> Any:
    """Saves the language model of ``base`` in a format of ``FORMATS``; returns it with the matrices that the
    stored ones stand for, in plain Transformers."""
    stored_as, settings = FORMATS[name]
    path.mkdir()
    for file in base.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    weights = {}
    for key, value in load_file(base / "model.safetensors").items():
        if not key.endswith("_proj.weight"):
            weights[key] = value
            continue
        stored, meant = stored_as(value)
        weights |= {key.removesuffix("weight") + end: each for end, each in stored.items()}
        plain.get_parameter(key).data = meant
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return plain
