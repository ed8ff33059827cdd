"""Which request goes to which replica, and when: a pure state machine, no clock and no I/O.

Work is bound to a replica late, when the replica has room. Requests that share a prefix (the same
``affinity``) prefer the replica that already holds it; a replica with room and nothing of its own to
do takes from the longest queue of another, since waiting there costs more than a prefill here.

Invariant: every request is queued once, or in flight at one replica, or gone; a replica never has
more than its capacity in flight; lost replicas' requests are queued again, before younger ones.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field

from actors.messages import Request

HOMES = 100_000
"""How many affinities are remembered; the least recently used are forgotten first."""

_Entry = tuple[int, int, Request]  # (priority, arrival, request): a heap's order


@dataclass
class _Replica:
    capacity: int
    queue: list[_Entry] = field(default_factory=list)
    in_flight: dict[str, _Entry] = field(default_factory=dict)

    @property
    def room(self) -> int:
        return self.capacity - len(self.in_flight)


class Router:
    """Queues and in-flight sets of one pool."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._shared: list[_Entry] = []
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._queued: set[str] = set()
        self._look: set[str] = set()
        self._arrivals = itertools.count()

    def join(self, replica: str, capacity: int) -> None:
        """A replica is ready for work, at most ``capacity`` requests at a time."""
        if capacity < 1:
            raise ValueError(f"{replica}: capacity {capacity}; allowed: 1 or more")
        self._replicas[replica] = _Replica(capacity)
        self._look.add(replica)

    def leave(self, replica: str) -> list[str]:
        """A replica is lost: what was queued or in flight there is queued again for any other.
        Returns the ids that were in flight."""
        gone = self._replicas.pop(replica, None)
        if gone is None:
            return []
        for entry in (*gone.queue, *gone.in_flight.values()):
            if entry[2].id in gone.in_flight or entry[2].id in self._queued:
                self._queued.add(entry[2].id)
                heapq.heappush(self._shared, entry)
        self._look.update(name for name, other in self._replicas.items() if other.room > 0)
        return list(gone.in_flight)

    def awake(self) -> set[str]:
        """The replicas that should ``take`` now: they may have both room and work. Asking clears it."""
        look, self._look = self._look, set()
        return look

    def put(self, request: Request) -> None:
        """Queue a request."""
        entry = (request.priority, next(self._arrivals), request)
        self._queued.add(request.id)
        home = self._homes.get(request.affinity, "")
        if home in self._replicas:
            heapq.heappush(self._replicas[home].queue, entry)
            if self._replicas[home].room > 0:
                self._look.add(home)
                return
        else:
            heapq.heappush(self._shared, entry)
        if (idlest := self._idlest()) is not None:
            self._look.add(idlest)

    def take(self, replica: str) -> list[Request]:
        """The requests that this replica is to run now: as many as it has room for."""
        me = self._replicas.get(replica)
        taken: list[Request] = []
        while me is not None and me.room > 0:
            entry = self._next(replica, me)
            if entry is None:
                break
            request = entry[2]
            self._queued.discard(request.id)
            me.in_flight[request.id] = entry
            if request.affinity:
                self._homes[request.affinity] = replica
                self._homes.move_to_end(request.affinity)
                if len(self._homes) > HOMES:
                    self._homes.popitem(last=False)
            taken.append(request)
        if me is not None and (me.queue or self._shared) and (idlest := self._idlest()) is not None:
            self._look.add(idlest)  # what I cannot hold is another's to take
        return taken

    def done(self, replica: str, request_id: str) -> bool:
        """A result came. False if this replica no longer owes it (aborted, or given to another)."""
        owner = self._replicas.get(replica)
        if owner is None or owner.in_flight.pop(request_id, None) is None:
            return False
        self._look.add(replica)
        return True

    def drop(self, request_id: str) -> str | None:
        """Nobody wants the result any more. Returns the replica where it is in flight, to abort it."""
        self._queued.discard(request_id)  # its heap entry is skipped when it comes up
        for name, replica in self._replicas.items():
            if replica.in_flight.pop(request_id, None) is not None:
                self._look.add(name)
                return name
        return None

    def in_flight(self, replica: str) -> int:
        return len(self._replicas[replica].in_flight) if replica in self._replicas else 0

    @property
    def queued(self) -> int:
        return len(self._queued)

    def _next(self, replica: str, me: _Replica) -> _Entry | None:
        """The most urgent of my queue and the shared one; if both are empty, of the longest other queue."""
        while True:
            self._forget_dropped(me.queue)
            self._forget_dropped(self._shared)
            if me.queue and (not self._shared or me.queue[0] < self._shared[0]):
                return heapq.heappop(me.queue)
            if not self._shared:
                break
            entry = heapq.heappop(self._shared)
            home = self._homes.get(entry[2].affinity, "")
            if home in (replica, "") or home not in self._replicas:
                return entry
            # Its siblings were bound to another replica since it was queued.
            heapq.heappush(self._replicas[home].queue, entry)
            self._look.add(home)
        others = [other for other in self._replicas.values() if other is not me and other.queue]
        for other in sorted(others, key=lambda other: len(other.queue), reverse=True):
            self._forget_dropped(other.queue)
            if other.queue and other.room <= 0:
                return heapq.heappop(other.queue)
        return None

    def _forget_dropped(self, heap: list[_Entry]) -> None:
        while heap and heap[0][2].id not in self._queued:
            heapq.heappop(heap)

    def _idlest(self) -> str | None:
        """The replica with the most room for its size, or None if all are full."""
        name, replica = max(
            self._replicas.items(), key=lambda item: item[1].room / item[1].capacity, default=("", None)
        )
        return name if replica is not None and replica.room > 0 else None
