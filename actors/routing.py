"""Decides which request goes to which replica, and when: a pure state machine, no clock and no I/O.

A request waits until a replica has room, and runs at one replica from then on. Requests that share a prefix
(the same ``affinity``) prefer the replica that already holds it. A replica with room and no request of its
own takes from the longest queue of a full one, since waiting there costs more than a prefill here.

A request that ran at a lost replica may be what killed it. At its second loss it is a suspect: it goes before
others, and at most one suspect runs at a replica at a time. A replica that is lost while it runs a suspect is
counted as that request's loss and no other's, so one request that kills its replicas does not take those that
run beside it along. (Several such requests at once can still cost an innocent suspect a loss.)

Invariant: every request waits, or runs at one replica, or is gone, and then its id may come again; a replica
is never given more than its capacity, nor a second suspect; a lost replica's requests wait again, before
younger ones.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field

from actors.messages import Request

HOMES = 100_000
"""The number of affinities whose replica is remembered; the least recently used is forgotten first."""

SUSPECT = 2
"""The losses that make a request a suspect. One is chance: all that ran at the lost replica has it."""

_Entry = tuple[int, int, Request]  # (priority, arrival, request), in the order of a heap


@dataclass
class _Replica:
    name: str
    capacity: int
    queue: list[_Entry] = field(default_factory=list)
    running: dict[str, _Entry] = field(default_factory=dict)
    suspect: str | None = None
    """The id of the suspect that runs here."""

    @property
    def room(self) -> int:
        return self.capacity - len(self.running)

    @property
    def load(self) -> float:
        return len(self.running) / self.capacity


class Router:
    """Holds the waiting and running requests of one pool.

    No call but ``leave`` takes longer with more replicas, beyond the depth of a heap and the choice among
    other replicas' queues.
    """

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._shared: list[_Entry] = []
        self._suspects: list[_Entry] = []
        self._losses: dict[str, int] = {}  # by id, of requests that wait or run
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, int] = {}  # id -> arrival; an id may come again once it is gone
        self._runs_at: dict[str, _Replica] = {}  # by the request's id
        self._with_queue: set[str] = set()  # replicas with a queue of their own
        self._loads: list[tuple[float, str]] = []  # a heap; entries that are no longer true are skipped
        self._known_loads: set[tuple[float, str]] = set()  # the entries of that heap
        self._load_changed: set[str] = set()  # replicas whose load the heap does not have yet
        self._wakeups: set[str] = set()
        self._arrivals = itertools.count()

    def join(self, replica: str, capacity: int) -> None:
        """Adds a replica that runs at most ``capacity`` requests at a time."""
        if capacity < 1:
            raise ValueError(f"{replica}: capacity {capacity}; allowed: 1 or more")
        self._replicas[replica] = _Replica(replica, capacity)
        self._load_changed.add(replica)
        self._wakeups.add(replica)

    def resize(self, replica: str, capacity: int) -> None:
        """Sets the replica's capacity. Requests that run beyond it stay there."""
        state = self._replicas.get(replica)
        if state is None or capacity == state.capacity:
            return
        if capacity < 1:
            raise ValueError(f"{replica}: capacity {capacity}; allowed: 1 or more")
        state.capacity = capacity
        self._load_changed.add(replica)
        self._wakeups.add(replica)

    @property
    def replicas(self) -> int:
        """The number of replicas that can be given requests now."""
        return len(self._replicas)

    def has(self, replica: str) -> bool:
        """Returns True if the replica can be given requests now."""
        return replica in self._replicas

    def leave(self, replica: str) -> list[str]:
        """Removes a lost replica; its requests wait again, for any other. Returns the ids that ran there."""
        gone = self._replicas.pop(replica, None)
        if gone is None:
            return []
        self._with_queue.discard(replica)
        for entry in filter(self._is_waiting, gone.queue):
            heapq.heappush(self._shared, entry)
        for id, entry in gone.running.items():
            del self._runs_at[id]
            self._waiting[id] = entry[1]
            if gone.suspect in (id, None):
                self._losses[id] = self.losses(id) + 1
            heapq.heappush(self._suspects if self.losses(id) >= SUSPECT else self._shared, entry)
        self._wakeups.update(name for name, other in self._replicas.items() if other.room > 0)
        return list(gone.running)

    def losses(self, request_id: str) -> int:
        """Returns the number of lost replicas that are counted against a request that waits or runs."""
        return self._losses.get(request_id, 0)

    def drain_wakeups(self) -> set[str]:
        """Returns the replicas that should ``take`` now, and clears them: they may have room and work."""
        wakeups, self._wakeups = self._wakeups, set()
        return wakeups if self._waiting else set()

    def put(self, request: Request) -> None:
        """Adds a waiting request. No request that waits or runs may have the same id."""
        entry = (request.priority, next(self._arrivals), request)
        self._waiting[request.id] = entry[1]
        home = self._homes.get(request.affinity, "")
        if home in self._replicas:
            self._enqueue(home, entry)
            if self._replicas[home].room > 0:
                self._wakeups.add(home)
                return
        else:
            heapq.heappush(self._shared, entry)
        if (idlest := self._idlest()) is not None:
            self._wakeups.add(idlest)

    def take(self, replica: str) -> list[Request]:
        """Returns the requests that the replica runs from now on: as many as it has room for."""
        state = self._replicas.get(replica)
        if state is None:
            return []
        taken: list[Request] = []
        for _ in range(state.room):
            entry = self._next_suspect(state) or self._next(replica, state)
            if entry is None:
                break
            request = entry[2]
            del self._waiting[request.id]
            state.running[request.id] = entry
            self._runs_at[request.id] = state
            if request.affinity and (not taken or request.affinity != taken[-1].affinity):
                self._set_home(replica, request.affinity)
            taken.append(request)
        if taken:
            self._load_changed.add(replica)
        if (state.queue or self._shared) and (idlest := self._idlest()) is not None:
            self._wakeups.add(idlest)  # another may take what this one has no room for
        return taken

    def done(self, replica: str, request_id: str) -> bool:
        """Ends a request that has its result. Returns False if it no longer runs at this replica."""
        owner = self._replicas.get(replica)
        if owner is None or request_id not in owner.running:
            return False
        self._end(request_id)
        return True

    def drop(self, request_id: str) -> str | None:
        """Removes a request that nobody wants any more. Returns the replica where it is to be aborted."""
        self._waiting.pop(request_id, None)  # the entry in its heap is skipped later
        return self._end(request_id)

    def _end(self, request_id: str) -> str | None:
        """Removes a running request. Returns the replica where it ran."""
        self._losses.pop(request_id, None)
        holder = self._runs_at.pop(request_id, None)
        if holder is None:
            return None
        del holder.running[request_id]
        if holder.suspect == request_id:
            holder.suspect = None
        self._load_changed.add(holder.name)
        self._wakeups.add(holder.name)
        return holder.name

    def running(self, replica: str) -> int:
        """Returns the number of requests that run at a replica."""
        return len(self._replicas[replica].running) if replica in self._replicas else 0

    @property
    def all_running(self) -> int:
        """The number of requests that run, at any replica."""
        return len(self._runs_at)

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return len(self._waiting)

    def _set_home(self, replica: str, affinity: str) -> None:
        self._homes[affinity] = replica
        self._homes.move_to_end(affinity)
        if len(self._homes) > HOMES:
            self._homes.popitem(last=False)

    def _next_suspect(self, state: _Replica) -> _Entry | None:
        """Returns the most urgent suspect, for a replica that runs none."""
        if self._suspects:
            self._forget_dropped(self._suspects)
        if state.suspect is not None or not self._suspects:
            return None
        entry = heapq.heappop(self._suspects)
        state.suspect = entry[2].id
        return entry

    def _next(self, replica: str, state: _Replica) -> _Entry | None:
        """Takes the most urgent entry of the replica's queue and the shared one, else of another's queue."""
        while True:
            if self._shared:
                self._forget_dropped(self._shared)
            if self._first(state) is not None and (not self._shared or state.queue[0] < self._shared[0]):
                return self._dequeue(state)
            if not self._shared:
                break
            entry = heapq.heappop(self._shared)
            home = self._homes.get(entry[2].affinity, "")
            if home in (replica, "") or home not in self._replicas:
                return entry
            # A request with the same affinity went to another replica in the meantime.
            self._enqueue(home, entry)
            self._wakeups.add(home)
        others = [self._replicas[name] for name in self._with_queue]
        for other in sorted(others, key=lambda other: (-len(other.queue), other.name)):
            if other.room <= 0 and self._first(other) is not None:
                return self._dequeue(other)
        return None

    def _enqueue(self, name: str, entry: _Entry) -> None:
        heapq.heappush(self._replicas[name].queue, entry)
        self._with_queue.add(name)

    def _dequeue(self, replica: _Replica) -> _Entry:
        entry = heapq.heappop(replica.queue)
        if not replica.queue:
            self._with_queue.discard(replica.name)
        return entry

    def _first(self, replica: _Replica) -> _Entry | None:
        self._forget_dropped(replica.queue)
        if not replica.queue:
            self._with_queue.discard(replica.name)
            return None
        return replica.queue[0]

    def _forget_dropped(self, heap: list[_Entry]) -> None:
        while heap and not self._is_waiting(heap[0]):
            heapq.heappop(heap)

    def _is_waiting(self, entry: _Entry) -> bool:
        """Returns False for a dropped request, also if another request has its id by now."""
        return self._waiting.get(entry[2].id) == entry[1]

    def _idlest(self) -> str | None:
        """Returns the replica with the smallest share of its capacity in use, or None if all are full."""
        for name in self._load_changed & self._replicas.keys():
            entry = (self._replicas[name].load, name)
            if entry not in self._known_loads:
                self._known_loads.add(entry)
                heapq.heappush(self._loads, entry)
        self._load_changed.clear()
        while self._loads:
            load, name = self._loads[0]
            replica = self._replicas.get(name)
            if replica is not None and replica.load == load:
                return name if replica.room > 0 else None
            self._known_loads.discard(heapq.heappop(self._loads))
        return None
