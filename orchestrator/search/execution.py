"""Pays for the operations of one search, runs each one once, and records its result.

The identity of an operation is its kind and node path. Its result is journaled once, and its charge is
settled with the lease whether it ran or was replayed from the journal.

A call reserves funds for everything it asks for before anything runs, in the strategy's own order, and a
lease decides in that order. So what a budget buys does not depend on which request is the fastest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeVar

from actors.messages import Request, Result, SampleResult
from orchestrator.budget.ledger import BudgetExhausted, Lease, Reservation
from orchestrator.durability.journal import Journal
from orchestrator.search.context import Usage
from orchestrator.search.tree import Node

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)

Keep = Literal["always", "cut", "never"]
"""When a finished node counts as an answer: as soon as it is found; only in a search that the budget cuts
short during this call; or never, because the strategy says itself which nodes are answers."""


class Operation(Protocol):
    """An operation that has not been paid for."""

    @property
    def worst(self) -> int:
        """The most FLOPs that it can cost."""


O = TypeVar("O", bound=Operation)  # noqa: E741
Perform = Callable[[O, Reservation], Awaitable[Node]]
"""Carries out an operation whose funds are granted, and settles its charge."""


class Execution:
    """The payments, the results and the journal of one search over one problem.

    ``finished`` holds the finished nodes so far, in the strategy's order: the answer of a search that is cut
    short. A strategy that drops some of them keeps this list itself.
    """

    def __init__(self, problem: str, lease: Lease, journal: Journal | None) -> None:
        self.usage = Usage()
        self.finished: list[Node] = []
        self._problem = problem
        self._lease = lease
        self._journal = journal
        self._recorded = journal.results(problem) if journal is not None else {}
        # The tasks of calls that have not returned, and whether their nodes may be answers.
        self._running: dict[asyncio.Task[Node | None], bool] = {}

    @property
    def solutions(self) -> list[Node]:
        """The finished nodes so far, in the strategy's order, with those of a call that waits for funds."""
        done = [task for task, keep in self._running.items() if keep and task.done()]
        nodes = [task.result() for task in done if not task.cancelled() and task.exception() is None]
        return [*self.finished, *(node for node in nodes if node is not None and node.finished)]

    async def drain(self) -> None:
        """Waits for the operations that a strategy left running, so that the lease can be closed."""
        while self._running:
            await asyncio.wait(self._running)

    async def run(self, operations: Sequence[O], perform: Perform[O], keep: Keep = "always") -> list[Node]:
        """Asks for the funds of every operation, in order, then performs those that are granted.

        Returns the nodes in the order of the operations. Raises BudgetExhausted, once the granted ones are
        done, where some were refused.
        """
        lease = self._lease
        decisions = [lease.grant(operation.worst) or lease.ask(operation.worst) for operation in operations]
        tasks = [
            asyncio.create_task(_performed(operation, decision, perform))
            for operation, decision in zip(operations, decisions, strict=True)
        ]
        self._running |= dict.fromkeys(tasks, keep != "never")
        try:
            nodes = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            for task in tasks:
                del self._running[task]
            _give_back(decisions)
        done = [node for node in nodes if node is not None]
        cut = len(done) < len(operations)
        if keep == "always" or (keep == "cut" and cut):
            self.finished += [node for node in done if node.finished]
        if cut:
            refused = operations[nodes.index(None)].worst
            raise BudgetExhausted(lease.name, refused, lease.left)
        return done

    async def once(
        self, request: Q, run: Callable[[Q], Awaitable[R]], cost: Callable[[R], int]
    ) -> tuple[R, int]:
        """Returns the request's result and its charge in FLOPs: from the journal, or run and then journaled.

        A result for which ``cost`` raises is neither recorded nor charged.
        """
        key, usage = request.id, self.usage
        usage.operations += 1
        recorded = self._recorded.get(key)
        if recorded is not None:
            usage.replayed += 1
            return recorded  # type: ignore[return-value]
        result = await run(request)
        if isinstance(result, SampleResult):
            usage.fresh_tokens += len(result.tokens)
        flops = cost(result)
        self._recorded[key] = done = (result, flops)
        if self._journal is not None:
            self._journal.record(self._problem, key, result, flops)
        return done

    async def pay(self, flops: int) -> None:
        """Charges ``flops`` at once. Raises BudgetExhausted where the lease cannot pay them."""
        reservation = await self._lease.reserve(flops)
        reservation.settle(flops)
        reservation.close()


Decision = Reservation | asyncio.Future[Reservation | None]
"""The answer to a request for funds: granted at once, or a future that holds it later (None: refused)."""


async def _performed(operation: O, decision: Decision, perform: Perform[O]) -> Node | None:
    """Performs the operation once its funds are granted. Returns None if they are refused."""
    reservation = decision if isinstance(decision, Reservation) else await decision
    if reservation is None:
        return None
    node = await perform(operation, reservation)
    reservation.close()
    return node


def _give_back(decisions: Sequence[Decision]) -> None:
    """Withdraws the requests that are not decided, then releases the funds that were not settled: in this
    order, so that a call that has failed asks for no more funds as it ends."""
    for decision in decisions:
        if isinstance(decision, asyncio.Future):
            decision.cancel()
    for decision in decisions:
        if isinstance(decision, Reservation):
            decision.close()
        elif not decision.cancelled() and (granted := decision.result()) is not None:
            granted.close()
