"""What an engine of vLLM 0.32 is built with, and what a request asks it for.

Places that use internals of vLLM have a comment that begins with "vLLM 0.32:" (``actors/README.md``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from actors.devices import sees_no_gpu
from actors.engine_defaults import CPU_DEFAULTS, DEFAULTS
from actors.vllm_version import VLLM_VERSION

MAX_SEED = (1 << 63) - 1
"""The largest seed that torch takes."""


def sampling_params(
    *,
    seed: int,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    others: Mapping[str, Any] | None = None,
    stop_token_ids: Sequence[int] = (),
    stop_strings: Sequence[str] = (),
    min_tokens: int = 0,
    logprobs: bool = False,
) -> Any:
    """Returns vLLM's ``SamplingParams`` of one sample. Raises ValueError if a value is out of range.

    ``others`` are more of its fields by name, such as ``top_k``.
    With ``logprobs`` the sampled tokens come with their log-probabilities.
    Neither a stop token nor the end of the sequence is sampled before ``min_tokens`` tokens.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    try:
        return SamplingParams(
            n=1,
            seed=seed & MAX_SEED,  # vLLM reads -1 as "no seed"
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            temperature=temperature,
            top_p=top_p,
            **(others or {}),
            stop_token_ids=list(stop_token_ids),
            stop=list(stop_strings),
            include_stop_str_in_output=bool(stop_strings),
            detokenize=bool(stop_strings),  # only a stop string needs text
            logprobs=0 if logprobs else None,  # of the sampled token, and of 0 others
            skip_special_tokens=False,  # a stop string may be, or hold, a special token
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,  # vLLM 0.32: without a deep copy; these are made for one request
        )
    except VLLMClientError as error:
        raise ValueError(str(error)) from error


def token_classify_params(*, read_cache: bool) -> Any:
    """Returns vLLM's ``PoolingParams`` for the raw outputs of the head at each token.

    With ``read_cache`` the cached prefix of the prompt is not computed, and has no rows in the output.
    """
    from vllm import PoolingParams

    return PoolingParams(
        task="token_classify",
        use_activation=False,
        skip_reading_prefix_cache=not read_cache,  # vLLM 0.32: by default such requests skip it
    )


def engine_options(model: str, *, dtype: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Returns fields of vLLM's ``EngineArgs``: this module's defaults, and ``options`` over them.

    Raises ValueError with the name of an option that is no field of ``EngineArgs``, or where vLLM needs a GPU
    and this process sees none, and RuntimeError if the installed vLLM is of another version than
    ``VLLM_VERSION``.
    """
    # vLLM 0.32: it reads these when it is first imported or first builds an engine.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # else replicas fight for core 0
    check_vllm_version()
    from vllm.config import KVTransferConfig, PoolerConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform

    known = {item.name for item in fields(EngineArgs)}
    for name in options:
        if name not in known:
            raise ValueError(f"engine.{name}: not an option of vLLM's EngineArgs")
    check_sees_gpu(on_cpu=current_platform.is_cpu())
    cpu = CPU_DEFAULTS if current_platform.is_cpu() else {}
    merged = {"model": model, "dtype": dtype, "seed": seed, **DEFAULTS, **cpu, **options}
    if isinstance(merged.get("pooler_config"), dict):
        merged["pooler_config"] = PoolerConfig(**merged["pooler_config"])
    if isinstance(merged.get("kv_transfer_config"), dict):
        merged["kv_transfer_config"] = KVTransferConfig(**merged["kv_transfer_config"])
    return merged


def check_sees_gpu(*, on_cpu: bool) -> None:
    """Raises ValueError where this process sees no GPU, since its replica asks for none, and the node's vLLM
    is not the one that computes ``on_cpu``."""
    if not on_cpu and sees_no_gpu(os.environ):
        raise ValueError(
            "resources.num_gpus: 0, and the vLLM of this node computes on GPUs; allowed: a number above 0, "
            "or a node with the CPU build of vLLM"
        )


def check_vllm_version() -> None:
    """Raises RuntimeError if the installed vLLM is of another version than ``VLLM_VERSION``."""
    import vllm

    if not vllm.__version__.startswith(f"{VLLM_VERSION}."):
        raise RuntimeError(
            f"vLLM {vllm.__version__} is installed, and the engines use internals of vLLM {VLLM_VERSION}; "
            f"install vllm=={VLLM_VERSION}.* (what an upgrade has to check: actors/README.md)"
        )


def check_kernels(quantisation: str | None, *, on_cpu: bool, capability: str) -> None:
    """Raises ValueError where a CPU lacks the instructions of vLLM 0.32's kernels for quantised weights: with
    AVX2 alone int8 was seen to compute something else, and GPTQ to fail in its first pass.

    ``capability`` is torch's name of the instructions, such as ``AVX2``.
    """
    if quantisation is not None and on_cpu and capability == "AVX2":
        needed = "allowed: a CPU with AVX-512, a GPU, or the model's plain weights"
        raise ValueError(f"its weights are quantised ({quantisation}), and this CPU has AVX2 alone; {needed}")
