"""A LoRA adapter changes what is sampled as merging it into the weights does, and is charged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from actors.generator import GeneratorActor
from actors.messages import SampleRequest
from orchestrator.budget.flops import CostModel
from orchestrator.config.adapter import rank, with_adapter
from orchestrator.errors import BadInput
from tests.support.tiny_models import save_llama

RANK, ALPHA = 4, 32


def save_adapter(path: Path, model: Any) -> Path:
    """A random adapter of the queries and values of every layer; it is merged into ``model`` too."""
    torch.manual_seed(21)
    path.mkdir()
    weights = {}
    for i, layer in enumerate(model.model.layers):
        for name in ("q_proj", "v_proj"):
            linear = getattr(layer.self_attn, name)
            low, high = torch.randn(RANK, linear.in_features), torch.randn(linear.out_features, RANK) * 0.2
            linear.weight.data += ALPHA / RANK * high @ low
            prefix = f"base_model.model.model.layers.{i}.self_attn.{name}"
            weights |= {f"{prefix}.lora_A.weight": low, f"{prefix}.lora_B.weight": high}
    save_file(weights, path / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "",
    }
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A model's directory, its adapter's, and the model with the adapter merged into it."""
    base = save_llama(tmp_path_factory.mktemp("base"))
    merged = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    return base, save_adapter(tmp_path_factory.mktemp("lora") / "adapter", merged), merged


def test_each_weight_of_an_adapter_is_one_multiply_add_a_position(adapted: tuple[Path, Path, Any]) -> None:
    base, adapter, merged = adapted
    costs = CostModel.from_pretrained(str(base))
    q, v = merged.model.layers[0].self_attn.q_proj, merged.model.layers[0].self_attn.v_proj
    weights = 2 * RANK * (q.in_features + q.out_features + v.in_features + v.out_features)
    more = with_adapter(costs, str(adapter), "generator.adapter")
    assert more.position_flops == costs.position_flops + 2 * weights
    assert more.sample(10, 5) == costs.sample(10, 5) + 5 * 2 * weights
    assert with_adapter(costs, None, "generator.adapter") == costs
    assert rank(str(adapter), "generator.adapter") == RANK


def test_what_is_no_adapter_is_named(adapted: tuple[Path, Path, Any], tmp_path: Path) -> None:
    base, adapter, _ = adapted
    costs = CostModel.from_pretrained(str(base))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    for changes, words in (({"peft_type": "IA3"}, "LoRA adapter"), ({"r": 1000}, "allowed: 1 to 512")):
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings | changes))
        with pytest.raises(BadInput, match=words):
            with_adapter(costs, str(tmp_path), "generator.adapter")
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(BadInput, match=r"generator\.adapter.*cannot be read"):
        with_adapter(costs, str(tmp_path), "generator.adapter")
    with pytest.raises(BadInput, match=r"generator\.adapter.*needed: the directory"):
        with_adapter(costs, str(base), "generator.adapter")


@pytest.mark.engine
def test_an_engine_samples_with_an_adapter_what_the_merged_model_does(
    one_by_one: Any, adapted: tuple[Path, Path, Any]
) -> None:
    base, adapter, merged = adapted
    prompts = [(1, 2, 3), (4, 5, 6, 7), (10, 9, 8)]
    requests = [SampleRequest(str(i), p, i, 12, "end", temperature=0.0) for i, p in enumerate(prompts)]
    options = {
        "step_delimiter": (),
        "adapter": str(adapter),
        "engine": {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8, "max_num_batched_tokens": 256},
    }
    (found,) = ray.get(one_by_one.answers.remote(GeneratorActor, str(base), options, [requests]))
    for prompt, result in zip(prompts, found, strict=True):
        whole = merged.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0].tolist()
        assert list(result.tokens) == whole[len(prompt) :][: len(result.tokens)]
        assert len(result.tokens) > 1
