"""Compares the engines that a run asks for with the machine that is to run them, before any is started."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

from actors.engine_defaults import CPU_DEFAULTS
from orchestrator.config.fingerprint import WEIGHTS
from orchestrator.config.machine import built_for_gpus, pool_sections
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput, counted

GIB = 2**30
ENGINE_BYTES = GIB
"""Memory of an engine on a CPU, beside its weights and its cache."""
REFUSED = 2.0
"""Engines are refused where they take so many times what is free: no estimate is as wrong as that."""
CROWDED = 2.0
"""CPUs that are asked for on each core from which a run says that its engines wait for each other."""
MEMORY = Path("/proc/meminfo")
GROUP, CGROUP = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Engine:
    """The engines of a pool that run on a machine's CPUs."""

    pool: str
    replicas: int
    cpus: float
    """CPUs of one engine."""
    memory: int
    """Bytes of one engine, about."""


def engines_of(config: Config, *, revises: bool) -> list[Engine]:
    """Returns the engines that a run starts on the CPUs of this machine: none where it joins a cluster. With
    ``revises``, those of the reviser too."""
    if config.cluster.address is not None:
        return []
    return [
        Engine(role, pool.replicas, pool.resources.num_cpus, engine_bytes(str(pool.model), pool.engine))
        for role, pool in pool_sections(config, revises=revises)
        if not pool.resources.num_gpus and getattr(pool, "endpoint", None) is None
    ]


def check_capacity(
    engines: Sequence[Engine],
    cores: int | None = None,
    memory: int | None = None,
    needs_gpu: bool | None = None,
) -> str | None:
    """Returns a warning where the engines hardly fit on this machine, and None where they fit. Raises
    BadInput where they cannot.

    ``cores``, ``memory`` (bytes that are free) and ``needs_gpu`` (whether its vLLM computes on GPUs alone)
    are this machine's, unless given.
    """
    if not engines:
        return None
    if built_for_gpus() if needs_gpu is None else needs_gpu:
        allowed = "the vLLM of this machine computes on GPUs; allowed: 1, or a part where replicas share one"
        raise BadInput(f"{engines[0].pool}.resources.num_gpus", 0, allowed)
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    memory = free_memory() if memory is None else memory
    needed = sum(engine.replicas * engine.memory for engine in engines)
    count = sum(engine.replicas for engine in engines)
    what, need = counted(count, "engine"), "needs" if count == 1 else "need"
    if memory is not None and needed > memory:
        short = (
            f"{what} {need} about {needed / GIB:.1f} GiB of memory, and {memory / GIB:.1f} GiB are free here"
        )
        largest = max(engines, key=lambda engine: engine.replicas * engine.memory)
        if needed > REFUSED * memory and largest.replicas > 1:
            others = needed - largest.replicas * largest.memory
            fit = max(1, int((memory - others) / largest.memory))
            allowed = f"{short}; allowed: {fit} or fewer, or a cluster (cluster.address)"
            raise BadInput(f"{largest.pool}.replicas", largest.replicas, allowed)
        return short
    cpus = sum(engine.replicas * engine.cpus for engine in engines)
    if cpus > CROWDED * cores:
        ask = "asks" if count == 1 else "ask"
        return f"{what} {ask} for {cpus:g} CPUs of {counted(cores, 'core')}: they wait for each other"
    return None


def check_gpus(config: Config, *, revises: bool, gpus: int | None = None) -> None:
    """Raises BadInput where the replicas with which a run begins ask for more GPUs than this machine has:
    they would be waited for in vain. ``gpus`` is how many that are, unless given."""
    asked = {
        role: (pool.min_replicas or pool.replicas) * pool.resources.num_gpus
        for role, pool in pool_sections(config, revises=revises)
        if getattr(pool, "endpoint", None) is None
    }
    if config.cluster.address is not None or not any(asked.values()):
        return
    if gpus is None:
        import torch

        gpus = torch.cuda.device_count()
    if (needed := sum(asked.values())) > gpus:
        largest = max(asked, key=lambda role: asked[role])
        held = getattr(config, largest).resources.num_gpus
        allowed = f"the run begins with {needed:g} GPU, and this machine has {gpus or 'none'}; allowed: fewer"
        raise BadInput(f"{largest}.resources.num_gpus", held, f"{allowed}, or a cluster (cluster.address)")


def engine_bytes(model: str, options: Mapping[str, Any]) -> int:
    """Returns about how much memory an engine with these ``options`` takes on a CPU: its weights where they
    are here, its cache, and itself."""
    cache = options.get("kv_cache_memory_bytes", CPU_DEFAULTS["kv_cache_memory_bytes"])
    directory = Path(expanduser(model))
    files = [file for file in directory.iterdir() if file.suffix in WEIGHTS] if directory.is_dir() else []
    return (
        ENGINE_BYTES + sum(file.stat().st_size for file in files) + (cache if isinstance(cache, int) else 0)
    )


def free_memory() -> int | None:
    """Returns the bytes of memory that are free here, within the limits of this process's control group; None
    where that is not known."""
    lines = MEMORY.read_text() if MEMORY.is_file() else ""
    free = [1024 * kilobytes for kilobytes in _numbers(lines, "MemAvailable:")]
    own = GROUP.read_text().rpartition("0::/")[2].split("\n")[0] if GROUP.is_file() else ""
    for group in {CGROUP, CGROUP / own}:
        try:
            limit, used, about = (
                (group / f"memory.{name}").read_text() for name in ("max", "current", "stat")
            )
        except OSError:
            continue
        if limit.strip() != "max":
            free.append(int(limit) - int(used) + sum(_numbers(about, "inactive_file")))
    return min(free, default=None)


def _numbers(text: str, name: str) -> list[int]:
    return [int(found) for found in re.findall(rf"^{name}\s+(\d+)", text, re.M)]
