"""Memory that a run's models take of GPUs, and which GPUs hold them: estimates from config.json alone.

An engine takes a share of each of its GPUs (``DEVICE_SHARE``), and fills it with the weights, with what it
works with, and with the cache of keys and values, which has to hold one longest path at least.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.engine_defaults import DEVICE_SHARE
from orchestrator.errors import BadInput, one_of

GIB = 2**30
WORKING_BYTES = int(2.5 * GIB)
"""Memory that an engine takes of each GPU beside weights and cache: CUDA, activations, graphs, about."""
DEVICES: Mapping[str, int] = {
    **{"t4": 15, "v100": 32, "p100": 16, "l4": 22, "l40s": 45, "a10": 22, "a10g": 22, "a40": 45, "a6000": 48},
    **{"a100": 80, "a100-40": 40, "h100": 80, "gh200": 95, "h200": 140, "b200": 179, "b300": 268},
    **{"rtx3090": 24, "rtx4090": 24, "rtx5090": 32, "mi300x": 192},
}
"""GiB of a GPU, about as its driver reports them."""
GIBS = r"[0-9]{1,6}(\.[0-9]+)?"
"""A number of GiB."""
HALF, FULL = 2, 4
"""Bytes of a number in half precision, and in float32."""


@dataclass(frozen=True)
class Device:
    """A kind of GPU."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Fleet:
    """The GPUs that a run may have."""

    device: Device
    per_node: int
    nodes: int = 1

    def __str__(self) -> str:
        nodes = f" on each of {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{self.per_node} × {self.device.name} ({self.device.bytes / GIB:.0f} GiB){nodes}"


@dataclass(frozen=True)
class Need:
    """The memory of the replicas of one pool."""

    role: str
    replicas: int
    gpus: float
    """GPUs of one replica; below 1 where replicas share one."""
    weight_bytes: int | None
    """Bytes of the weights of one replica; None where the kind of quantisation is not known."""
    token_bytes: int | None
    """Bytes of the cache of one token, over all GPUs of a replica; None where that is not known."""
    longest: int | None
    """Tokens of the longest path that the engine must be able to hold; None where that is not known."""

    @property
    def least_bytes(self) -> int | None:
        """Bytes that a replica takes of each of its GPUs at least; None where the weights are not known."""
        if self.weight_bytes is None:
            return None
        path = (self.token_bytes or 0) * (self.longest or 0)
        return WORKING_BYTES + math.ceil((self.weight_bytes + path) / self._ranks)

    def usable(self, device: Device) -> int:
        """Returns the bytes that a replica may take of each of its GPUs."""
        return int(device.bytes * DEVICE_SHARE * min(1.0, self.gpus))

    def fits(self, device: Device) -> bool | None:
        """Tells whether a replica fits on its GPUs; None where that is not known."""
        return None if self.least_bytes is None else self.least_bytes <= self.usable(device)

    def cache_tokens(self, device: Device) -> int | None:
        """Returns the tokens whose keys and values a replica holds; None where that is not known."""
        if self.weight_bytes is None or not self.token_bytes:
            return None
        free = self.usable(device) - WORKING_BYTES - self.weight_bytes / self._ranks
        return max(0, int(free * self._ranks / self.token_bytes))

    @property
    def _ranks(self) -> int:
        return max(1, int(self.gpus))


def fleet_of(text: str) -> Fleet:
    """Reads ``h100:8``, ``h100:8x2`` (two nodes) or ``48:4`` (GiB of a GPU). Raises BadInput."""
    found = re.fullmatch(r"([\w.-]+):([0-9]{1,4})(?:x([0-9]{1,6}))?", text.strip().lower())
    name, per_node, nodes = found.groups() if found else ("", "0", None)
    size = DEVICES.get(name) or (float(name) if re.fullmatch(GIBS, name) else 0)
    if not size or not int(per_node) or (nodes is not None and not int(nodes)):
        kinds = one_of(DEVICES).removeprefix("allowed: ")
        allowed = f"allowed: KIND:GPUS or KIND:GPUSxNODES; a KIND is a number of GiB, or one of {kinds}"
        raise BadInput("--devices", text, allowed)
    return Fleet(Device(name, int(size * GIB)), int(per_node), int(nodes or 1))


def fleet_seen() -> Fleet | None:
    """Returns the GPUs of this machine; None where it has none."""
    import torch

    if not torch.cuda.is_available():
        return None
    count = torch.cuda.device_count()
    about = torch.cuda.get_device_properties(0)
    return Fleet(Device(about.name, about.total_memory), count)


def weight_bytes(
    parameters: int, about: Mapping[str, Any], dtype: str | None, quantised: str | None
) -> int | None:
    """Returns the bytes of a model's weights, of so many ``parameters``; None where that is not known.

    ``about`` is its config.json, ``dtype`` what its engine computes in, ``quantised`` how the engine is told
    to quantise it. Embeddings and the head stay in half precision.
    """
    each = {"float32": FULL, "bfloat16": HALF, "float16": HALF}.get(dtype or "")
    stored = about.get("quantization_config")
    if not stored and not quantised:
        return None if each is None else each * parameters
    bits = _bits(stored if isinstance(stored, Mapping) else {"quant_method": quantised})
    if bits is None:
        return None
    text = about.get("text_config")
    held = {**about, **text} if isinstance(text, Mapping) else about
    rows = (_whole(held, "vocab_size") or 0) * (_whole(held, "hidden_size") or 0)
    rows *= 1 if held.get("tie_word_embeddings") else 2
    whole = min(rows, parameters)
    return HALF * whole + math.ceil((parameters - whole) * bits / 8)


def _bits(stored: Mapping[str, Any]) -> float | None:
    """Bits of a quantised weight, scales included, about; None where that is not known."""
    method = str(stored.get("quant_method", ""))
    if method == "compressed-tensors":
        groups = _mapping(stored.get("config_groups")).values()
        sizes = [_mapping(_mapping(group).get("weights")).get("num_bits") for group in groups]
        bits = max((size for size in sizes if isinstance(size, int)), default=None)
    elif method == "bitsandbytes":
        bits = 8 if stored.get("load_in_8bit") else 4
    elif "fp8" in method:
        bits = 8
    else:
        bits = stored.get("bits", stored.get("w_bit", 4 if method in ("mxfp4", "awq", "gptq") else None))
    if not isinstance(bits, int):
        return None
    return bits + (0.25 if bits < 8 else 0)  # a scale and a zero for every 128 weights


def token_bytes(about: Mapping[str, Any], cache_dtype: str, dtype: str | None) -> int | None:
    """Returns the bytes of the keys and values of one token in all layers; None where that is not known.

    ``cache_dtype`` is the engine's ``kv_cache_dtype``. A layer with a sliding window counts like any other,
    so this is a bound; a layer of linear attention has none.
    """
    text = about.get("text_config")
    held = {**about, **text} if isinstance(text, Mapping) else about
    each = 1 if cache_dtype.startswith("fp8") else FULL if dtype == "float32" else HALF
    layers, heads, width = (
        _whole(held, key) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if layers is None or heads is None or width is None:
        return None
    kinds = held.get("layer_types")
    if isinstance(kinds, list):
        layers = sum("linear" not in str(kind) and "mamba" not in str(kind) for kind in kinds)
    if held.get("kv_lora_rank"):  # multi-head latent attention: one compressed vector
        rank = _whole(held, "kv_lora_rank")
        return None if rank is None else layers * (rank + (_whole(held, "qk_rope_head_dim") or 0)) * each
    usual = 128 if held.get("model_type") == "qwen3" else width // heads
    head = _whole(held, "head_dim") if held.get("head_dim") else usual
    pairs = _whole(held, "num_key_value_heads") if held.get("num_key_value_heads") else heads
    return None if head is None or pairs is None else 2 * layers * pairs * head * each


def _whole(held: Mapping[str, Any], key: str) -> int | None:
    """A size in a config.json; None where it is missing, or another thing, as a list with a size a layer."""
    value = held.get(key)
    return value if type(value) is int and value > 0 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def nodes_needed(needs: Sequence[Need], per_node: int) -> int | None:
    """Returns how many nodes of ``per_node`` GPUs the replicas take, the largest first, each where there is
    room; None where one has more GPUs than a node."""
    wanted = sorted((need.gpus for need in needs for _ in range(need.replicas) if need.gpus), reverse=True)
    free: list[list[float]] = []  # of each node, what is free of each GPU
    at, size = 0, 0.0  # nodes before this one have no room for a replica of this size
    for gpus in wanted:
        if gpus > per_node:
            return None
        at, size = (at, size) if gpus == size else (0, gpus)
        while at < len(free) and not _take(free[at], gpus):
            at += 1
        if at == len(free):
            free.append([1.0] * per_node)
            _take(free[-1], gpus)
    return len(free)


def _take(node: list[float], gpus: float) -> bool:
    """Takes GPUs of a node, or a part of one, where they are free; tells whether they were."""
    part = gpus if gpus < 1 else 1.0
    places = [index for index, free in enumerate(node) if free >= part - 1e-9][: max(1, int(gpus))]
    if len(places) < gpus:
        return False
    for index in places:
        node[index] -= part
    return True


@dataclass(frozen=True)
class PoolFit:
    """The replicas of one pool on GPUs of one kind."""

    role: str
    needed_bytes: int | None
    """Bytes that a replica takes of each of its GPUs at least; None where that is not known."""
    usable_bytes: int
    """Bytes that it may take of each."""
    cache_tokens: int | None
    """Tokens whose keys and values a replica holds."""
    paths: float | None
    """Longest paths that a replica holds at once."""


@dataclass(frozen=True)
class FleetFit:
    """A run's replicas on the GPUs that it may have."""

    fleet: str
    pools: tuple[PoolFit, ...]
    gpus: float
    """GPUs of all replicas."""
    nodes: int | None
    """Nodes that they take; None where a replica has more GPUs than a node."""
    failures: tuple[str, ...]
    """Why they do not fit."""


def fitted(needs: Sequence[Need], fleet: Fleet) -> FleetFit:
    """Returns how the replicas that ask for GPUs fit on a fleet."""
    needs = [need for need in needs if need.gpus]
    failures, pools = [], []
    for need in needs:
        usable, tokens = need.usable(fleet.device), need.cache_tokens(fleet.device)
        paths = tokens / need.longest if tokens is not None and need.longest else None
        pools.append(PoolFit(need.role, need.least_bytes, usable, tokens, paths))
        if need.fits(fleet.device) is False:
            assert need.least_bytes is not None
            failures.append(
                f"{need.role}: a replica takes about {need.least_bytes / GIB:.1f} GiB of each of its "
                f"{need.gpus:g} GPUs, and of a {fleet.device.name} it may take {usable / GIB:.1f}; needed: "
                f"more of {need.role}.resources.num_gpus with engine.tensor_parallel_size, a smaller "
                "engine.max_model_len, or fewer bits a weight"
            )
    nodes, gpus = nodes_needed(needs, fleet.per_node), sum(need.replicas * need.gpus for need in needs)
    if nodes is None:
        most = max(needs, key=lambda need: need.gpus)
        failures.append(
            f"{most.role}.resources.num_gpus: {most.gpus:g} is more than the {fleet.per_node} GPUs of a node"
        )
    elif nodes > fleet.nodes:
        failures.append(f"the replicas take {gpus:g} GPUs, {nodes} nodes of {fleet.per_node}; told: {fleet}")
    return FleetFit(str(fleet), tuple(pools), gpus, nodes, tuple(failures))
