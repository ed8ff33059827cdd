"""The budget: reserve the worst case, dispatch, settle what was really used.

Invariant, at every instant and at every level: ``settled + reserved <= limit``. So a budget cannot
be overdrawn by any interleaving, failure or retry.

Reservations of one lease are decided strictly in the order they were asked for. A request that does
not fit waits until those before it have settled, and is refused only if it would not fit even then;
those behind it wait too. Whether the i-th request is granted is therefore a function of the amounts
alone (``amount_i <= limit - sum of what the granted ones before it settled to``) and never of which
one happened to finish first: this is what makes a run near exhaustion reproducible.

Pure state, no clock and no I/O; amounts are integers, in FLOPs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class BudgetExhausted(Exception):
    """A request does not fit in what is left of a lease, and never will."""

    def __init__(self, lease: str, amount: int, left: int) -> None:
        super().__init__(f"{lease}: {amount:,} FLOPs asked for, {left:,} left")
        self.lease = lease


class Reservation:
    """Funds held for one dispatched request. Settled in one or more parts, then closed once."""

    def __init__(self, lease: Lease, amount: int) -> None:
        self._lease = lease
        self.left = amount

    def settle(self, actual: int) -> None:
        """Turn ``actual`` FLOPs of the reservation into spent ones. Raises ValueError beyond it."""
        if not 0 <= actual <= self.left:
            raise ValueError(f"{self._lease.name}: cannot settle {actual:,} of {self.left:,} reserved FLOPs")
        self.left -= actual
        self._lease._move(actual, reserved=actual)

    def close(self) -> None:
        """Release what was not settled. Closing again does nothing."""
        left, self.left = self.left, 0
        self._lease._move(0, reserved=left)


Decide = Callable[["Reservation | None"], None]


class Lease:
    """A limit in FLOPs, spent through reservations; a lease may be cut into smaller leases."""

    def __init__(self, limit: int, name: str = "run", *, _held: Reservation | None = None) -> None:
        if limit < 0:
            raise ValueError(f"{name}: a limit cannot be negative ({limit:,} FLOPs)")
        self.name = name
        self.limit = limit
        self.settled = 0
        self.reserved = 0
        self.closed = False
        self._held = _held
        self._waiting: deque[tuple[int, Decide]] = deque()
        self._children: set[Lease] = set()

    @property
    def left(self) -> int:
        """FLOPs neither settled nor reserved."""
        return self.limit - self.settled - self.reserved

    @property
    def spent(self) -> int:
        """FLOPs settled here and in the open leases cut from this one."""
        return self.settled + sum(child.spent for child in self._children)

    def request(self, amount: int, decide: Decide) -> None:
        """Ask for ``amount`` FLOPs; ``decide`` is called once, now or later, with the reservation,
        or with None if it is refused."""
        if self.closed:
            raise RuntimeError(f"{self.name}: the lease is closed")
        if amount < 0:
            raise ValueError(f"{self.name}: cannot reserve a negative amount ({amount:,} FLOPs)")
        self._waiting.append((amount, decide))
        self._advance()

    def ask(self, amount: int) -> asyncio.Future[Reservation | None]:
        """``request`` as a future: the place in the order is taken now, the decision can be awaited.
        Cancel the future to give the place up."""
        decision: asyncio.Future[Reservation | None] = asyncio.get_running_loop().create_future()

        def decide(reservation: Reservation | None) -> None:
            if not decision.cancelled():
                decision.set_result(reservation)
            elif reservation is not None:
                reservation.close()

        self.request(amount, decide)
        return decision

    async def reserve(self, amount: int) -> Reservation:
        """Wait for ``amount`` FLOPs. Raises BudgetExhausted if they can never be had."""
        reservation = await self.ask(amount)
        if reservation is None:
            raise BudgetExhausted(self.name, amount, self.limit - self.settled)
        return reservation

    def lease(self, limit: int, name: str) -> Lease:
        """Cut a lease of ``limit`` FLOPs out of this one. Raises BudgetExhausted if it does not fit now."""
        if self._waiting or limit > self.left:
            raise BudgetExhausted(self.name, limit, self.left)
        self.reserved += limit
        child = Lease(limit, name, _held=Reservation(self, limit))
        self._children.add(child)
        return child

    def close(self) -> None:
        """Settle with the lease this one was cut from, and give back the rest."""
        if self.reserved or self._waiting:
            raise RuntimeError(f"{self.name}: closed while {self.reserved:,} FLOPs are still reserved")
        self.closed = True
        if self._held is not None:
            parent, held, self._held = self._held._lease, self._held, None
            parent._children.discard(self)
            held.settle(self.settled)
            held.close()

    def _move(self, settled: int, *, reserved: int) -> None:
        self.settled += settled
        self.reserved -= reserved
        self._advance()

    def _advance(self) -> None:
        while self._waiting:
            amount, decide = self._waiting[0]
            if amount <= self.left:
                self._waiting.popleft()
                self.reserved += amount
                decide(Reservation(self, amount))
            elif amount > self.limit - self.settled:
                self._waiting.popleft()
                decide(None)
            else:
                return
