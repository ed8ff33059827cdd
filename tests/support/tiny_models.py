"""Tiny random models in the formats that vLLM serves: d=64, 4 layers, one token a symbol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

SYMBOLS = ["<eos>", *"0123456789", "+", "=", ";", "\n"]
EOS, SEMICOLON, NEWLINE = 0, SYMBOLS.index(";"), SYMBOLS.index("\n")
MAX_LEN = 256


def save_llama(path: Path) -> Path:
    """A random Llama language model: what a verifier is trained from."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(SYMBOLS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_LEN,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=EOS,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).float().save_pretrained(path)
    _save_tokenizer(path)
    return path


def save_family(path: Path, kind: str, **settings: Any) -> Path:
    """A random language model of another family of Transformers: one whose cost has no closed form."""
    torch.manual_seed(4)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_LEN,
        "initializer_range": 0.3,
    }
    tokens = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": EOS}
    config = AutoConfig.for_model(kind, vocab_size=len(SYMBOLS), **tokens, **shape | settings)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    _save_tokenizer(path)
    return path


def _config() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(SYMBOLS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LEN,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=EOS,
        initializer_range=0.3,  # at the usual 0.02 a random model's outputs are nearly flat
    )


def _save_tokenizer(path: Path) -> None:
    core = Tokenizer(WordLevel({symbol: i for i, symbol in enumerate(SYMBOLS)}, unk_token="<eos>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<eos>").save_pretrained(path)


def save_generator(path: Path) -> Path:
    """A random Qwen2 language model."""
    torch.manual_seed(1)
    Qwen2ForCausalLM(_config()).float().save_pretrained(path)
    _save_tokenizer(path)
    return path


class RewardModel(torch.nn.Module):
    """Qwen2ForProcessRewardModel as its publishers wrote it: two linear layers on the last state."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2Model(config)
        self.score = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))

    @torch.no_grad()
    def forward(self, tokens: list[int]) -> list[float]:
        """P(label 1) at each token."""
        states = self.model(torch.tensor([tokens])).last_hidden_state[0]
        return torch.softmax(self.score(states), -1)[:, 1].tolist()


def make_reward_model() -> RewardModel:
    """The same random model at each call."""
    torch.manual_seed(2)
    return RewardModel(_config()).float().eval()


def save_reward_model(path: Path, model: RewardModel) -> Path:
    config = _config()
    config.architectures = ["Qwen2ForProcessRewardModel"]
    config.save_pretrained(path)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    _save_tokenizer(path)
    return path
