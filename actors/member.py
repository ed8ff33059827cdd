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
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set where the replica's node is to end."""
    successor: ReplicaHandle | None = None
    """A replica on another node that takes this one's place."""
    broken: int = 0
    """The number of errors of its methods since its last result."""
    heard: float = 0.0
    limit: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(1))
    load: Load | None = None

    def kill(self) -> None:
        """Ends the replica, and its successor, for good."""
        self.handle.kill()
        if self.successor is not None:
            self.successor.kill()
            self.successor = None

    def succeed(self) -> None:
        """Puts the successor, where there is one, in the place of the replica, which ends."""
        self.leaves.clear()
        if self.successor is not None:
            self.handle.kill()
            self.handle, self.successor = self.successor, None
