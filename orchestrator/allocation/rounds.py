"""Leases that grow in rounds: every open problem waits for funds, then one decision, many grants.

A round begins when all open problems have run dry, so what it decides depends on what they found and never
on which of them was fastest: the same config and seed give the same grants for any number of replicas and
after a resume. The price is that a round ends with its slowest solution; a policy keeps the engines busy
by granting much at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import Price
from orchestrator.search.selection import Candidate


@dataclass(frozen=True, slots=True)
class Asking:
    """A problem that waits for funds, as a policy sees it: nothing of the ground truth.

    ``candidates``: its solutions so far, in the strategy's order. FLOPs: ``first`` for the next solution at
    most, and for what must be paid before it; ``each`` for every one after that; ``spent`` so far.
    """

    candidates: Sequence[Candidate]
    first: int
    each: int
    spent: int


Allocator = Callable[[Sequence[Asking], int], Sequence[int | None]]
"""From the problems that wait, and the FLOPs that are left for all of them, to the number of solutions
that each is now given funds for: 0 lets it wait; None ends it, since it needs no more; ``REFUSED`` ends it
for want of money. Their costs must not exceed what is left."""

REFUSED = -1


class Rounds:
    """Leases cut from ``budget``, one a problem, that grow by ``policy``.

    ``candidates(i)`` gives the solutions so far of the i-th problem that was opened. It may block: it is
    called in a thread.
    """

    def __init__(
        self, budget: Lease, policy: Allocator, candidates: Callable[[int], Sequence[Candidate]]
    ) -> None:
        self.held = 0
        """Number of rounds so far."""
        self.solved: set[int] = set()
        """Problems that the policy ended: nothing was refused them for want of money."""
        self._budget = budget
        self._policy = policy
        self._candidates = candidates
        self._problems: list[tuple[Lease, Price]] = []
        self._open: dict[int, None] = {}  # in the order in which they were opened
        self._running: set[int] = set()  # of those: not known to have run dry
        self._changed = asyncio.Event()

    def open(self, name: str, price: Price) -> Lease:
        """A lease of nothing, that grows until it is closed. ``price``: of the longest solution."""
        i = len(self._problems)
        lease = self._budget.lease(0, name, on_dry=partial(self._rest, i))
        self._problems.append((lease, price))
        self._open[i] = None
        self._running.add(i)
        return lease

    def close(self, problem: int) -> None:
        """Close a problem's lease: it takes part no more."""
        self._problems[problem][0].close()
        del self._open[problem]
        self._rest(problem)

    def to_dict(self) -> dict[str, int]:
        """For the summary."""
        return {"rounds": self.held, "solved": len(self.solved)}

    async def run(self) -> None:
        """Hold rounds until every lease is closed."""
        while self._open:
            if not self._running:  # after a round, or where what one waited for was withdrawn
                self._running.update(i for i in self._open if not self._problems[i][0].dry)
            if self._running:
                self._changed.clear()
                await self._changed.wait()
            else:
                await self._round(list(self._open))

    def _rest(self, problem: int) -> None:
        self._running.discard(problem)
        if not self._running:
            self._changed.set()

    async def _round(self, problems: Sequence[int]) -> None:
        self.held += 1
        asking = await asyncio.to_thread(lambda: [self._asking(i) for i in problems])
        grants = self._policy(asking, self._budget.left)
        self.solved |= {i for i, solutions in zip(problems, grants, strict=True) if solutions is None}
        if not any(grants):  # nobody's next solution can be paid
            grants = [None] * len(problems)
        for i, one, solutions in zip(problems, asking, grants, strict=True):
            lease = self._problems[i][0]
            if solutions is None or solutions == REFUSED:
                lease.end_growth()
            elif solutions and lease.dry:
                lease.extend(one.first + (solutions - 1) * one.each)

    def _asking(self, i: int) -> Asking:
        lease, price = self._problems[i]
        first = price.solution - lease.left + (0 if lease.settled else price.prompt)
        return Asking(self._candidates(i), max(lease.needed, first), price.solution, lease.settled)
