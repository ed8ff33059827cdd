"""What a pool is to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.replica import Replica


@dataclass(frozen=True)
class PoolSpec:
    """What a pool is made of. ``options`` are the replica class's keyword arguments. ``least``: replicas
    that must be up before work begins (None: all). A replica that has said nothing for
    ``probe_after`` seconds is asked for one token, and is replaced if it has none in ``probe_timeout``. One
    that was lost and is not up again in ``start_timeout`` seconds is made anew."""

    name: str
    replica: type[Replica]
    model: str
    replicas: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    least: int | None = None
    probe_after: float = 30.0
    probe_timeout: float = 120.0
    start_timeout: float = 600.0
    custom: dict[str, float] = field(default_factory=dict)
    """Other resources, of nodes that were started with them."""

    @property
    def needs(self) -> str:
        """What a replica asks for, in words."""
        more = "".join(f" and {amount:g} {name}" for name, amount in self.custom.items())
        return f"{self.num_cpus:g} CPU and {self.num_gpus:g} GPU{more}"
