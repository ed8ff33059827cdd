"""What public models' config.json say, as far as costs, memory and formats are read of it; no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.public_models import save_tokenizer


def _config(
    family: str,
    head: str,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    inner: int,
    vocab: int,
    **more: Any,
) -> dict[str, Any]:
    return {
        "model_type": family.lower(),
        "architectures": [f"{family}{head}"],
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "torch_dtype": "bfloat16",
        **more,
    }


LLAMA3 = {
    "max_position_embeddings": 131072,
    "head_dim": 128,
    "tie_word_embeddings": False,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}
QWEN2 = {"max_position_embeddings": 32768, "tie_word_embeddings": False, "use_sliding_window": False}
CAUSAL = "ForCausalLM"
CONFIGS: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.2-1B-Instruct": _config(
        "Llama",
        CAUSAL,
        2048,
        16,
        32,
        8,
        8192,
        128256,
        **{**LLAMA3, "head_dim": 64, "tie_word_embeddings": True},
    ),
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": _config(
        "Llama", CAUSAL, 4096, 32, 32, 8, 14336, 128256, **LLAMA3
    ),
    "meta-llama/Llama-3.3-70B-Instruct": _config("Llama", CAUSAL, 8192, 80, 64, 8, 28672, 128256, **LLAMA3),
    "Qwen/Qwen2.5-1.5B-Instruct": _config(
        "Qwen2", CAUSAL, 1536, 28, 12, 2, 8960, 151936, **{**QWEN2, "tie_word_embeddings": True}
    ),
    "Qwen/Qwen2.5-7B-Instruct": _config("Qwen2", CAUSAL, 3584, 28, 28, 4, 18944, 152064, **QWEN2),
    "Qwen/Qwen2.5-Math-PRM-7B": _config(
        "Qwen2",
        "ForProcessRewardModel",
        *(3584, 28, 28, 4, 18944, 152064),
        **{**QWEN2, "max_position_embeddings": 4096},
    ),
    "Qwen/Qwen3-4B-Thinking-2507": _config(
        "Qwen3",
        CAUSAL,
        *(2560, 36, 32, 8, 9728, 151936),
        max_position_embeddings=262144,
        head_dim=128,
        tie_word_embeddings=True,
        attention_bias=False,
    ),
}
PARAMETERS = {
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": 8_030_261_248,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-4B-Thinking-2507": 4_022_468_096,
}
"""As their model cards count them."""


def save(model: str, under: Path) -> Path:
    """Writes what a run reads of a model before its start, with a small tokenizer; returns the directory."""
    directory = under / model.partition("/")[2]
    tokenizer = save_tokenizer(directory)
    tokenizer.add_tokens(["Yes", "No"])  # as every public model has them
    tokenizer.save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps(CONFIGS[model]))
    return directory
