"""The router under any sequence of events: nothing lost, nothing twice, caps kept."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.messages import SampleRequest
from actors.routing import SUSPECT, Router

names = st.sampled_from(["r0", "r1", "r2"])


def request(id: str, affinity: str = "", priority: int = 0, seed: int = 0) -> SampleRequest:
    return SampleRequest(id, (1,), seed, 1, affinity=affinity, priority=priority)


class AnyEvents(RuleBasedStateMachine):
    """Requests, results, losses, returns and cancellations in any order; an id may come again when gone."""

    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.alive: set[str] = set()
        self.held: dict[str, set[str]] = {}
        self.room: dict[str, int] = {}
        self.owed: dict[str, SampleRequest] = {}
        self.losses: dict[str, int] = {}
        self.count = 0

    @rule(name=names)
    def join(self, name: str) -> None:
        if name not in self.alive:
            self.router.join(name, 3)
            self.alive.add(name)
            self.held[name] = set()
            self.room[name] = 3

    @rule(name=names, capacity=st.integers(1, 5))
    def resize(self, name: str, capacity: int) -> None:
        self.router.resize(name, capacity)
        if name in self.alive:
            self.room[name] = capacity

    @rule(name=names)
    def leave(self, name: str) -> None:
        suspects = self.suspects(name)
        lost = self.router.leave(name)
        assert set(lost) == self.held.pop(name, set())
        for id in suspects or lost:
            self.losses[id] += 1
        self.alive.discard(name)

    @rule(id=st.integers(0, 9), affinity=st.sampled_from(["", "x", "y"]), priority=st.integers(0, 2))
    def put(self, id: int, affinity: str, priority: int) -> None:
        self.count += 1
        if str(id) not in self.owed:
            self.owed[str(id)] = request(str(id), affinity, priority, seed=self.count)
            self.losses[str(id)] = 0
            self.router.put(self.owed[str(id)])

    def take(self, name: str) -> None:
        requests = self.router.take(name)
        taken = [r.id for r in requests]
        assert not taken or name in self.alive
        assert all(self.owed.get(r.id) is r for r in requests)
        assert not any(id in held for id in taken for held in self.held.values())
        if name in self.alive:
            self.held[name].update(taken)
            assert not taken or len(self.held[name]) <= self.room[name]

    @rule(name=names, data=st.data())
    def finish(self, name: str, data: st.DataObject) -> None:
        if self.held.get(name):
            id = data.draw(st.sampled_from(sorted(self.held[name])))
            assert self.router.done(name, id)
            assert not self.router.done(name, id)
            self.held[name].discard(id)
            del self.owed[id]

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.owed:
            id = data.draw(st.sampled_from(sorted(self.owed)))
            holder = self.router.drop(id)
            assert holder == next((name for name, held in self.held.items() if id in held), None)
            if holder is not None:
                self.held[holder].discard(id)
            del self.owed[id]

    @invariant()
    def the_idlest_has_the_most_room_for_its_size(self) -> None:
        idlest = self.router._idlest()
        if idlest is None:
            assert not any(map(self.has_room, self.held))
        else:
            assert self.has_room(idlest)
            assert self.load(idlest) == min(map(self.load, self.held))

    def load(self, name: str) -> float:
        return len(self.held[name]) / self.room[name]

    def has_room(self, name: str) -> bool:
        return len(self.held[name]) < self.room[name]

    def suspects(self, name: str) -> set[str]:
        return {id for id in self.held.get(name, ()) if self.losses[id] >= SUSPECT}

    @invariant()
    def a_replica_holds_one_suspect_and_a_loss_is_put_down_to_it(self) -> None:
        assert all(len(self.suspects(name)) <= 1 for name in self.held)
        assert all(self.router.losses(id) == self.losses[id] for id in self.owed)

    @invariant()
    def everything_owed_waits_or_runs(self) -> None:
        running = sum(map(len, self.held.values()))
        assert self.router.waiting == len(self.owed) - running

    @rule()
    def look(self) -> None:
        """Replicas look when they are told to, and only then: nobody with room sleeps over work."""
        while woken := self.router.drain_wakeups():
            for name in woken:
                self.take(name)
        if roomy := set(filter(self.has_room, self.held)):
            waiting = self.owed.keys() - set().union(*self.held.values())
            assert all(self.losses[id] >= SUSPECT for id in waiting)
            assert not waiting or all(map(self.suspects, roomy))

    def teardown(self) -> None:
        if not self.alive:
            self.join("r0")
        self.look()
        while any(self.held.values()):
            for name, held in self.held.items():
                for id in sorted(held):
                    self.finish_one(name, id)
            self.look()
        assert not self.owed

    def finish_one(self, name: str, id: str) -> None:
        assert self.router.done(name, id)
        self.held[name].discard(id)
        del self.owed[id]


TestAnyEvents = AnyEvents.TestCase


def test_a_dropped_requests_id_may_come_again_with_another_seed():
    router = Router()
    router.put(request("x", seed=1))
    router.drop("x")
    router.put(request("x", seed=2))
    router.join("a", 9)
    assert [r.seed for r in router.take("a")] == [2]


def test_a_problem_stays_where_its_prefix_is_until_that_replica_is_full():
    router = Router()
    router.join("a", 2)
    router.put(request("1", "x"))
    assert [r.id for r in router.take("a")] == ["1"]
    router.join("b", 2)
    router.put(request("2", "x"))
    router.put(request("3", "x"))
    assert router.take("b") == [], "a has room for its own problem"
    assert [r.id for r in router.take("a")] == ["2"]
    assert [r.id for r in router.take("b")] == ["3"], "a is full: a prefill elsewhere beats waiting"


def test_a_first_burst_of_unknown_affinities_wakes_every_replica():
    router = Router()
    for name in "ab":
        router.join(name, 4)
    router.drain_wakeups()
    for id in range(16):
        router.put(request(str(id), f"problem {id // 2}"))
    woken, taken = router.drain_wakeups(), {}
    while woken:
        for name in sorted(woken):
            taken[name] = len(router.take(name))
        woken = router.drain_wakeups() - set(taken)
    assert taken == {"a": 4, "b": 4}


def test_a_replica_without_work_is_told_when_another_has_more_than_it_can_hold():
    router = Router()
    router.join("a", 2)
    router.put(request("1", "x"))
    router.take("a")
    router.done("a", "1")
    router.join("b", 2)
    router.drain_wakeups()
    for id in "23456":
        router.put(request(id, "x"))
    assert router.drain_wakeups() == {"a"}, "it has room for its own problem"
    assert len(router.take("a")) == 2
    assert router.drain_wakeups() == {"b"}
    assert len(router.take("b")) == 2
    router.drain_wakeups()
    router.done("b", "4")
    assert router.drain_wakeups() == {"b"}
    assert [r.id for r in router.take("b")] == ["6"]


def test_lower_priority_numbers_go_first_and_ties_in_order_of_arrival():
    router = Router()
    router.join("a", 9)
    for id, priority in (("late", 1), ("first", 0), ("second", 0)):
        router.put(request(id, priority=priority))
    assert [r.id for r in router.take("a")] == ["first", "second", "late"]


def test_a_lost_replicas_requests_go_before_younger_ones():
    router = Router()
    router.join("a", 2)
    for id in "123":
        router.put(request(id))
    router.take("a")
    assert router.leave("a") == ["1", "2"]
    router.join("b", 9)
    assert [r.id for r in router.take("b")] == ["1", "2", "3"]


def test_a_request_that_kills_its_replicas_fails_alone_and_those_with_it_are_done():
    router = Router()
    router.put(request("killer"))
    for id in "123456":
        router.put(request(id))
    done, blamed = set(), []
    while router.waiting:
        router.join("a", 4)
        held = [r.id for r in router.take("a")]
        if "killer" in held:
            router.leave("a")
            blamed.append({id: router.losses(id) for id in held})
            if router.losses("killer") == 5:
                router.drop("killer")
        else:
            done.update(id for id in held if router.done("a", id))
    assert done == set("123456")
    assert [max(losses.values()) for losses in blamed] == [1, 2, 3, 4, 5]
    assert max(losses[id] for losses in blamed for id in losses.keys() - {"killer"}) == 2


def test_a_result_wakes_no_replica_while_nothing_waits():
    router = Router()
    router.join("a", 1)
    router.put(request("x"))
    assert router.drain_wakeups() == {"a"}
    router.take("a")
    router.done("a", "x")
    assert router.drain_wakeups() == set()
    router.put(request("y"))
    assert router.drain_wakeups() == {"a"}
    router.take("a")
    router.put(request("z"))
    router.done("a", "y")
    assert router.drain_wakeups() == {"a"}, "it has room for what waits"
