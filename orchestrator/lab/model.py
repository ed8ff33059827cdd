"""The lab's generators: Qwen2 shapes small enough for one core, saved as stock Hugging Face directories."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, VOCABULARY, save_tokenizer

# name: (hidden size, layers, width of the MLP). Heads of 32 dimensions: vLLM's CPU attention takes no less.
SIZES = {"s": (64, 4, 192), "m": (128, 4, 384), "l": (128, 14, 384)}
"""Generator sizes: 0.22, 0.86 and 3.0 million parameters."""

LARGEST = 10_000_000
"""Bytes of weights that a checkpoint in the repository may have."""

_HEAD_DIM = 32


def generator_config(size: str) -> Qwen2Config:
    """The configuration of a generator; ``BadInput`` for an unknown size."""
    if size not in SIZES:
        raise BadInput("lab.size", size, one_of(SIZES))
    hidden, layers, width = SIZES[size]
    return Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=hidden // _HEAD_DIM,
        num_key_value_heads=hidden // _HEAD_DIM,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        dtype="float32",
    )


def new_generator(size: str, seed: int) -> Qwen2ForCausalLM:
    """A generator with random weights, a function of (size, seed)."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(generator_config(size))


def parameter_count(model: nn.Module) -> int:
    """All parameters, embeddings included."""
    return sum(p.numel() for p in model.parameters())


def deepened(generator: Qwen2ForCausalLM, extra_layers: int, seed: int) -> Qwen2ForCausalLM:
    """The generator with ``extra_layers`` new layers on top that change nothing yet: what they would add to
    the residual stream is zero until they are trained."""
    torch.manual_seed(seed)
    values = generator.config.to_dict()
    base = int(values["num_hidden_layers"])
    values["num_hidden_layers"] = base + extra_layers
    values.pop("layer_types", None)
    model = Qwen2ForCausalLM(Qwen2Config.from_dict(values))
    model.load_state_dict(generator.state_dict(), strict=False)
    for layer in model.model.layers[base:]:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


def save_generator(model: Qwen2ForCausalLM, directory: Path) -> None:
    """Write a stock Hugging Face directory with tokenizer and generation configuration.

    The weights are float32, or float16 where that would be more than ``LARGEST`` bytes: they are served in
    float32 either way.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        eos_token_id=EOS_ID, pad_token_id=PAD_ID, do_sample=True, temperature=1.0
    )
    stored = torch.float32 if 4 * parameter_count(model) <= LARGEST else torch.float16
    copy = deepcopy(model)
    nn.Module.to(copy, stored)
    copy.save_pretrained(directory)
    save_tokenizer(directory)


def load_generator(directory: Path) -> Qwen2ForCausalLM:
    """Read what ``save_generator`` wrote; ``BadInput`` if there is no model there."""
    _require(directory)
    return Qwen2ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def _require(directory: Path) -> None:
    if not (directory / "config.json").is_file() or not (directory / "model.safetensors").is_file():
        raise BadInput(
            "lab.model", str(directory), "needed: a directory with config.json and model.safetensors"
        )
