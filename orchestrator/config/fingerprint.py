"""Hashes what a run's results depend on: a journal goes on only with the inputs it was begun with.

No path and no time is in it, so runs, models and problems may be moved, also to another machine.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from os.path import expanduser
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from orchestrator.budget.flops import hub_commit
from orchestrator.config.generator import OFF
from orchestrator.config.schema import Config, to_dict
from orchestrator.config.written import leaves
from orchestrator.formats.registry import STEPS
from orchestrator.masking import is_secret
from orchestrator.strategies.definition import DONE_BEFORE

PERFORMANCE_OPTIONS = frozenset(
    [
        "async_scheduling",
        "block_size",
        "compilation_config",
        "cpu_offload_gb",
        "cudagraph_capture_sizes",
        "data_parallel_address",
        "data_parallel_backend",
        "data_parallel_rpc_port",
        "data_parallel_size",
        "data_parallel_size_local",
        "device_ids",
        "disable_custom_all_reduce",
        "disable_log_stats",
        "distributed_executor_backend",
        "distributed_timeout_seconds",
        "download_dir",
        "enable_chunked_prefill",
        "enable_prefix_caching",
        "enforce_eager",
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "kv_events_config",
        "kv_offloading_backend",
        "kv_offloading_size",
        "kv_transfer_config",
        "load_format",
        "long_prefill_token_threshold",
        "max_cudagraph_capture_size",
        "max_num_batched_tokens",
        "max_num_seqs",
        "max_parallel_loading_workers",
        "model_loader_extra_config",
        "num_gpu_blocks_override",
        "numa_bind",
        "numa_bind_cpus",
        "numa_bind_nodes",
        "optimization_level",
        "performance_mode",
        "pipeline_parallel_size",
        "prefix_caching_hash_algo",
        "scheduling_policy",
        "stream_interval",
        "tensor_parallel_size",
        "use_tqdm_on_load",
    ]
)
"""Engine options that change how fast or where an engine runs. Any other may change what it computes."""

LATER: dict[str, dict[str, tuple[Any, ...]]] = {
    "generator": {
        "revision": (None,),
        "trust_remote_code": (False, True),
        "endpoint": (None,),
        **{name: (None, value) for name, value in OFF.items() if name not in ("temperature", "top_p")},
        "adapter": (None,),
        "stop": ([],),
        "system": (None,),
        "examples": ([],),
        "chat_template": (None,),
        "chat_options": ({},),
        "reply": ("",),
        "confidence": (None,),
    },
    "reviser": {"revision": (None,), "trust_remote_code": (False, True), "adapter": (None,)},
    "verifier": {
        "revision": (None,),
        "trust_remote_code": (False, True),
        "format": (None, STEPS),
        "system": (None,),
        "separator": (None,),
        "template": (None,),
        "choices": ({},),
        "token_ratio": (2.0,),
    },
    "judge": {"trust_remote_code": (False, True)},
    "allocation": {"pass_on": (False,)},
    "strategy": {name: (value,) for name, value in DONE_BEFORE.items()},
}
"""Keys that came later, by section, with the values that do what was done without them."""

ONCE = {("generator", "temperature"): 1.0, ("generator", "top_p"): 1.0, ("verifier", "kind"): "prm"}
"""What keys were by default before they could be left open."""

VERSIONS = {"mcts": 2, "rebase": 2}
"""Strategies that search otherwise than in earlier versions, with the same parameters: no journal that was
begun then goes on."""

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "adapter_config.json",
)
MIB = 2**20
PIECES = 16
"""So many MiB of a file of weights are read, evenly over it: some layers may be as they were."""


def fingerprint(config: Config, *, secrets: bool = False) -> str:
    """Returns the SHA-256 of the keys that determine a run's results. With ``secrets`` they count too, as
    in earlier versions."""
    keys = OmegaConf.create(determining(config, secrets=secrets))
    return hashlib.sha256(OmegaConf.to_yaml(keys, sort_keys=True).encode()).hexdigest()


def differing(begun: Config, now: Config) -> list[str]:
    """Returns the keys by which two configurations are those of different runs."""
    before, after = dict(leaves(determining(begun))), dict(leaves(determining(now)))
    differ = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return list(dict.fromkeys(_key(key) for key in differ))


def _key(path: str) -> str:
    """The key of a configuration that a place in what determines its results is of."""
    section, _, name = path.partition(".")
    if path == "allocation.hopeless":
        return "allocation.min_gain"
    models = ("model", "adapter")
    return f"{section}.{name.partition('.')[0]}" if name.partition(".")[0] in models else path


def digests(config: Config) -> dict[str, str]:
    """Returns a digest of the value of each key that determines a run's results, by key."""
    values: dict[str, list[Any]] = {}
    for path, value in leaves(determining(config)):
        values.setdefault(_key(path), []).append(value)
    return {key: digest(repr(found).encode()) for key, found in values.items()}


def digest(content: bytes) -> str:
    """Returns so much of a SHA-256 as tells a changed value."""
    return hashlib.sha256(content).hexdigest()[:12]


def determining(config: Config, *, secrets: bool = False) -> dict[str, Any]:
    """Returns the keys that determine a run's results, with their values: not where or how fast it runs. A
    secret opens doors and changes no result: a run goes on with a new one.

    A model in a directory counts by what it is and not by its path. Of other files that a configuration names
    (problems, a strategy, a policy) the name counts, and ``preparation`` adds their contents.
    """
    keys = to_dict(config)
    for key in ("cluster", "tracking", "runs", "max_searches", "log_level", "name", "baseline"):
        keys.pop(key)
    for section in ("generator", "judge"):
        held = keys[section]
        if (endpoint := held["endpoint"]) is not None:  # which server has the model is only where
            name = endpoint["model"] or held["model"]
            held["endpoint"] = {"model": None if name == held["model"] else name}
    if keys["judge"]["model"] is None:
        keys.pop("judge")
    if not keys["selection"]["generative"]:
        keys.pop("selection")
    for pool in ("generator", "verifier", "reviser", *(["judge"] if "judge" in keys else [])):
        for key in ("replicas", "min_replicas", "resources"):
            keys[pool].pop(key)
        engine = keys[pool]["engine"]
        keys[pool]["engine"] = {
            name: value for name, value in engine.items() if name not in PERFORMANCE_OPTIONS
        }
        for key in ("model", "adapter"):
            if key in keys[pool]:
                keys[pool][key] = _model(keys[pool][key])
    if keys["allocation"]["name"] != "uniform":
        keys["allocation"]["pass_on"] = False  # no other allocation has shares
    # Journals begun by earlier versions do not know these keys; this one they know by another name.
    for section, names in LATER.items():
        for name, values in names.items():
            if section in keys and name in keys[section] and keys[section][name] in values:
                del keys[section][name]
    for (section, name), value in ONCE.items():
        if keys[section][name] is None:
            keys[section][name] = value
    _as_earlier(keys["problems"])
    keys["allocation"]["hopeless"] = keys["allocation"].pop("min_gain")
    checker = keys["problems"]["answers"]
    named = (checker, "name") if isinstance(checker, dict) else (keys["problems"], "answers")
    strategy = keys["strategy"]
    if (version := VERSIONS.get(strategy.get("name"))) is not None:
        strategy["version"] = version
    for holder, key in (named, (keys["problems"], "path"), (strategy, "name"), (strategy, "policy")):
        if isinstance(holder.get(key), str):
            holder[key] = Path(holder[key]).name
    return keys if secrets else _without_secrets(keys)


def _without_secrets(node: Any, path: str = "") -> Any:
    if isinstance(node, list):
        return [_without_secrets(value, f"{path}.{index}") for index, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    places = {name: f"{path}.{name}" if path else str(name) for name in node}
    return {
        name: _without_secrets(value, places[name])
        for name, value in node.items()
        if isinstance(value, dict | list) or not is_secret(places[name])
    }


def _as_earlier(problems: dict[str, Any]) -> None:
    """Leaves out keys of ``problems`` that earlier versions did not have where they say nothing, and those on
    which no solution depends: ``preparation`` adds the problems that were read."""
    for key in ("too_long", "by"):
        problems.pop(key)
    if problems["source"] == "file":  # where it gives the same problems it is the same run
        problems["source"] = "jsonl"
    for key in ("subset", "revision", "columns", "options"):
        if not problems[key]:
            problems.pop(key)


def _model(model: str | None) -> Any:
    """Returns the identity of a model: a hub id, and the commit of it that is here; of a directory the names,
    sizes and contents (``_pieces``) of its weights, its configuration and its tokenizer."""
    if model is None:
        return None
    directory = Path(expanduser(model))
    if not directory.is_dir():
        return [model, hub_commit(model)]
    files = sorted(file for file in directory.iterdir() if file.suffix in WEIGHTS or file.name in BESIDE)
    described = []
    for file in files:
        about = file.stat()
        described.append([file.name, about.st_size, _pieces(file, about.st_size, about.st_mtime_ns)])
    return described


@lru_cache(maxsize=256)
def _pieces(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, or of ``PIECES`` MiB of it from the first to the last. ``size`` in bytes; it and
    ``changed`` tell a file that was written anew since from the one that is remembered."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        if size <= PIECES * MIB:
            sha.update(opened.read())
        for piece in range(PIECES if size > PIECES * MIB else 0):
            opened.seek((size - MIB) * piece // (PIECES - 1))
            sha.update(opened.read(MIB))
    return sha.hexdigest()
