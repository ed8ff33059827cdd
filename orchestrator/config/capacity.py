"""Compares the engines that a run asks for with the machine that is to run them, before any is started."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from actors.endpoint import EndpointActor
from actors.engine_options import CPU_DEFAULTS
from actors.spec import PoolSpec
from orchestrator.config.fingerprint import WEIGHTS
from orchestrator.errors import BadInput

GIB = 2**30
ENGINE_BYTES = GIB
"""Memory of an engine on a CPU, beside its weights and its cache."""
REFUSED = 2.0
"""Engines are refused where they take so many times what is free: no estimate is as wrong as that."""
CROWDED = 2.0
"""CPUs that are asked for on each core from which a run says that its engines wait for each other."""
MEMORY = Path("/proc/meminfo")
GROUP, CGROUP = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def check_capacity(
    specs: Sequence[PoolSpec], cores: int | None = None, memory: int | None = None
) -> str | None:
    """Returns a warning where the replicas hardly fit on this machine, and None where they fit. Raises
    BadInput where they cannot.

    ``cores`` and ``memory`` (bytes that are free) are this machine's, unless given.
    """
    engines = [spec for spec in specs if spec.replica is not EndpointActor and not spec.num_gpus]
    if not engines:
        return None
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    memory = free_memory() if memory is None else memory
    needed = sum(spec.replicas * engine_bytes(spec) for spec in engines)
    count = sum(spec.replicas for spec in engines)
    what = f"{count} engine{'s' if count > 1 else ''}"
    if memory is not None and needed > memory:
        short = (
            f"{what} need about {needed / GIB:.1f} GiB of memory, and {memory / GIB:.1f} GiB are free here"
        )
        largest = max(engines, key=lambda spec: spec.replicas * engine_bytes(spec))
        if needed > REFUSED * memory and largest.replicas > 1:
            others = needed - largest.replicas * engine_bytes(largest)
            fit = max(1, int((memory - others) / engine_bytes(largest)))
            allowed = f"{short}; allowed: {fit} or fewer, or a cluster (cluster.address)"
            raise BadInput(f"{largest.name}.replicas", largest.replicas, allowed)
        return short
    cpus = sum(spec.replicas * spec.num_cpus for spec in engines)
    if cpus > CROWDED * cores:
        return f"{what} ask for {cpus:g} CPUs of {cores} cores: they wait for each other"
    return None


def engine_bytes(spec: PoolSpec) -> int:
    """Returns about how much memory an engine takes on a CPU: its weights where they are here, its cache, and
    itself."""
    cache = spec.options.get("engine", {}).get("kv_cache_memory_bytes", CPU_DEFAULTS["kv_cache_memory_bytes"])
    model = Path(spec.model).expanduser()
    files = [file for file in model.iterdir() if file.suffix in WEIGHTS] if model.is_dir() else []
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
