"""Tiny random models of the public verifiers' architectures, and their scores as their model cards compute
them: plain Transformers on the whole text at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
TAG = "ки"
TEXT = [
    "Step 1: Natalia sold 48 / 2 = 24 clips in May. Yes No + - ки",
    "system user assistant Problem Solution So the answer is \\boxed{72}. " + TAG,
    "Please reason step by step, and put your final answer within \\boxed{}.",
] * 4

QUESTION = "Natalia sold 48 clips in April, and half as many in May. How many in all?"
STEPS = ["She sold 48/2 = 24 in May.", "Then 48 + 24 = 72 — «in all».", "The answer is \\boxed{72}."]


def save_tokenizer(path: Path, *, template: str | None = CHATML, bos: bool = False) -> Any:
    """A byte-level BPE tokenizer with signs of its own and a chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        bos_token="<|endoftext|>" if bos else None,
        additional_special_tokens=["<extra_0>", "<|im_start|>"],
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(path)
    return AutoTokenizer.from_pretrained(path)


def settings(tokenizer: Any, kind: str = "qwen2", **more: Any) -> Any:
    return AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        **more,
    )


def save_token_classifier(path: Path) -> Any:
    """TRL's PRM: two labels a token."""
    torch.manual_seed(11)
    tokenizer = save_tokenizer(path, bos=True)
    model = AutoModelForTokenClassification.from_config(settings(tokenizer, num_labels=2))
    model.score.weight.data *= 20
    model.float().save_pretrained(path)
    return model.eval()


class ProcessRewardModel(torch.nn.Module):
    """Qwen2ForProcessRewardModel as its publishers wrote it."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2Model(config)
        width = config.hidden_size
        self.score = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
        )

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.score(self.model(input_ids).last_hidden_state)


def save_process_reward_model(path: Path) -> Any:
    torch.manual_seed(12)
    tokenizer = save_tokenizer(path)
    config = settings(tokenizer)
    model = ProcessRewardModel(config).float().eval()
    config.architectures = ["Qwen2ForProcessRewardModel"]
    config.save_pretrained(path)
    save_file(model.state_dict(), path / "model.safetensors", metadata={"format": "pt"})
    return model


def save_language_model(
    path: Path, kind: str = "llama", template: str | None = CHATML, seed: int = 13
) -> Any:
    torch.manual_seed(seed)
    tokenizer = save_tokenizer(path, template=template)
    model = AutoModelForCausalLM.from_config(settings(tokenizer, kind))
    model.float().save_pretrained(path)
    return model.eval()


def save_reward_model(path: Path, kind: str = "llama") -> Any:
    """A Bradley–Terry reward model: one label a sequence."""
    torch.manual_seed(14)
    tokenizer = save_tokenizer(path)
    model = AutoModelForSequenceClassification.from_config(settings(tokenizer, kind, num_labels=1))
    model.score.weight.data *= 40
    model.float().save_pretrained(path)
    return model.eval()


def save_value_head_model(path: Path) -> tuple[Any, torch.nn.Linear]:
    """Skywork's PRM: a language model, and a value head beside it."""
    torch.manual_seed(15)
    tokenizer = save_tokenizer(path, bos=True)
    model = AutoModelForCausalLM.from_config(settings(tokenizer)).float().eval()
    model.save_pretrained(path)
    head = torch.nn.Linear(64, 1)
    head.weight.data *= 10
    weights = load_file(path / "model.safetensors")
    weights |= {"v_head.summary.weight": head.weight.data, "v_head.summary.bias": head.bias.data}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    config = AutoConfig.from_pretrained(path)
    config.architectures = ["Qwen2ForPrmModel"]
    config.save_pretrained(path)
    return model, head


@torch.no_grad()
def of_trl(model: Any, tokenizer: Any, question: str, steps: Sequence[str], separator: str) -> list[float]:
    """As ``PRMTrainer.tokenize_row`` puts it together, read where it puts its labels."""
    tokens = [tokenizer.bos_token_id, *tokenizer(question, add_special_tokens=False)["input_ids"]]
    places = []
    for step in steps:
        tokens += tokenizer(step, add_special_tokens=False)["input_ids"]
        tokens += tokenizer.encode(separator, add_special_tokens=False)
        places.append(len(tokens) - 1)
    odds = model(torch.tensor([tokens])).logits[0].softmax(-1)
    return odds[places, 1].tolist()


@torch.no_grad()
def of_qwen_prm(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """As the model card of Qwen2.5-Math-PRM does it."""
    messages = [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": question},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    odds = model(ids).softmax(-1)[0]
    return odds[ids[0] == tokenizer.encode("<extra_0>")[0], 1].tolist()


@torch.no_grad()
def of_math_shepherd(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """As the model card of math-shepherd-mistral-7b-prm does it."""
    plus, minus = tokenizer.encode("+ -", add_special_tokens=False)
    tag = tokenizer.encode(f"Step 1: x {TAG}", add_special_tokens=False)[-1]
    output = "\n".join(f"Step {i}: {step} {TAG}" for i, step in enumerate(steps, start=1))
    ids = torch.tensor([tokenizer.encode(f"{question} {output}")])
    scores = model(ids).logits[:, :, [plus, minus]].softmax(-1)[:, :, 0]
    return scores[ids == tag].tolist()


@torch.no_grad()
def of_rlhflow(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """As RLHFlow's evaluation does it: a forward pass a step, read before the sign."""
    signs = [tokenizer.encode(sign, add_special_tokens=False)[-1] for sign in "+-"]
    conversation: list[dict[str, str]] = []
    scores = []
    for index, step in enumerate(steps):
        conversation.append({"role": "user", "content": step if index else f"{question} {step}"})
        conversation.append({"role": "assistant", "content": "+"})
        ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=False)
        place = max(i for i, token in enumerate(ids[0].tolist()) if token == signs[0]) - 1
        scores.append(model(ids).logits[0, place, signs].softmax(-1)[0].item())
    return scores


@torch.no_grad()
def of_skywork(model: Any, head: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """As Skywork's ``prepare_input`` and value head do it."""
    tokens = tokenizer.encode(f"{tokenizer.bos_token}{question}\n")
    newline = tokenizer.encode("\n")[-1]
    places = []
    for step in steps:
        tokens += [*tokenizer.encode(step), newline]
        places.append(len(tokens) - 1)
    states = model.model(torch.tensor([tokens])).last_hidden_state[0]
    return torch.sigmoid(head(states))[places, 0].tolist()


@torch.no_grad()
def of_reward_model(model: Any, tokenizer: Any, question: str, answer: str) -> float:
    """As the model card of Skywork-Reward does it: the raw reward of a chat."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    return model(**tokenizer(text, return_tensors="pt")).logits[0][0].item()


@torch.no_grad()
def of_judge(model: Any, tokenizer: Any, text: str, choices: dict[str, float]) -> float:
    """The expected value over the next token's odds."""
    turns = [{"role": "user", "content": text}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    entries = [tokenizer.encode(word, add_special_tokens=False)[0] for word in choices]
    odds = model(ids).logits[0, -1, entries].softmax(-1)
    return float((odds * torch.tensor(list(choices.values()))).sum())
