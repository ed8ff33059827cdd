"""What a pool knows of one of its replicas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from actors.concurrency import ConcurrencyLimit
from actors.handle import ReplicaHandle
from actors.messages import Load, ReplicaInfo


@dataclass
class Member:
    """The pool's account of one replica."""

    name: str
    handle: ReplicaHandle
    info: ReplicaInfo | None = None
    """None until the replica is up for the first time."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    aborts: list[str] = field(default_factory=list)
    """Ids of cancelled requests of which the replica has not been told."""
    lost: list[str] = field(default_factory=list)
    """Ids of the requests that ran here when the replica was lost."""
    lost_at: float = 0.0
    broken: int = 0
    """The number of errors of its methods since its last result."""
    heard: float = 0.0
    busy_since: float | None = None
    limit: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(1))
    load: Load | None = None
