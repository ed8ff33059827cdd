"""The ledger: reserve the worst case, dispatch, settle what was really used.

At every instant and at every level ``settled + reserved <= limit``. So no interleaving, failure or retry
overdraws a budget.

A lease decides requests strictly in the order in which they are made. A request that does not fit waits until
those before it have settled, and is refused only if it does not fit even then; those behind it wait too. So
whether the i-th request is granted depends on the amounts alone (``amount_i <= limit - sum of what the
granted ones before it settled to``) and never on which one finishes first: a run near exhaustion is
reproducible.

The ledger reads no clock and does no I/O. Amounts are whole FLOPs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol


class BudgetExhausted(Exception):
    """A request does not fit in what is left of a lease, and never will.

    ``lease`` is the lease's name.
    """

    def __init__(self, lease: str, amount: int, left: int) -> None:
        super().__init__(f"{lease}: {amount:,} FLOPs asked for, {left:,} left")
        self.lease = lease


class Reservation:
    """Funds that are held for one request. They are settled in one or more parts, then closed once.

    ``left`` is the FLOPs that are still held.
    """

    __slots__ = ("_lease", "left")

    def __init__(self, lease: Lease, amount: int) -> None:
        self._lease = lease
        self.left = amount

    def settle(self, actual: int) -> None:
        """Marks ``actual`` FLOPs of the reservation as spent. Raises ValueError if it holds fewer."""
        if not 0 <= actual <= self.left:
            raise ValueError(f"{self._lease.name}: cannot settle {actual:,} of {self.left:,} reserved FLOPs")
        self._lease._spend(actual)
        self._settle(actual)

    def _settle(self, actual: int) -> None:
        self.left -= actual
        self._lease._move(actual, reserved=actual)

    def close(self) -> None:
        """Releases what was not settled. Closing again does nothing."""
        left, self.left = self.left, 0
        self._lease._move(0, reserved=left)


Decide = Callable[["Reservation | None"], None]


class Requests(Protocol):
    """Requests that keep one place in a lease's order, and are decided one after the other."""

    def amount(self) -> int | None:
        """Returns the FLOPs of the next request; None where there is none, or the place is given up."""

    def granted(self, reservation: Reservation) -> None:
        """Is told that the next request is granted."""

    def refuse(self) -> None:
        """Is told that the next request does not fit, and never will."""


class _Single:
    """One request. ``decide`` is called once, with the reservation, or with None if it is refused."""

    __slots__ = ("_amount", "_decide", "_withdrawn")

    def __init__(self, amount: int, decide: Decide, withdrawn: Callable[[], bool]) -> None:
        self._amount: int | None = amount
        self._decide = decide
        self._withdrawn = withdrawn

    def amount(self) -> int | None:
        return None if self._withdrawn() else self._amount

    def granted(self, reservation: Reservation | None) -> None:
        self._amount = None
        self._decide(reservation)

    def refuse(self) -> None:
        self.granted(None)


def _never() -> bool:
    return False


class Lease:
    """A limit in FLOPs that is spent through reservations, and may be cut into smaller leases.

    A lease with ``on_dry`` grows: ``on_dry`` is called when the lease runs dry (see ``dry``), and again for
    each new request that finds it dry. It may raise the limit or end the growth at once, or somebody does so
    later. While a lease grows, what its requests release goes back to the lease it was cut from, unless it
    ``keeps`` that, as a share of its own that is only added to.

    ``limit``, ``settled`` and ``reserved`` are FLOPs; leases cut from this one count as reserved until they
    close.
    """

    def __init__(
        self,
        limit: int,
        name: str = "run",
        *,
        on_dry: Callable[[], None] | None = None,
        keeps: bool = False,
        _held: Reservation | None = None,
    ) -> None:
        if limit < 0:
            raise ValueError(f"{name}: a limit cannot be negative ({limit:,} FLOPs)")
        self.name = name
        self.limit = limit
        self.settled = 0
        self.reserved = 0
        self.spent = 0
        """FLOPs that are settled here and in the open leases that were cut from this one."""
        self.closed = False
        self._on_dry = on_dry
        self._keeps = keeps
        self._held = _held
        self._waiting: deque[Requests] = deque()
        self._advancing = False
        self._last: asyncio.Future[int] | None = None

    @property
    def left(self) -> int:
        """FLOPs that are neither settled nor reserved."""
        return self.limit - self.settled - self.reserved

    @property
    def dry(self) -> bool:
        """True if the lease grows, has nothing reserved, and either its next request does not fit or a call
        waits for its last growth."""
        return self._on_dry is not None and not self.reserved and (self.needed > 0 or self._awaits_last)

    @property
    def _awaits_last(self) -> bool:
        return self._last is not None and not self._last.done()

    @property
    def needed(self) -> int:
        """FLOPs by which the limit must rise to pay for the next request that waits; 0 if none waits."""
        amount = self._next()
        return 0 if amount is None else max(0, amount - self.left)

    def request(self, amount: int, decide: Decide, withdrawn: Callable[[], bool] = _never) -> None:
        """Asks for ``amount`` FLOPs. ``decide`` is called once, now or later, with the reservation, or with
        None if it is refused; it may not be called at all once ``withdrawn()`` is true."""
        if amount < 0:
            raise ValueError(f"{self.name}: cannot reserve a negative amount ({amount:,} FLOPs)")
        self.request_all(_Single(amount, decide, withdrawn))

    def grant(self, amount: int) -> Reservation | None:
        """Reserves ``amount`` FLOPs at once. Returns None where they do not fit now, or another request
        waits."""
        if self.closed or amount > self.left or self._next() is not None:
            return None
        self.reserved += amount
        return Reservation(self, amount)

    def request_all(self, requests: Requests) -> None:
        """Takes a place in the order for several requests. Each is decided, now or later, when those before
        it are; only the next one of them waits. Raises RuntimeError if the lease is closed."""
        if self.closed:
            raise RuntimeError(f"{self.name}: the lease is closed")
        self._waiting.append(requests)
        self._advance()

    def forgo(self) -> None:
        """Looks who is next, after a place in the order was given up."""
        self._advance()

    def lease(
        self, limit: int, name: str, *, on_dry: Callable[[], None] | None = None, keeps: bool = False
    ) -> Lease:
        """Cuts a lease of ``limit`` FLOPs out of this one. Raises BudgetExhausted if it does not fit now."""
        self._cut(limit)
        return Lease(limit, name, on_dry=on_dry, keeps=keeps, _held=Reservation(self, limit))

    def extend(self, amount: int) -> None:
        """Raises the limit by ``amount`` FLOPs, taken from the lease that this one was cut from. Raises
        BudgetExhausted if they do not fit there now."""
        if self._held is None:
            raise ValueError(f"{self.name}: only an open lease that was cut from another can be extended")
        if amount < 0:
            raise ValueError(f"{self.name}: cannot be extended by a negative amount ({amount:,} FLOPs)")
        self._held._lease._cut(amount)
        self._held.left += amount
        self.limit += amount
        if self._awaits_last:
            self._end_growth(amount)
        self._advance()

    async def last_growth(self) -> int:
        """Waits for the next growth of a lease that grows, which is then its last, and returns its FLOPs; 0
        if there is none. For a lease that does not grow, or keeps what it has, it returns what is left, at
        once. Raises RuntimeError if another call waits: two callers would each spend the same FLOPs."""
        if self._on_dry is None or self._keeps:
            return self.left
        if self._awaits_last:
            raise RuntimeError(f"{self.name}: another call waits for the last growth already")
        self._last = asyncio.get_running_loop().create_future()
        self._advance()
        return await self._last

    def end_growth(self) -> None:
        """Ends the growth: from now on, requests that do not fit are refused."""
        self._end_growth(0)
        self._advance()

    def _end_growth(self, last: int) -> None:
        self._on_dry = None
        if self._last is not None and not self._last.done():
            self._last.set_result(last)

    def close(self) -> None:
        """Settles with the lease that this one was cut from, and gives back the rest. Raises RuntimeError
        while funds are reserved or a request waits."""
        if self.reserved or self._next() is not None:
            raise RuntimeError(f"{self.name}: closed while {self.reserved:,} FLOPs are still reserved")
        self.closed = True
        if self._held is not None:
            held, self._held = self._held, None
            held._settle(self.settled)  # `spent` counts it there already
            held.close()

    def _cut(self, amount: int) -> None:
        if amount > self.left or self._next() is not None:
            raise BudgetExhausted(self.name, amount, self.left)
        self.reserved += amount

    def _spend(self, amount: int) -> None:
        lease: Lease | None = self
        while lease is not None:
            lease.spent += amount
            lease = None if lease._held is None else lease._held._lease

    def _move(self, settled: int, *, reserved: int) -> None:
        self.settled += settled
        self.reserved -= reserved
        if self._on_dry is not None and self._held is not None and not self._keeps:
            released = reserved - settled
            self.limit -= released
            self._held.left -= released
            self._held._lease._move(0, reserved=released)
        if self._waiting or self._on_dry is not None:
            self._advance()

    def _next(self) -> int | None:
        """The FLOPs of the next request; None where none waits."""
        while self._waiting:
            if (amount := self._waiting[0].amount()) is not None:
                return amount
            self._waiting.popleft()
        return None

    def _advance(self) -> None:
        """Decides what can be decided. What is told of a decision may settle or ask: that waits its turn."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._decide_next():
                pass
        finally:
            self._advancing = False

    def _decide_next(self) -> bool:
        """Decides the next request. Returns False where it has to wait, or there is none."""
        amount = self._next()
        if amount is None:
            if self._on_dry is not None and self._awaits_last and not self.reserved:
                self._on_dry()
            return False
        if amount <= self.left:
            self.reserved += amount
            self._waiting[0].granted(Reservation(self, amount))
            return True
        if amount <= self.limit - self.settled:
            return False
        if self._on_dry is None:
            self._waiting[0].refuse()
            return True
        if self.reserved:
            return False
        self._on_dry()
        return self._on_dry is None or amount <= self.left
