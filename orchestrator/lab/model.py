"""The lab's generators: Qwen2 shapes small enough for one core, saved as stock Hugging Face directories."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, VOCABULARY, save_tokenizer

SIZES = {"s": (64, 4, 192), "m": (128, 4, 384), "l": (128, 14, 384)}
"""Generator sizes (hidden size, layers, width of the MLP): 0.22, 0.86 and 3.0 million parameters."""

LARGEST = 10_000_000
"""Bytes of weights at most in a checkpoint of the repository."""

_HEAD_DIM = 32  # vLLM's CPU attention takes no less


def generator_config(size: str, vocabulary: Sequence[str] = VOCABULARY) -> Qwen2Config:
    """Returns the configuration of a generator of ``vocabulary``. Raises ``BadInput`` for an unknown size."""
    if size not in SIZES:
        raise BadInput("lab.size", size, one_of(SIZES))
    hidden, layers, width = SIZES[size]
    return Qwen2Config(
        vocab_size=len(vocabulary),
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


def new_generator(size: str, seed: int, vocabulary: Sequence[str] = VOCABULARY) -> Qwen2ForCausalLM:
    """Returns a generator with random weights, which depend on the arguments alone."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(generator_config(size, vocabulary))


def parameter_count(model: nn.Module) -> int:
    """Returns the number of parameters, embeddings included."""
    return sum(p.numel() for p in model.parameters())


def deepened(generator: Qwen2ForCausalLM, extra_layers: int, seed: int) -> Qwen2ForCausalLM:
    """Returns the generator with ``extra_layers`` new layers on top, which change nothing until trained.

    Their output matrices are zero, so they add zero to the residual stream.
    """
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


def save_generator(model: Qwen2ForCausalLM, directory: Path, vocabulary: Sequence[str] = VOCABULARY) -> None:
    """Writes a stock Hugging Face directory with tokenizer and generation configuration.

    The weights are stored as float32, or as float16 where float32 takes more than ``LARGEST`` bytes. They are
    served in float32 either way.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        eos_token_id=EOS_ID, pad_token_id=PAD_ID, do_sample=True, temperature=1.0
    )
    stored = torch.float32 if 4 * parameter_count(model) <= LARGEST else torch.float16
    copy = deepcopy(model)
    nn.Module.to(copy, stored)
    copy.save_pretrained(directory)
    save_tokenizer(directory, vocabulary)


def load_generator(directory: Path) -> Qwen2ForCausalLM:
    """Reads a model that ``save_generator`` wrote. Raises ``BadInput`` if there is none."""
    _require(directory)
    return Qwen2ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def _require(directory: Path) -> None:
    if not (directory / "config.json").is_file() or not (directory / "model.safetensors").is_file():
        raise BadInput(
            "lab.model", str(directory), "needed: a directory with config.json and model.safetensors"
        )
