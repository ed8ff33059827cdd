"""The specification of a pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.endpoint import EndpointActor
from actors.replica import Replica


@dataclass(frozen=True)
class PoolSpec:
    """Specifies the replicas of a pool, and when the pool replaces one. All times are in seconds."""

    name: str
    replica: type[Replica] | type[EndpointActor]
    model: str
    """A directory or a hub id."""
    replicas: int = 1
    num_cpus: float = 1.0
    """CPUs that a replica reserves in Ray."""
    num_gpus: float = 0.0
    """GPUs that a replica reserves in Ray; more than one is a placement group."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the replica's class."""
    least: int | None = None
    """The number of replicas that must be up before work begins; None means all."""
    probe_after: float = 30.0
    """A replica that is silent for so long is asked for one token."""
    probe_timeout: float = 120.0
    """A replica that has no token after so long is killed and replaced."""
    start_timeout: float = 600.0
    """A lost replica that is not up again after so long is made anew."""
    custom: dict[str, float] = field(default_factory=dict)
    """Ray's custom resources that a replica reserves, by name."""
    return_poll: float = 0.5
    """The time between two looks at a lost replica. The wait before a new start begins with twice that, and
    doubles."""

    @property
    def names(self) -> list[str]:
        """The names of the replicas."""
        return [f"{self.name}-{i}" for i in range(self.replicas)]

    @property
    def needs(self) -> str:
        """The resources of one replica, as ``1 CPU and 0 GPU``."""
        more = "".join(f" and {amount:g} {name}" for name, amount in self.custom.items())
        return f"{self.num_cpus:g} CPU and {self.num_gpus:g} GPU{more}"
