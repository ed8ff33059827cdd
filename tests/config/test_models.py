"""The ready configurations of ``configs/models``, checked from their models' config.json, offline; the memory
that is told of them."""

from __future__ import annotations

import json

import pytest

from orchestrator.budget.flops import CostModel
from orchestrator.config.loading import load
from orchestrator.config.memory import GIB, Need, fitted, fleet_of, nodes_needed, token_bytes, weight_bytes
from orchestrator.config.preview import preview
from orchestrator.errors import BadInput
from tests.support.known_models import CONFIGS, PARAMETERS, save
from tests.support.paths import CONFIGS as ROOM

READY = {
    "llama-3.2-1b-rlhflow-8b": ("rlhflow", "a10:2"),
    "qwen2.5-1.5b-math-prm-7b": ("qwen-prm", "a100:1"),
    "qwen3-4b-thinking": (None, "l4:1"),
    "llama-3.3-70b-judge": ("judge", "h100:8"),
    "endpoint": (None, None),
}
QUESTION = "What is 48 / 2?"
PROBLEM = {"problem": QUESTION, "question": QUESTION, "answer": "24", "id": 7, "unique_id": "7", "level": 1}
"""With the columns of all sets."""


def checked(name: str, tmp_path, devices: str | None):
    """What ``ttc check`` finds, with the models' files in the place of their names on the hub."""
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    path = ROOM / "models" / f"{name}.yaml"
    named = load(path)
    overrides = [f"runs={tmp_path}", "problems.source=file", f"problems.path={tmp_path}/problems.jsonl"]
    overrides += ["problems.subset=null"]
    for role in ("generator", "verifier"):
        if (model := getattr(named, role).model) is not None:
            overrides.append(f"{role}.model={save(model, tmp_path)}")
    return preview(load(path, overrides), None if devices is None else fleet_of(devices))


def test_every_ready_configuration_is_here():
    assert {path.stem for path in (ROOM / "models").glob("*.yaml")} == set(READY)


@pytest.mark.parametrize("name", READY)
def test_a_ready_configuration_passes_the_checks_and_fits_the_devices_that_it_names(name, tmp_path):
    format, devices = READY[name]
    facts = checked(name, tmp_path, devices)
    assert facts.name == name
    without_weights = [line for line in facts.failures if "has no weights" not in line]
    assert not without_weights
    assert (facts.verifier.format if facts.verifier is not None else None) == format
    if devices is not None:
        assert facts.fit is not None
        assert facts.fit.nodes == 1
        assert all(pool.paths >= 1 for pool in facts.fit.pools)


def test_a_device_that_is_too_small_is_said_with_numbers_and_what_helps(tmp_path):
    facts = checked("qwen2.5-1.5b-math-prm-7b", tmp_path, "t4:1")
    _, line = [line for line in facts.failures if "no weights" not in line]
    assert line.startswith(
        "verifier: a replica takes about 15.9 GiB of each of its 0.75 GPUs, and of a t4 it may"
    )
    assert "engine.max_model_len" in line


def test_more_gpus_than_there_are_is_said_with_the_nodes_that_are_needed(tmp_path):
    few = checked("llama-3.3-70b-judge", tmp_path, "h100:4")
    assert "the replicas take 5 GPUs, 2 nodes of 4; told: 4 × h100 (80 GiB)" in few.failures


@pytest.mark.parametrize("model", PARAMETERS)
def test_known_models_have_the_parameters_of_their_cards(model):
    assert CostModel.from_config(CONFIGS[model]).n_parameters == PARAMETERS[model]


@pytest.mark.parametrize(
    ("model", "cache_dtype", "dtype", "expected"),
    [
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", "auto", "bfloat16", 131072),
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", "fp8", "bfloat16", 65536),
        ("meta-llama/Llama-3.3-70B-Instruct", "auto", "bfloat16", 327680),
        ("Qwen/Qwen2.5-1.5B-Instruct", "auto", "bfloat16", 28672),
        ("Qwen/Qwen2.5-1.5B-Instruct", "auto", "float32", 57344),
        ("Qwen/Qwen3-4B-Thinking-2507", "auto", "bfloat16", 147456),
    ],
)
def test_the_cache_of_a_token(model, cache_dtype, dtype, expected):
    assert token_bytes(CONFIGS[model], cache_dtype, dtype) == expected


def test_the_cache_of_other_kinds_of_attention():
    latent = {"num_hidden_layers": 61, "num_attention_heads": 128, "hidden_size": 7168, "kv_lora_rank": 512}
    assert token_bytes({**latent, "qk_rope_head_dim": 64}, "auto", "bfloat16") == 61 * 576 * 2
    hybrid = {
        **CONFIGS["Qwen/Qwen3-4B-Thinking-2507"],
        "layer_types": ["linear_attention", "full_attention"] * 18,
    }
    assert token_bytes(hybrid, "auto", "bfloat16") == 147456 // 2
    assert token_bytes({"model_type": "mamba"}, "auto", "bfloat16") is None


LLAMA = CONFIGS["meta-llama/Llama-3.3-70B-Instruct"]
GROUPS = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}


@pytest.mark.parametrize(
    ("stored", "given", "gib"),
    [
        (None, None, 131.4),
        ({"quant_method": "fp8"}, None, 67.7),
        ({"quant_method": "awq", "bits": 4}, None, 37.8),
        ({"quant_method": "gptq", "bits": 8}, None, 67.7),
        (GROUPS, None, 37.8),
        (None, "fp8", 67.7),
        (None, "bitsandbytes", 37.8),
        ({"quant_method": "new"}, None, None),
    ],
)
def test_the_weights_of_a_model_by_its_quantisation(stored, given, gib):
    about = LLAMA if stored is None else {**LLAMA, "quantization_config": stored}
    found = weight_bytes(70_553_706_496, about, "bfloat16", given)
    assert (found if found is None else round(found / GIB, 1)) == gib


def need(gpus: float, replicas: int = 1, weights: int | None = 2 * GIB) -> Need:
    return Need("generator", replicas, gpus, weights, 1 << 17, 4096)


@pytest.mark.parametrize(
    ("needs", "per_node", "nodes"),
    [
        ([need(1, 8)], 8, 1),
        ([need(4, 2), need(1)], 8, 2),
        ([need(4), need(2), need(1, 2)], 8, 1),
        ([need(0.5, 3)], 1, 2),
        ([need(0.25), need(0.75)], 1, 1),
        ([need(0.3, 3), need(1)], 2, 1),
        ([need(0.6, 2)], 2, 1),
        ([need(2, 3)], 3, 3),
        ([need(0, 5)], 1, 0),
        ([need(16)], 8, None),
    ],
)
def test_the_nodes_that_replicas_take(needs, per_node, nodes):
    assert nodes_needed(needs, per_node) == nodes


def test_what_a_replica_holds_beside_its_weights():
    fleet = fleet_of("48:1")
    (pool,) = fitted([need(0.5)], fleet).pools
    free = 0.92 * 24 - 2.5 - 2
    assert pool.cache_tokens == pytest.approx(free * 8192, rel=0.01)
    assert pool.paths == pytest.approx(free * 2, rel=0.01)
    (unknown,) = fitted([need(1, weights=None)], fleet).pools
    assert (unknown.needed_bytes, unknown.cache_tokens) == (None, None)


def test_devices_are_told_by_their_kind_or_their_memory():
    assert str(fleet_of("h100:8x2")) == "8 × h100 (80 GiB) on each of 2 nodes"
    assert str(fleet_of("24:1")) == "1 × 24 (24 GiB)"
    for wrong in ("h100", "h1000:8", "h100:0", "h100:8x0", ":4", ""):
        with pytest.raises(
            BadInput, match=r"--devices: .*; allowed: KIND:GPUS or KIND:GPUSxNODES; a KIND is"
        ):
            fleet_of(wrong)


LAB = [path for room in ("lab.yaml", "strategies/*.yaml") for path in sorted(ROOM.glob(room))]


@pytest.mark.parametrize(
    "path", [path for path in LAB if path.stem != "budget_forcing"], ids=lambda path: path.stem
)
def test_the_labs_models_compute_in_float32_and_others_in_their_own_numbers(path):
    config = load(path)
    pools = (config.generator, config.verifier, config.reviser)
    assert {pool.dtype for pool in pools} == {"float32"}
    assert {load(path).generator.dtype for path in (ROOM / "models").glob("*.yaml")} == {"auto"}


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400 + ":4",
        "h100:" + "9" * 5000,
        "h100:1000000000",
        "h100:8x00",
        "h100:8x9999999",
        "٤٨:٤",
        "1e3:2",
    ],
    ids=lambda text: text[:12],
)
def test_devices_that_no_one_has_are_refused(text):
    with pytest.raises(BadInput, match="--devices: "):
        fleet_of(text)


PLAIN = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}


@pytest.mark.parametrize(
    "odd",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": -4},
        {"num_hidden_layers": "2"},
        {"num_key_value_heads": [1, 2]},
        {"num_key_value_heads": "2"},
        {"head_dim": "x"},
        {"kv_lora_rank": "8"},
    ],
)
def test_the_cache_of_an_odd_model_is_not_known(odd):
    assert token_bytes(PLAIN, "auto", "bfloat16") == 2 * 2 * 64 * 2
    assert token_bytes(PLAIN | {"num_key_value_heads": None, "head_dim": None}, "auto", "bfloat16") == 512
    assert token_bytes(PLAIN | odd, "auto", "bfloat16") is None


@pytest.mark.parametrize("groups", [None, [1], {"a": None}, {"a": {"weights": 4}}, {"a": {"weights": {}}}])
def test_weights_whose_quantisation_is_told_oddly_are_not_known(groups):
    stored = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert weight_bytes(1000, {"quantization_config": stored}, "bfloat16", None) is None
    stored = {"quant_method": "gptq", "bits": 8}
    for odd in (None, "a", -1):
        about = {"quantization_config": stored, "vocab_size": odd, "hidden_size": 3}
        assert weight_bytes(1000, about, "bfloat16", None) == 1000


def test_many_replicas_are_placed_at_once():
    many = [Need("generator", 20_000, 3, 1, 1, 1), Need("verifier", 20_000, 0.5, 1, 1, 1)]
    assert nodes_needed(many, 8) == 10_000  # two of 3 GPUs a node, and four halves beside them
