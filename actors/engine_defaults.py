"""What an engine is built with unless a configuration says otherwise; vLLM is not imported."""

from __future__ import annotations

from typing import Any

CPU_DEFAULTS: dict[str, Any] = {
    "block_size": 32,  # vLLM's 128 hides the reuse between one step of a search and the next
    "enable_chunked_prefill": False,  # vLLM 0.32: with seeded sampling it kills the engine on a CPU
    "enforce_eager": True,  # compiling adds 30–60 s to a start, and no speed to a small model
    "kv_cache_memory_bytes": 1 << 30,  # vLLM would take 92 % of the machine, for every replica
    "kv_transfer_config": {  # a search step is shorter than a block
        "kv_connector": "PartialBlockConnector",
        "kv_connector_module_path": "actors.block_reuse",
        "kv_role": "kv_both",
    },
}
DEFAULTS: dict[str, Any] = {
    "enable_prefix_caching": True,
    "scheduling_policy": "priority",
    "disable_log_stats": True,
}
DEVICE_SHARE = 0.92
"""Share of a GPU's memory that an engine takes by itself: vLLM's own ``gpu_memory_utilization``."""


def device_options(gpus: float) -> dict[str, Any]:
    """Returns the engine arguments that follow from the GPUs of a replica, where the user gives no others."""
    if gpus > 1:
        # vLLM 0.32: by itself it refuses more ranks than this node has GPUs, before it looks at the group.
        return {"distributed_executor_backend": "ray"}
    if 0 < gpus < 1:
        return {"gpu_memory_utilization": round(DEVICE_SHARE * gpus, 4)}
    return {}
