"""The ledger's invariant under any interleaving, and its order of decisions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.budget.ledger import BudgetExhausted, Lease, Reservation
from tests.support.asked import ask

amounts = st.integers(0, 60)


class Interleavings(RuleBasedStateMachine):
    """Requests, settlements and releases, on two leases of one run, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.run_ = Lease(150)
        self.leases = [self.run_.lease(limit, name) for limit, name in ((70, "a"), (80, "b"))]
        self.held: list[Reservation] = []
        self.paid = 0

    @rule(which=st.integers(0, 1), amount=amounts)
    def ask(self, which: int, amount: int) -> None:
        self.leases[which].request(amount, lambda granted: granted and self.held.append(granted))

    @rule(data=st.data())
    def settle_part(self, data: st.DataObject) -> None:
        if self.held:
            reservation = self.held[data.draw(st.integers(0, len(self.held) - 1))]
            actual = data.draw(st.integers(0, reservation.left))
            reservation.settle(actual)
            self.paid += actual

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if self.held:
            self.held.pop(data.draw(st.integers(0, len(self.held) - 1))).close()

    @invariant()
    def never_overdrawn_at_any_level(self) -> None:
        for lease in (self.run_, *self.leases):
            assert lease.settled >= 0
            assert lease.reserved >= 0
            assert lease.settled + lease.reserved <= lease.limit

    @invariant()
    def what_is_held_is_what_is_reserved(self) -> None:
        assert sum(r.left for r in self.held) == sum(lease.reserved for lease in self.leases)

    @invariant()
    def what_was_paid_is_what_was_spent(self) -> None:
        assert self.run_.spent == self.paid

    def teardown(self) -> None:
        while self.held:
            self.held.pop().close()
        for lease in self.leases:
            lease.close()
        assert (self.run_.settled, self.run_.reserved) == (self.paid, 0)


class GrowingInterleavings(Interleavings):
    """The same where the leases start with nothing and grow while they are dry."""

    def __init__(self) -> None:
        super().__init__()
        for lease in self.leases:
            lease.close()
        self.leases = [self.run_.lease(0, name, on_dry=self.signal) for name in "ab"]
        self.signals = 0

    def signal(self) -> None:
        self.signals += 1

    @rule(which=st.integers(0, 1), spare=amounts)
    def extend(self, which: int, spare: int) -> None:
        lease = self.leases[which]
        if lease.dry:
            assert self.signals
            assert lease.reserved == 0
            needed = lease.needed
            if needed + spare > self.run_.left:
                with pytest.raises(BudgetExhausted):
                    lease.extend(needed + spare)
            else:
                lease.extend(needed + spare)

    @rule(which=st.integers(0, 1))
    def end_growth(self, which: int) -> None:
        self.leases[which].end_growth()

    def teardown(self) -> None:
        for lease in self.leases:
            lease.end_growth()
        super().teardown()


TestInterleavings = Interleavings.TestCase
TestGrowingInterleavings = GrowingInterleavings.TestCase


@dataclass(frozen=True)
class Work:
    worst: int
    actual: int


works = st.lists(
    st.integers(0, 40).flatmap(lambda worst: st.builds(Work, st.just(worst), st.integers(0, worst))),
    max_size=12,
)


@settings(max_examples=150)
@given(works=works, limit=st.integers(0, 120), finishing=st.randoms(use_true_random=False))
def test_who_is_granted_does_not_depend_on_who_finishes_first(works, limit, finishing):
    lease, left, expected = Lease(limit), limit, []
    for work in works:
        expected.append(work.worst <= left)
        left -= work.actual if expected[-1] else 0

    decided: dict[int, Reservation | None] = {}
    for index, work in enumerate(works):
        lease.request(work.worst, lambda granted, index=index: decided.__setitem__(index, granted))
    running: list[int] = []
    seen: set[int] = set()
    while len(seen) < len(works) or running:
        fresh = [i for i in decided if i not in seen]
        seen.update(fresh)
        running += [i for i in fresh if decided[i] is not None]
        if running:
            index = running.pop(finishing.randrange(len(running)))
            decided[index].settle(works[index].actual)
            decided[index].close()
    assert [decided[i] is not None for i in range(len(works))] == expected


@settings(max_examples=150)
@given(
    works=works,
    tranches=st.lists(st.integers(0, 40), max_size=8),
    finishing=st.randoms(use_true_random=False),
)
def test_a_growing_lease_decides_by_what_was_granted_and_not_by_who_finishes_first(
    works, tranches, finishing
):
    # Alone: each request waits for all before it, so nothing can be decided by timing. What a request
    # does not need goes back to the run as long as the lease grows, and stays once it does not.
    left, more, grows, expected = 0, list(tranches), True, []
    for work in works:
        while work.worst > left and grows:
            if more:
                left = max(work.worst, left + more.pop(0))
            else:
                grows = False
        expected.append(work.worst <= left)
        left -= (work.worst if grows else work.actual) if expected[-1] else 0

    more, decided = list(tranches), {}
    run = Lease(10**6)
    lease = run.lease(0, "p", on_dry=lambda: None)
    for index, work in enumerate(works):
        lease.request(work.worst, lambda granted, index=index: decided.__setitem__(index, granted))
    running: list[int] = []
    seen: set[int] = set()
    while len(seen) < len(works) or running:
        if lease.dry:
            if more:
                lease.extend(max(lease.needed, more.pop(0)))
            else:
                lease.end_growth()
        fresh = [i for i in decided if i not in seen]
        seen.update(fresh)
        running += [i for i in fresh if decided[i] is not None]
        if running:
            index = running.pop(finishing.randrange(len(running)))
            decided[index].settle(works[index].actual)
            decided[index].close()
    assert [decided[i] is not None for i in range(len(works))] == expected


def test_a_lease_that_grows_asks_only_once_nothing_is_reserved_and_gives_back_the_rest():
    run, asked = Lease(100), []
    lease = run.lease(10, "p", on_dry=lambda: asked.append(lease.needed))
    granted: list[Reservation | None] = []
    for amount in (8, 30):
        lease.request(amount, granted.append)
    assert (len(granted), asked) == (1, [])  # 30 cannot fit, but what the 8 pay for is not known yet
    granted[0].settle(3)
    assert asked == []
    granted[0].close()
    assert asked == [28]
    lease.extend(lease.needed)
    granted[1].settle(20)
    granted[1].close()
    assert (lease.limit, run.left) == (23, 77)
    lease.close()
    assert (run.settled, run.reserved) == (23, 0)


def test_a_request_that_was_withdrawn_asks_for_no_funds():
    run = Lease(100)
    lease = run.lease(0, "p", on_dry=lambda: None)
    gone: list[bool] = []
    lease.request(10, lambda granted: None, lambda: bool(gone))
    assert lease.dry
    gone.append(True)
    assert not lease.dry
    lease.close()


def test_settling_more_than_reserved_is_refused():
    lease = Lease(10)
    granted: list[Reservation | None] = []
    lease.request(5, granted.append)
    with pytest.raises(ValueError, match="cannot settle 6 of 5"):
        granted[0].settle(6)


def test_a_lease_that_does_not_fit_is_refused_and_a_closed_one_gives_back_the_rest():
    run = Lease(100)
    first = run.lease(70, "first")
    with pytest.raises(BudgetExhausted, match="run: 40 FLOPs asked for, 30 left"):
        run.lease(40, "second")
    granted: list[Reservation | None] = []
    first.request(50, granted.append)
    granted[0].settle(20)
    with pytest.raises(RuntimeError, match="still reserved"):
        first.close()
    granted[0].close()
    first.close()
    assert (run.settled, run.reserved, run.left) == (20, 0, 80)


async def test_a_request_waits_for_a_release_and_is_refused_only_when_it_can_never_fit():
    lease = Lease(10)
    held = await ask(lease, 8)
    waiting = ask(lease, 5)
    assert not waiting.done()
    held.settle(3)
    held.close()
    second = await waiting
    second.settle(5)
    assert await ask(lease, 3) is None


async def test_a_cancelled_request_holds_nothing_back():
    lease = Lease(10)
    held = await ask(lease, 10)
    gone, next_ = ask(lease, 10), ask(lease, 4)
    gone.cancel()
    held.close()
    assert (await next_) is not None
    assert lease.reserved == 4


async def test_a_request_comes_before_none_that_waits_and_none_is_negative():
    lease = Lease(10)
    held = await ask(lease, 8)
    waiting, behind = ask(lease, 5), ask(lease, 1)
    assert not behind.done()  # it would fit, but another asked first
    held.close()
    assert (await waiting, await behind) != (None, None)
    assert lease.left == 4
    with pytest.raises(ValueError, match="negative"):
        ask(lease, -1)


async def test_what_is_granted_at_once_fits_now_and_overtakes_no_request():
    lease = Lease(10)
    held = lease.grant(8)
    assert held is not None
    assert lease.grant(3) is None
    waiting = ask(lease, 5)
    assert lease.grant(1) is None
    held.close()
    await waiting
    assert lease.grant(5) is not None
    assert lease.left == 0


class Several:
    """The i-th request is for ``amounts[i]``; a refusal gives up those after it of the same amount."""

    def __init__(self, amounts: list[int], decide) -> None:
        self.amounts, self.decide, self.next = amounts, decide, 0

    def amount(self) -> int | None:
        return self.amounts[self.next] if self.next < len(self.amounts) else None

    def granted(self, reservation: Reservation) -> None:
        self.next += 1
        self.decide(self.next - 1, reservation)

    def refuse(self) -> None:
        amount = self.amount()
        while self.amount() == amount:
            self.next += 1
            self.decide(self.next - 1, None)


@settings(max_examples=150)
@given(
    calls=st.lists(works, max_size=4),
    limit=st.integers(0, 120),
    together=st.booleans(),
    finishing=st.randoms(use_true_random=False),
)
def test_requests_of_one_place_in_the_order_are_decided_as_if_each_had_its_own(
    calls, limit, together, finishing
):
    works_ = [work for call in calls for work in call]
    left, expected = limit, []
    for work in works_:
        expected.append(work.worst <= left)
        left -= work.actual if expected[-1] else 0
    lease, decided, begin = Lease(limit), {}, 0
    for call in calls:

        def decide(index: int, reservation: Reservation | None, begin: int = begin) -> None:
            decided[begin + index] = reservation
            if reservation is not None and together:  # settled within the call that grants it
                reservation.settle(works_[begin + index].actual)
                reservation.close()

        lease.request_all(Several([work.worst for work in call], decide))
        begin += len(call)
    while not together and (held := [i for i, each in decided.items() if each is not None and each.left]):
        index = held[finishing.randrange(len(held))]
        decided[index].settle(works_[index].actual)
        decided[index].close()
    assert [decided[i] is not None for i in range(len(works_))] == expected


async def test_the_last_growth_is_waited_for_by_one_call():
    lease = Lease(100).lease(0, "p", on_dry=lambda: None)
    first = asyncio.create_task(lease.last_growth())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="p: another call waits for the last growth"):
        await asyncio.wait_for(lease.last_growth(), 1)
    lease.extend(30)
    assert await asyncio.wait_for(first, 1) == 30
    assert await lease.last_growth() == 30  # it grows no more: what is left


async def test_a_call_that_gave_up_waiting_for_the_last_growth_leaves_it_to_the_next():
    lease = Lease(100).lease(0, "p", on_dry=lambda: None)
    first = asyncio.create_task(lease.last_growth())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not lease.dry
    second = asyncio.create_task(lease.last_growth())
    await asyncio.sleep(0)
    assert lease.dry
    lease.end_growth()
    assert await asyncio.wait_for(second, 1) == 0
