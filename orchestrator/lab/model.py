"""The lab's models: Qwen2 shapes small enough for one core, saved as stock Hugging Face directories.

The generator is a ``Qwen2ForCausalLM``. The verifier has the architecture ``Qwen2ForProcessRewardModel``
as vLLM implements it: a Qwen2 body and a head ``score`` = Linear, ReLU, Linear to two labels, label 1 good;
the score of a step is ``softmax(logits)[1]`` at the step's last token.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Model

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, VOCABULARY, save_tokenizer

# name: (hidden size, layers, width of the MLP). Heads of 32 dimensions: vLLM's CPU attention takes no less.
SIZES = {"s": (64, 4, 192), "m": (128, 4, 384), "l": (192, 6, 512)}
"""Generator sizes: 0.22, 0.86 and 2.7 million parameters."""

LARGEST = 10_000_000
"""Bytes of weights that a checkpoint in the repository may have."""

_HEAD_DIM = 32
REWARD_ARCHITECTURE = "Qwen2ForProcessRewardModel"


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


class RewardModel(nn.Module):
    """A Qwen2 body with a two-label head. State-dict names are those vLLM loads:
    ``model.*``, ``score.0.*``, ``score.2.*``."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.model = Qwen2Model(config)
        hidden = config.hidden_size
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, length, 2] of tokens [batch, length]."""
        return self.score(self.model(input_ids=tokens, use_cache=False).last_hidden_state)

    @torch.inference_mode()
    def good(self, tokens: Tensor) -> Tensor:
        """Score of every position, in [0, 1]: [batch, length]."""
        return self.forward(tokens).float().softmax(-1)[..., 1]


def residual_rms(generator: Qwen2ForCausalLM, tokens: Tensor) -> float:
    """Root mean square of what the generator's last layer hands on, before the last norm."""
    kept: list[Tensor] = []
    hook = generator.model.norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    with torch.inference_mode():
        generator.model(input_ids=tokens, use_cache=False)
    hook.remove()
    return float(kept[0].pow(2).mean().sqrt())


def new_reward_model(
    generator: Qwen2ForCausalLM, extra_layers: int, seed: int, scale: float = 1.0
) -> RewardModel:
    """The generator's embedding and layers, frozen, with ``extra_layers`` new layers and a head on top.

    Fine-tuning the generator's own layers destroys the features the verifier needs (it then learns only
    how hard a puzzle is); new layers over frozen ones learn at once which prefix is wrong.

    Muon leaves a residual stream far larger than what a new layer adds, which so would hardly count. Every
    layer reads the stream through an RMS norm, so it is divided by ``scale`` (a power of two, about
    ``residual_rms``) without changing what the frozen layers compute: whatever writes to it is divided, and
    the norms' epsilon with it, squared.
    """
    torch.manual_seed(seed)
    values = generator.config.to_dict()
    base = int(values["num_hidden_layers"])
    values["num_hidden_layers"] = base + extra_layers
    values.pop("layer_types", None)
    values["rms_norm_eps"] /= scale**2
    values["initializer_range"] = values["hidden_size"] ** -0.5
    config = Qwen2Config.from_dict({**values, "architectures": [REWARD_ARCHITECTURE], "num_labels": 2})
    model = RewardModel(config)
    writers = ("embed_tokens.weight", "o_proj.weight", "down_proj.weight")
    weights = generator.model.state_dict()
    kept = {
        k: v / scale if k.endswith(writers) else v for k, v in weights.items() if not k.startswith("norm.")
    }
    model.model.load_state_dict(kept, strict=False)
    model.model.embed_tokens.requires_grad_(False)
    for layer in model.model.layers[:base]:
        layer.requires_grad_(False)
    return model


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


def save_reward_model(model: RewardModel, directory: Path) -> None:
    """Write a stock directory that vLLM serves as ``Qwen2ForProcessRewardModel``, float32."""
    directory.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(directory)
    weights = {name: tensor.detach().float().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(directory)


def load_reward_model(directory: Path) -> RewardModel:
    """Read what ``save_reward_model`` wrote; ``BadInput`` if it is not there or is another architecture."""
    _require(directory)
    values = json.loads((directory / "config.json").read_text())
    if values.get("architectures") != [REWARD_ARCHITECTURE]:
        raise BadInput("verifier.model", values.get("architectures"), f"needed: {REWARD_ARCHITECTURE}")
    model = RewardModel(Qwen2Config.from_dict(values))
    model.load_state_dict(load_file(directory / "model.safetensors"))
    return model.eval()


def _require(directory: Path) -> None:
    if not (directory / "config.json").is_file() or not (directory / "model.safetensors").is_file():
        raise BadInput(
            "lab.model", str(directory), "needed: a directory with config.json and model.safetensors"
        )
