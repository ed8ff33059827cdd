"""Leases that grow in rounds: every open problem waits for funds, then one decision grants to many.

A round begins when all open problems have run dry, so its decision depends on what they found and never on
which of them was fastest: the same configuration and seed give the same grants for any number of replicas and
after a resume. The price is that a round ends with its slowest solution; an allocator keeps the engines busy
by granting much at once."""

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
    """A problem that waits for funds, as an allocator sees it: without the ground truth."""

    candidates: Sequence[Candidate]
    """Its solutions so far, in the strategy's order."""
    first: int
    """The most FLOPs that its next solution costs, with what must be paid before it."""
    each: int
    """The most FLOPs that each further solution costs."""
    spent: int
    """FLOPs charged so far."""


Allocator = Callable[[Sequence[Asking], int], Sequence[int | None]]
"""Decides a round. It gets the problems that wait and the FLOPs that are left for all of them, and returns
for each problem the number of solutions to give funds for: 0 lets it wait, None ends it because it needs no
more, ``REFUSED`` ends it because there is no money for it. What it gives must not cost more than what is
left."""

REFUSED = -1


class Rounds:
    """Cuts a lease for each problem out of ``budget``, and lets them grow as ``allocator`` decides.

    ``candidates(i)`` takes a snapshot of the i-th problem's solutions, in the event loop's thread, and
    returns a function that reads their answers and scores. That function may block, so it is called in
    another thread."""

    def __init__(
        self,
        budget: Lease,
        allocator: Allocator,
        candidates: Callable[[int], Callable[[], Sequence[Candidate]]],
    ) -> None:
        self.held = 0
        """Number of rounds so far."""
        self.solved: set[int] = set()
        """Problems that the allocator ended because they need no more."""
        self._budget = budget
        self._allocator = allocator
        self._candidates = candidates
        self._problems: list[tuple[Lease, Price]] = []
        self._open: dict[int, None] = {}
        """The problems whose lease is not closed, in the order in which they were opened."""
        self._running: set[int] = set()
        """Those of ``_open`` that are not known to have run dry."""
        self._changed = asyncio.Event()

    def open(self, name: str, price: Price) -> Lease:
        """Returns a lease of 0 FLOPs that grows until it is closed. ``price`` is that of the longest
        solution."""
        i = len(self._problems)
        lease = self._budget.lease(0, name, on_dry=partial(self._rest, i))
        self._problems.append((lease, price))
        self._open[i] = None
        self._running.add(i)
        return lease

    def close(self, problem: int) -> None:
        """Closes a problem's lease. The problem takes part in no further round."""
        self._problems[problem][0].close()
        del self._open[problem]
        self._rest(problem)

    def to_dict(self) -> dict[str, int]:
        """Returns the numbers of rounds and of solved problems, for the summary."""
        return {"rounds": self.held, "solved": len(self.solved)}

    async def run(self) -> None:
        """Holds rounds until every lease is closed."""
        while self._open:
            if not self._running:
                self._running.update(i for i in self._open if not self._problems[i][0].dry)
            if self._running:
                self._changed.clear()
                await self._changed.wait()
            else:
                await self._round()

    def _rest(self, problem: int) -> None:
        self._running.discard(problem)
        if not self._running:
            self._changed.set()

    async def _round(self) -> None:
        """Holds a round. Does nothing if a problem closes, or withdraws its request, while answers are
        read."""
        problems = list(self._open)
        reads = [self._candidates(i) for i in problems]
        candidates = await asyncio.to_thread(lambda: [read() for read in reads])
        # From here to the last grant nothing else can run, so the decision is about what is so.
        if problems != list(self._open) or not all(self._problems[i][0].dry for i in problems):
            return
        self.held += 1
        asking = [self._asking(i, found) for i, found in zip(problems, candidates, strict=True)]
        grants = self._allocator(asking, self._budget.left)
        self.solved |= {i for i, solutions in zip(problems, grants, strict=True) if solutions is None}
        if not any(grants):  # nobody's next solution can be paid
            grants = [None] * len(problems)
        for i, problem, solutions in zip(problems, asking, grants, strict=True):
            lease = self._problems[i][0]
            if solutions is None or solutions == REFUSED:
                lease.end_growth()
            elif solutions:
                lease.extend(problem.first + (solutions - 1) * problem.each)

    def _asking(self, i: int, candidates: Sequence[Candidate]) -> Asking:
        lease, price = self._problems[i]
        first = price.solution - lease.left + (0 if lease.settled else price.prompt)
        return Asking(candidates, max(lease.needed, first), price.solution, lease.settled)
