"""Pays for the operations of one search, runs each one once, and records its result.

The identity of an operation is its kind and node path. Its result is journaled once, and its charge is
settled with the lease whether it ran or was replayed from the journal.

A call keeps one place in the order of its lease for all that it asks for, and the lease decides in that
order. So what a budget buys does not depend on which request is the fastest. An operation is made when its
funds are granted: what a budget does not buy costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from actors.messages import PoolFailed, Request, Result, SampleResult
from orchestrator.budget.ledger import BudgetExhausted, Lease, Reservation
from orchestrator.durability.journal import Journal, JournalFailed
from orchestrator.search.context import Usage
from orchestrator.search.prompts import Prompts, Reader
from orchestrator.search.tree import Node

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)
O = TypeVar("O")  # noqa: E741

Keep = Literal["always", "cut", "never"]
"""When a finished node counts as an answer: as soon as it is found; only in a search that the budget or an
error cuts short during this call; or never, because the strategy says itself which nodes are answers."""

ENDS_ALL = (PoolFailed, JournalFailed)
"""Errors after which no operation can end well."""

Perform = Callable[[O, Reservation], Coroutine[Any, Any, Node]]
"""Carries out an operation whose funds are granted, and settles its charge."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[O]):
    """Operations of one cost, each made as its funds are granted."""

    worst: int
    """The most FLOPs that one of them can cost, beside the prompt."""
    count: int
    make: Callable[[int], O]
    """Makes the operation of that number; the first is 0."""
    readers: tuple[Reader, ...]
    """The models that must have read the problem's prompt before."""


class Execution:
    """The payments, the results and the journal of one search over one problem.

    ``finished`` holds the finished nodes so far, in the strategy's order: the answer of a search that is cut
    short. A strategy that drops some of them keeps this list itself.
    """

    def __init__(
        self,
        problem: str,
        lease: Lease,
        journal: Journal | None,
        usage: Usage,
        prompts: Prompts,
        times: dict[str, tuple[float, float]] | None = None,
    ) -> None:
        """``times`` is where the operations' times are noted (``SearchContext.times``); None: nowhere."""
        self.usage = usage
        self.finished: list[Node] = []
        self.broken: BaseException | None = None
        """The error of ``ENDS_ALL`` that a call has raised."""
        self.on_broken: Callable[[], object] = lambda: None
        """Is called then: a strategy may go on whatever is raised."""
        self._problem = problem
        self._lease = lease
        self._journal = journal
        self._prompts = prompts
        self._times = times
        self._recorded = journal.results(problem) if journal is not None else {}
        self._made: dict[Node, int] = {}  # the finished nodes, and the number of the call that found each
        self._calls = 0
        # The tasks of calls that have not returned, and whether their nodes may be answers.
        self._running: dict[asyncio.Task[Node], bool] = {}

    @property
    def running(self) -> list[Node]:
        """The finished nodes of calls that have not returned, in the strategy's order."""
        done = [task for task, keep in self._running.items() if keep and task.done()]
        nodes = [task.result() for task in done if error_of(task) is None]
        return [node for node in nodes if node.finished]

    def made(self, node: Node) -> bool:
        """Tells whether a call has returned this very node, and it is finished."""
        return node in self._made

    async def drain(self) -> None:
        """Refuses what still waits for more funds, and waits for the operations that a strategy left running,
        so that the lease can be closed."""
        self._lease.end_growth()
        while self._running:
            await asyncio.wait(self._running)

    async def run(
        self, batches: Sequence[Batch[O]], perform: Perform[O], keep: Keep | Literal["scored"] = "always"
    ) -> list[Node]:
        """Asks for the funds of every operation, in order, and performs those that are granted.

        With ``keep`` "scored" the nodes take the place of the same paths in ``finished``. Returns the nodes
        in the order of the operations, once all are done; or raises then the error of the first that has
        failed, or BudgetExhausted where some were refused.
        """
        call = Call(batches, self._prompts, partial(self._start, perform, keep in ("always", "cut")))
        if call.amount() is None:
            await asyncio.sleep(0)  # so that a strategy which asks for nothing for ever stops nobody
            return []
        number = self._calls = self._calls + 1
        self._lease.request_all(call)
        try:
            await call.over
        except BaseException as error:
            call.withdraw()
            self._lease.forgo()
            for task in call.tasks:
                task.cancel()
            await asyncio.gather(*call.tasks, return_exceptions=True)
            if isinstance(error, ENDS_ALL):
                self.broken = error
                self.on_broken()
            raise
        finally:
            for task in call.tasks:
                del self._running[task]
        errors = [error_of(task) for task in call.tasks]
        done = [task.result() for task, error in zip(call.tasks, errors, strict=True) if error is None]
        failed = next((error for error in errors if error is not None), None)
        finished = [node for node in done if node.finished]
        cut = failed is not None or call.refused is not None
        if keep == "always" or (keep == "cut" and cut):
            self._keep(finished, number)
        for node in finished:
            self._made.setdefault(node, number)
        if keep == "scored":
            scored = {node.key: node for node in finished}
            self.finished[:] = [scored.get(n.key, n) if isinstance(n, Node) else n for n in self.finished]
        if failed is not None:
            raise failed
        if call.refused is not None:
            await asyncio.sleep(0)  # nor one that asks again and again for what it cannot have
            raise BudgetExhausted(self._lease.name, call.refused, self._lease.left)
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
        sent = time.time()
        result = await run(request)
        if self._times is not None:
            self._times[key] = sent, time.time()
        if isinstance(result, SampleResult):
            usage.fresh_tokens += len(result.tokens)
        flops = cost(result)
        self._recorded[key] = done = (result, flops)
        if self._journal is not None:
            self._journal.record(self._problem, key, result, flops)
        return done

    def _keep(self, finished: list[Node], number: int) -> None:
        """Adds to ``finished`` what a call has found, before what a later call found that ended earlier. The
        copies of a node stand together, where the first call that has found it puts them."""
        new: list[Node] = []
        for node, count in Counter(finished).items():
            there = self.finished.count(node) if node in self._made else 0
            if there and self._made[node] <= number:
                at = self.finished.index(node)
                self.finished[at:at] = [node] * count
                continue
            if there:
                self.finished[:] = [each for each in self.finished if each is not node]
            new += [node] * (there + count)
        self._made.update(dict.fromkeys(new, number))
        at = len(self.finished)
        while at and self._made.get(self.finished[at - 1], 0) > number:
            at -= 1
        self.finished[at:at] = new

    def _start(
        self, perform: Perform[O], answers: bool, operation: O, reservation: Reservation
    ) -> asyncio.Task[Node]:
        task = asyncio.create_task(perform(operation, reservation))
        self._running[task] = answers
        return task


class Call(Generic[O]):
    """The operations of one call while they are asked for and performed: ``ledger.Requests``.

    ``tasks`` perform those that are granted, in order. ``over`` is done when every operation is refused or
    has ended, or one has failed by an error of ``ENDS_ALL``. ``refused`` is the worst cost, in FLOPs, of the
    first one that is refused.
    """

    def __init__(
        self,
        batches: Sequence[Batch[O]],
        prompts: Prompts,
        start: Callable[[O, Reservation], asyncio.Task[Node]],
    ) -> None:
        self.tasks: list[asyncio.Task[Node]] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused: int | None = None
        self._prompts = prompts
        self._start = start
        self._batches: Iterator[Batch[O]] = iter(batches)
        self._running = 0
        self._next_batch()

    def amount(self) -> int | None:
        """Returns the FLOPs of the next operation, with what it owes for the prompt."""
        batch = self._batch
        return None if batch is None else batch.worst + self._prompts.owed(batch.readers)

    def granted(self, reservation: Reservation) -> None:
        """Makes the next operation, and starts it."""
        batch = self._batch
        assert batch is not None
        self._prompts.pay(batch.readers, reservation)
        task = self._start(batch.make(self._granted), reservation)
        self.tasks.append(task)
        self._running += 1
        task.add_done_callback(partial(self._ended, reservation))
        self._granted += 1
        if self._granted == batch.count:
            self._next_batch()

    def refuse(self) -> None:
        """Gives up the next operation, and with it all that cost as much."""
        if self.refused is None:
            self.refused = self.amount()
        self._next_batch()
        self._end_if_over()

    def withdraw(self) -> None:
        """Asks for nothing more."""
        self._batches = iter(())
        self._next_batch()

    def _next_batch(self) -> None:
        self._batch = next((batch for batch in self._batches if batch.count), None)
        self._granted = 0

    def _ended(self, reservation: Reservation, task: asyncio.Task[Node]) -> None:
        error = error_of(task)
        if isinstance(error, ENDS_ALL) and not self.over.done():
            self.withdraw()
            self.over.set_exception(error)
        reservation.close()  # by which the next may be granted
        self._running -= 1
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._batch is None and not self._running and not self.over.done():
            self.over.set_result(None)


def error_of(task: asyncio.Task[Node]) -> BaseException | None:
    """Returns the error that a task has ended by; None where it has a result."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()
