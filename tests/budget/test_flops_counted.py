"""Families without a closed form: what is counted without weights is what the real modules cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from orchestrator.budget.flops import CostModel
from orchestrator.budget.flops_counted import count_body
from orchestrator.errors import BadInput
from tests.budget.test_flops import CASES, raw

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 300,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "architectures": ["XForCausalLM"],
}
EXPERTS = {"moe_intermediate_size": 48, "num_experts": 6, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8, "sliding_window_pattern": 2},
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4},
    "gpt_neox": {},
    "granite": {},
    "olmo2": {"num_key_value_heads": 4},
    "opt": {"ffn_dim": 160, "word_embed_proj_dim": 64},
    "phi3": {},
    "stablelm": {"head_dim": 16},
    "starcoder2": {"head_dim": 16, "sliding_window": None},
    "mixtral": {"num_local_experts": 6, "num_experts_per_tok": 2},
    "qwen3_moe": EXPERTS,
}
CONTEXT, NEW = 5, 15  # passes the windows of 8


def config_of(kind: str, **changes: Any) -> dict[str, Any]:
    return {"model_type": kind, **SHAPE, **FAMILIES.get(kind, {}), **changes}


@pytest.mark.parametrize("kind", FAMILIES)
def test_decoding_and_parameters_are_those_of_the_real_module(kind: str) -> None:
    config = config_of(kind)
    cost = CostModel.from_config(config)
    model: Any = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**config), attn_implementation="eager", experts_implementation="eager"
    ).eval()
    cache = DynamicCache(config=model.config)
    ids = torch.arange(CONTEXT + NEW)[None] + 3
    with torch.no_grad():
        model(ids[:, :CONTEXT], past_key_values=cache, use_cache=True)
        with FlopCounterMode(display=False) as counter:
            for p in range(CONTEXT, CONTEXT + NEW):
                model(ids[:, p : p + 1], past_key_values=cache, use_cache=True)
    assert cost.sample(CONTEXT, NEW) == counter.get_total_flops()
    assert cost.n_parameters == model.num_parameters()
    assert not cost.reward


@pytest.mark.parametrize("name", CASES)
def test_counting_agrees_with_the_closed_form(name: str) -> None:
    counted, closed = CostModel._counted(raw(name)), CostModel.from_config(raw(name))
    for cost in (counted, closed):
        assert cost.head_flops == closed.head_flops
        assert cost.n_parameters == closed.n_parameters
        assert cost.non_embedding_parameters == closed.non_embedding_parameters
    if name == "mistral-window":  # its config lists no layers: all pay for the whole context
        assert counted.body(0, 8) == closed.body(0, 8)
        assert counted.body(0, 20) > closed.body(0, 20)
    else:
        assert [counted.body(3, n) for n in (3, 8, 9, 40)] == [closed.body(3, n) for n in (3, 8, 9, 40)]


def test_of_a_mixture_only_the_chosen_experts_are_charged() -> None:
    few, more = (count_body(config_of("qwen3_moe", num_experts_per_tok=k)) for k in (2, 3))
    assert few.parameters == more.parameters
    assert more.position_flops - few.position_flops == 4 * 2 * (3 * 64 * 48)  # layers x an expert's matrices


def test_a_reward_head_on_a_counted_family() -> None:
    config = config_of("gemma2", architectures=["Gemma2ForTokenClassification"], num_labels=1)
    cost = CostModel.from_config(config)
    assert cost.reward
    assert cost.head_flops == 2 * 64


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (config_of("no-such-family"), "Transformers"),
        (config_of("bert"), "needed: a decoder"),
        (config_of("qwen3_next"), "attention in every layer"),
        (config_of("gemma2", hidden_size="wide"), "Transformers can build"),
        ({"architectures": ["XForCausalLM"]}, "Transformers"),
    ],
)
def test_what_cannot_be_charged_is_one_line(config: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        CostModel.from_config(config)
    assert caught.value.key == "model_type"
    assert "\n" not in str(caught.value)
