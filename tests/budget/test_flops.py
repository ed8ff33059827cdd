"""The cost model against torch's own counter on real modules (equal, to the last FLOP), and its algebra."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DynamicCache,
    Qwen2Model,
)

from orchestrator.budget.flops import CostModel, read_config
from orchestrator.errors import BadInput

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "architectures": ["XForCausalLM"],
}
CASES: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2-window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "qwen3-default-head": {"model_type": "qwen3", "attention_bias": True},
    "llama": {"model_type": "llama", "num_key_value_heads": 4},
    "llama-bias": {"model_type": "llama", "head_dim": 24, "attention_bias": True, "mlp_bias": True},
    "mistral-window": {"model_type": "mistral", "head_dim": 32, "sliding_window": 8},
    "mistral": {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": None},
}
CONTEXT, NEW = 5, 15  # passes the windows of 8


def raw(name: str, **changes: Any) -> dict[str, Any]:
    return SHAPE | CASES[name] | changes


def build(config: dict[str, Any], auto: Any = AutoModelForCausalLM) -> Any:
    torch.manual_seed(0)
    model_config = AutoConfig.for_model(**config)
    return auto.from_config(model_config, attn_implementation="eager").eval()


def count(run: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def tokens(n: int) -> torch.Tensor:
    return torch.arange(n)[None] % SHAPE["vocab_size"]


@pytest.mark.parametrize("name", CASES)
def test_decoding_with_a_cache_is_the_counted_cost(name: str) -> None:
    model, cost = build(raw(name)), CostModel.from_config(raw(name))
    cache = DynamicCache(config=model.config)

    def step(ids: torch.Tensor) -> None:
        model(ids, past_key_values=cache, use_cache=True)

    with torch.no_grad():
        step(tokens(CONTEXT))
    counted = count(lambda: [step(tokens(1)) for _ in range(NEW)])
    assert cost.sample(CONTEXT, NEW) == counted


@pytest.mark.parametrize("name", CASES)
def test_prefill_is_the_counted_cost_less_the_masked_half(name: str) -> None:
    n = 20
    model, cost = build(raw(name)), CostModel.from_config(raw(name))
    counted = count(lambda: model(tokens(n)))
    window = CASES[name].get("sliding_window") or n
    sliding = {"qwen2-window": 2, "mistral-window": 3}.get(name, 0)
    seen = [sum(min(p + 1, w) for p in range(n)) for w in (n, window)]
    masked = (3 - sliding) * (n * n - seen[0]) + sliding * (n * n - seen[1])
    head_dim = model.model.layers[0].self_attn.head_dim
    assert cost.prefill(n) + cost.head(n) + 4 * 4 * head_dim * masked == counted


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_exact(name: str) -> None:
    model, cost = build(raw(name)), CostModel.from_config(raw(name))
    assert cost.n_parameters == model.num_parameters()
    vocabulary = sum(p.numel() for p in model.model.embed_tokens.parameters())
    assert cost.non_embedding_parameters == model.model.num_parameters() - vocabulary


@pytest.mark.parametrize("name", CASES)
def test_a_saved_or_loaded_config_means_the_same(name: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(**raw(name))
    config.save_pretrained(tmp_path)
    expected = CostModel.from_config(raw(name))
    assert CostModel.from_pretrained(str(tmp_path)) == expected
    assert CostModel.from_config(config) == expected


class ProcessRewardModel(nn.Module):
    """The shape of Qwen2.5-Math-PRM."""

    def __init__(self, config: dict[str, Any], labels: int) -> None:
        super().__init__()
        self.model = Qwen2Model(AutoConfig.for_model(**config, attn_implementation="eager"))
        d = config["hidden_size"]
        self.score = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, labels))

    def forward(self, ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return self.score(self.model(ids, **kwargs).last_hidden_state)


@pytest.mark.parametrize(
    ("architecture", "labels", "auto"),
    [
        ("Qwen2ForProcessRewardModel", 2, None),
        ("Qwen2ForRewardModel", 1, None),
        ("Qwen2ForTokenClassification", 3, AutoModelForTokenClassification),
        ("Qwen2ForTokenClassification", 2, AutoModelForTokenClassification),
        ("Qwen2ForSequenceClassification", 1, AutoModelForSequenceClassification),
    ],
)
def test_reward_heads(architecture: str, labels: int, auto: Any, tmp_path: Path) -> None:
    config = raw("qwen2", architectures=[architecture], pad_token_id=0)
    if auto is None:
        model = ProcessRewardModel(config, labels)
    else:
        model = build(config | {"num_labels": labels}, auto)
        model.config.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
    cost = CostModel.from_config(config)
    assert cost.n_parameters == sum(p.numel() for p in model.parameters())
    cache = DynamicCache(config=model.model.config)
    counted = count(lambda: [model(tokens(1), past_key_values=cache, use_cache=True) for _ in range(5)])
    assert cost.score(0, 5) == counted


QWEN_05B = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": 32768,
    "max_window_layers": 24,
}


def test_textbook_formula_on_qwen_05b() -> None:
    cost = CostModel.from_config(QWEN_05B)
    n, ctx, attention, head = cost.non_embedding_parameters, 1000, 24 * 896, 2 * 896 * 151936
    assert cost.n_parameters == 494_032_768  # the checkpoint's own total
    assert n == 494_032_768 - 151936 * 896
    assert cost.sample(ctx, 1) == pytest.approx(2 * n + 4 * ctx * attention + head, rel=0.001)
    # 2·(N + L·ctx·d_attn) + 2·d·V is the mean over a sequence of ctx tokens
    assert cost.score(0, ctx) / ctx == pytest.approx(2 * (n + ctx * attention) + head, rel=0.001)


def test_a_long_window_changes_nothing_and_absent_keys_take_the_class_default() -> None:
    mistral = {k: v for k, v in raw("mistral").items() if k != "sliding_window"}
    assert CostModel.from_config(mistral).window == AutoConfig.for_model(**mistral).sliding_window == 4096
    unbounded = CostModel.from_config(raw("mistral"))
    assert CostModel.from_config(mistral).body(0, 4096) == unbounded.body(0, 4096)
    assert CostModel.from_config(mistral).body(0, 4097) < unbounded.body(0, 4097)
    llama = {k: v for k, v in raw("llama").items() if k != "num_key_value_heads"}
    assert CostModel.from_config(llama) == CostModel.from_config(raw("llama"))


# --- algebra ---------------------------------------------------------------------------------------------

costs = st.sampled_from([CostModel.from_config(raw(name)) for name in CASES])
lengths = st.integers(0, 200_000)


@given(costs, lengths, lengths, lengths)
def test_body_is_additive(cost: CostModel, x: int, y: int, z: int) -> None:
    a, b, c = sorted((x, y, z))
    assert cost.body(a, c) == cost.body(a, b) + cost.body(b, c)


@given(costs, lengths, lengths)
def test_body_is_a_whole_number_and_monotone(cost: CostModel, x: int, y: int) -> None:
    a, b = sorted((x, y))
    assert type(cost.sample(a, b - a)) is int
    assert cost.body(a, a) == 0
    assert cost.body(a, b) < cost.body(a, b + 1)
    assert cost.body(a, b + 1) > cost.body(a + 1, b + 1)
    assert cost.body(a, b) <= cost.body(a + 1, b + 1)  # a later span is never cheaper


@given(costs, st.integers(0, 60), st.integers(0, 60))
def test_closed_form_is_the_sum_over_tokens(cost: CostModel, start: int, new: int) -> None:
    total = 0
    for p in range(start, start + new):
        keys = cost.full_layers * (p + 1) + cost.window_layers * min(p + 1, cost.window)
        total += cost.position_flops + cost.pair_flops * keys
    assert cost.body(start, start + new) == total
    assert cost.sample(start, new) == cost.score(start, start + new) == total + new * cost.head_flops
    assert cost.prefill(start) == cost.body(0, start)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (4, 3)])
def test_impossible_spans_are_refused(start: int, end: int) -> None:
    cost = CostModel.from_config(raw("llama"))
    with pytest.raises(ValueError, match="positions"):
        cost.body(start, end)
    with pytest.raises(ValueError, match="tokens"):
        cost.head(-1)


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        *(({k: None}, k) for k in SHAPE if k != "num_key_value_heads"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"vocab_size": "300"}, "vocab_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"model_type": None}, "model_type"),
        ({"model_type": "no-such-family"}, "model_type"),
        ({"architectures": ["Qwen2Model"]}, "architectures"),
        ({"use_sliding_window": True, "layer_types": ["linear_attention"] * 3}, "layer_types"),
        ({"use_sliding_window": True, "layer_types": ["full_attention"]}, "layer_types"),
        ({"use_sliding_window": True, "max_window_layers": "all"}, "max_window_layers"),
    ],
)
def test_a_config_that_cannot_be_costed_names_its_key(
    changes: dict[str, Any], key: str, tmp_path: Path
) -> None:
    config = {k: v for k, v in raw("qwen2", **changes).items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput) as caught:
        CostModel.from_pretrained(str(tmp_path))
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_key_value_heads_are_not_guessed() -> None:
    config = {k: v for k, v in raw("qwen2").items() if k != "num_key_value_heads"}
    with pytest.raises(BadInput, match="num_key_value_heads"):
        CostModel.from_config(config)


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_a_directory_without_a_readable_config(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json") as caught:
        CostModel.from_pretrained(str(tmp_path), key="verifier.model")
    assert caught.value.key == "verifier.model"


@pytest.mark.parametrize("model", ["/no/such/model", "./missing", "~/missing-model", "runs/lab/generator"])
def test_a_missing_directory_is_not_looked_up_on_the_hub(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.budget.flops._from_hub", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(BadInput, match="model directory") as caught:
        CostModel.from_pretrained(model, key="generator.model")
    assert (caught.value.key, caught.value.value) == ("generator.model", model)


@pytest.mark.parametrize("model", ["owner/unknown-model", "not a valid id!"])
def test_a_hub_id_that_cannot_be_read(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput) as caught:
        CostModel.from_pretrained(model)
    assert caught.value.key == "model"
    assert "\n" not in str(caught.value)


def test_overrides_change_a_nested_configuration_key_by_key_and_replace_all_else(tmp_path):
    held = {
        "text_config": {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 8},
        "rope_parameters": {"rope_type": "default", "rope_theta": 1.0},
        "num_hidden_layers": 2,
    }
    (tmp_path / "config.json").write_text(json.dumps(held))
    overrides = {
        "text_config": {"num_hidden_layers": 3},
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "num_hidden_layers": 1,
    }
    found = read_config(str(tmp_path), "model", overrides=overrides)
    assert found["text_config"] == {"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 8}
    assert found["rope_parameters"] == {"rope_type": "linear", "factor": 2.0}
    assert found["num_hidden_layers"] == 1
    assert read_config(str(tmp_path), "model") == held
