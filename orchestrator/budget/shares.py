"""Shares of a budget, one a problem: what a problem leaves of its share is passed on to those after it.

A turn goes through the problems in their order. A problem passes it on when its search has ended, with what
it has left of its share. One whose share cannot pay its next request waits for its turn; it then takes of
what was passed on, once, and passes on the rest at once. So what it gets depends only on what the problems
before it have spent, and never on which of them was fastest: the same configuration and seed give the same
solutions, with any number of searches at once and after a resume.

The price is that a search whose share is spent waits until those before it have ended or spent theirs. It
never waits for one that took its turn, and one whose share suffices never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.budget.ledger import Lease


class Shares:
    """Cuts a lease of its share for each problem out of ``budget``.

    Problems must be opened in their order: those that wait for their turn do so for problems that are open.
    """

    def __init__(self, budget: Lease, shares: Sequence[int], *, pass_on: bool = True) -> None:
        """Without ``pass_on`` no share grows, and what a problem leaves of its own is not spent."""
        self.passed_on = 0
        """FLOPs that closed problems have spent beyond their shares."""
        self._budget = budget
        self._shares = shares
        self._passes_on = pass_on
        self._open: dict[int, Lease] = {}
        self._kept: dict[int, int] = {}
        """FLOPs of the shares of open problems that are held back."""
        self._ended: dict[int, int | None] = {}
        """FLOPs that a problem has left which was closed before its turn; None where its search broke."""
        self._broken = False
        """Whether the search of a problem broke that has had its turn: nothing is passed on any more."""
        self._turn = 0
        """The first problem that has not passed on its turn."""
        self._left = 0
        """FLOPs that the problems before it have left, and none of them has taken."""

    def open(self, problem: int, name: str, kept: Callable[[int], int] | None = None) -> Lease:
        """Returns the lease of a problem: its share, which may grow once.

        ``kept`` tells of a share the FLOPs of it that are held back until ``release``.
        """
        on_dry = partial(self._dry, problem) if self._passes_on else None
        share = self._shares[problem]
        self._kept[problem] = 0 if kept is None else kept(share)
        share -= self._kept[problem]
        lease = self._open[problem] = self._budget.lease(share, name, on_dry=on_dry, keeps=True)
        return lease

    def release(self, problem: int) -> None:
        """Adds what was held back of a problem's share to its lease."""
        self._open[problem].extend(self._kept.pop(problem))

    def close(self, problem: int, *, whole: bool = True) -> None:
        """Closes a problem's lease, and passes on what it has left if it has not had its turn.

        With a search that is not ``whole`` all passing on ends: a later leg of the run does it again, and
        what those after it get depends on what it leaves then. Until that is known they have their shares
        alone, so no leg computes what another would not pay for.
        """
        lease = self._open.pop(problem)
        lease.close()
        self._kept.pop(problem, None)
        self.passed_on += max(0, lease.settled - self._shares[problem])
        if problem >= self._turn:
            self._ended[problem] = lease.left if whole else None
            self._pass_on()

    def to_dict(self) -> dict[str, int]:
        """Returns the FLOPs that were passed on, for the summary."""
        return {"passed_on": self.passed_on}

    def _dry(self, problem: int) -> None:
        if problem == self._turn:
            self._pass_on()

    def _pass_on(self) -> None:
        """Lets the problems whose turn it is end it, up to the first one that needs it for longer."""
        while True:
            if self._turn in self._ended:
                left = self._ended.pop(self._turn)
                self._broken = self._broken or left is None
                self._left = 0 if self._broken or left is None else self._left + left
                self._turn += 1
            elif (lease := self._open.get(self._turn)) is None or not lease.dry:
                return  # it is not open yet, or has enough so far, or has been refused
            elif lease.needed > self._left:
                lease.end_growth()  # with its end it passes on what it has left as well
                return
            else:
                taken = min(self._left, max(lease.needed, self._shares[self._turn]))
                self._left -= taken
                self._turn += 1
                lease.extend(taken)
                lease.end_growth()
