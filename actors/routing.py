"""Which request goes to which replica, and when: a pure state machine, no clock and no I/O.

Work is bound to a replica late, when the replica has room. Requests that share a prefix (the same
``affinity``) prefer the replica that already holds it; a replica with room and nothing of its own to
do takes from the longest queue of another, since waiting there costs more than a prefill here.

What was in flight at a lost replica may be what killed it. At its second loss a request is a suspect: it goes
before others, and at most one suspect is in flight at a replica at a time. A replica that is lost while it
holds a suspect is that one's loss and nobody else's, so one request that kills its replicas does not take
those that travel with it along. (Several at once can still cost an innocent suspect a loss.)

Invariant: every request is queued once, or in flight at one replica, or gone, and then its id may come
again; a replica is never given more than its capacity, nor a second suspect; lost replicas' requests are
queued again, before younger ones.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field

from actors.messages import Request

HOMES = 100_000
"""How many affinities are remembered; the least recently used are forgotten first."""

SUSPECT = 2
"""Losses from which on a request is a suspect. One is chance: all that was in flight has it."""

_Entry = tuple[int, int, Request]  # (priority, arrival, request): a heap's order


@dataclass
class _Replica:
    name: str
    capacity: int
    queue: list[_Entry] = field(default_factory=list)
    in_flight: dict[str, _Entry] = field(default_factory=dict)
    suspect: str | None = None
    """The one in flight."""

    @property
    def room(self) -> int:
        return self.capacity - len(self.in_flight)

    @property
    def load(self) -> float:
        return len(self.in_flight) / self.capacity


class Router:
    """Queues and in-flight sets of one pool. No call but ``leave`` takes longer with more replicas, beyond
    the depth of a heap (and the choice among other replicas' queues)."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._shared: list[_Entry] = []
        self._suspects: list[_Entry] = []
        self._losses: dict[str, int] = {}  # by id, of what is queued or in flight
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._queued: dict[str, int] = {}  # by id the arrival: an id may come again once it is gone
        self._holder: dict[str, _Replica] = {}  # by the id of what is in flight
        self._behind: set[str] = set()  # replicas with a queue of their own
        self._loads: list[tuple[float, str]] = []  # a heap; entries that are no longer true are skipped
        self._known_loads: set[tuple[float, str]] = set()  # what is in it
        self._moved: set[str] = set()  # replicas whose load is another than when it was last put there
        self._look: set[str] = set()
        self._arrivals = itertools.count()

    def join(self, replica: str, capacity: int) -> None:
        """A replica is ready for work, at most ``capacity`` requests at a time."""
        if capacity < 1:
            raise ValueError(f"{replica}: capacity {capacity}; allowed: 1 or more")
        self._replicas[replica] = _Replica(replica, capacity)
        self._moved.add(replica)
        self._look.add(replica)

    def resize(self, replica: str, capacity: int) -> None:
        """From now on at most ``capacity`` at a time; what is in flight beyond that stays there."""
        me = self._replicas.get(replica)
        if me is None or capacity == me.capacity:
            return
        if capacity < 1:
            raise ValueError(f"{replica}: capacity {capacity}; allowed: 1 or more")
        me.capacity = capacity
        self._moved.add(replica)
        self._look.add(replica)

    @property
    def replicas(self) -> int:
        """How many can be had now."""
        return len(self._replicas)

    def has(self, replica: str) -> bool:
        return replica in self._replicas

    def leave(self, replica: str) -> list[str]:
        """A replica is lost: what was queued or in flight there is queued again for any other.
        Returns the ids that were in flight."""
        gone = self._replicas.pop(replica, None)
        if gone is None:
            return []
        self._behind.discard(replica)
        for entry in filter(self._is_queued, gone.queue):
            heapq.heappush(self._shared, entry)
        for id, entry in gone.in_flight.items():
            del self._holder[id]
            self._queued[id] = entry[1]
            if gone.suspect in (id, None):
                self._losses[id] = self.losses(id) + 1
            heapq.heappush(self._suspects if self.losses(id) >= SUSPECT else self._shared, entry)
        self._look.update(name for name, other in self._replicas.items() if other.room > 0)
        return list(gone.in_flight)

    def losses(self, request_id: str) -> int:
        """How many lost replicas are put down to a request that is queued or in flight."""
        return self._losses.get(request_id, 0)

    def drain_wakeups(self) -> set[str]:
        """The replicas that should ``take`` now: they may have both room and work. Asking clears it."""
        look, self._look = self._look, set()
        return look if self._queued else set()

    def put(self, request: Request) -> None:
        """Queue a request, whose id no other has that is queued or in flight."""
        entry = (request.priority, next(self._arrivals), request)
        self._queued[request.id] = entry[1]
        home = self._homes.get(request.affinity, "")
        if home in self._replicas:
            self._enqueue(home, entry)
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
        if me is None:
            return []
        taken: list[Request] = []
        for _ in range(me.room):
            entry = self._next_suspect(me) or self._next(replica, me)
            if entry is None:
                break
            request = entry[2]
            del self._queued[request.id]
            me.in_flight[request.id] = entry
            self._holder[request.id] = me
            if request.affinity and (not taken or request.affinity != taken[-1].affinity):
                self._is_home(replica, request.affinity)
            taken.append(request)
        if taken:
            self._moved.add(replica)
        if (me.queue or self._shared) and (idlest := self._idlest()) is not None:
            self._look.add(idlest)  # what I cannot hold is another's to take
        return taken

    def done(self, replica: str, request_id: str) -> bool:
        """A result came. False if this replica no longer owes it (aborted, or given to another)."""
        owner = self._replicas.get(replica)
        if owner is None or request_id not in owner.in_flight:
            return False
        self._end(request_id)
        return True

    def drop(self, request_id: str) -> str | None:
        """Nobody wants the result any more. Returns the replica where it is in flight, to abort it."""
        self._queued.pop(request_id, None)  # its heap entry is skipped when it comes up
        return self._end(request_id)

    def _end(self, request_id: str) -> str | None:
        """A request is gone. Returns the replica where it was in flight."""
        self._losses.pop(request_id, None)
        holder = self._holder.pop(request_id, None)
        if holder is None:
            return None
        del holder.in_flight[request_id]
        if holder.suspect == request_id:
            holder.suspect = None
        self._moved.add(holder.name)
        self._look.add(holder.name)
        return holder.name

    def in_flight(self, replica: str) -> int:
        return len(self._replicas[replica].in_flight) if replica in self._replicas else 0

    @property
    def queued(self) -> int:
        return len(self._queued)

    def _is_home(self, replica: str, affinity: str) -> None:
        self._homes[affinity] = replica
        self._homes.move_to_end(affinity)
        if len(self._homes) > HOMES:
            self._homes.popitem(last=False)

    def _next_suspect(self, me: _Replica) -> _Entry | None:
        """The most urgent suspect, for a replica that holds none."""
        if self._suspects:
            self._forget_dropped(self._suspects)
        if me.suspect is not None or not self._suspects:
            return None
        entry = heapq.heappop(self._suspects)
        me.suspect = entry[2].id
        return entry

    def _next(self, replica: str, me: _Replica) -> _Entry | None:
        """The most urgent of my queue and the shared one; if both are empty, of the longest other queue."""
        while True:
            if self._shared:
                self._forget_dropped(self._shared)
            if self._first(me) is not None and (not self._shared or me.queue[0] < self._shared[0]):
                return self._dequeue(me)
            if not self._shared:
                break
            entry = heapq.heappop(self._shared)
            home = self._homes.get(entry[2].affinity, "")
            if home in (replica, "") or home not in self._replicas:
                return entry
            # Its siblings were bound to another replica since it was queued.
            self._enqueue(home, entry)
            self._look.add(home)
        others = [self._replicas[name] for name in self._behind]
        for other in sorted(others, key=lambda other: (-len(other.queue), other.name)):
            if other.room <= 0 and self._first(other) is not None:
                return self._dequeue(other)
        return None

    def _enqueue(self, name: str, entry: _Entry) -> None:
        heapq.heappush(self._replicas[name].queue, entry)
        self._behind.add(name)

    def _dequeue(self, replica: _Replica) -> _Entry:
        entry = heapq.heappop(replica.queue)
        if not replica.queue:
            self._behind.discard(replica.name)
        return entry

    def _first(self, replica: _Replica) -> _Entry | None:
        self._forget_dropped(replica.queue)
        if not replica.queue:
            self._behind.discard(replica.name)
            return None
        return replica.queue[0]

    def _forget_dropped(self, heap: list[_Entry]) -> None:
        while heap and not self._is_queued(heap[0]):
            heapq.heappop(heap)

    def _is_queued(self, entry: _Entry) -> bool:
        """False for what was dropped, also where another request has its id since."""
        return self._queued.get(entry[2].id) == entry[1]

    def _idlest(self) -> str | None:
        """The replica with the most room for its size, or None if all are full."""
        for name in self._moved & self._replicas.keys():
            entry = (self._replicas[name].load, name)
            if entry not in self._known_loads:
                self._known_loads.add(entry)
                heapq.heappush(self._loads, entry)
        self._moved.clear()
        while self._loads:
            load, name = self._loads[0]
            replica = self._replicas.get(name)
            if replica is not None and replica.load == load:
                return name if replica.room > 0 else None
            self._known_loads.discard(heapq.heappop(self._loads))
        return None
