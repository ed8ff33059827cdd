"""What all operations have in common: each is paid for, run once or replayed, and recorded.

An operation's identity is its kind and node path. Its result is journaled once, and its charge is
settled with the lease whether it ran or was replayed.

A call reserves for everything it asks for before anything runs, in the strategy's own order, and
a lease decides in that order; so what a budget buys does not depend on which request is fastest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from actors.messages import Request, Result, SampleResult
from orchestrator.budget.ledger import BudgetExhausted, Lease, Reservation
from orchestrator.problems.problem import Problem
from orchestrator.search.context import SearchContext, Usage
from orchestrator.search.tree import Node

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)

Keep = Literal["always", "cut", "never"]
"""When a finished node is an answer as it is found: else the strategy says itself which ones are."""


@dataclass(frozen=True, slots=True)
class Job:
    """An operation that has not been paid for: its worst case in FLOPs, and how to run it, by
    ``run(*args, reservation)``. There is one for each operation in flight, so it is kept small."""

    worst: int
    run: Callable[..., Awaitable[Node]]
    args: tuple[Any, ...] = ()


class Execution:
    """Runs the operations of one search over one problem, and pays for them from one lease."""

    def __init__(
        self, problem: Problem, prompt: tuple[int, ...], lease: Lease, setting: SearchContext
    ) -> None:
        self.problem = problem
        self.prompt = prompt
        self.usage = Usage()
        self.finished: list[Node] = []
        """Finished nodes so far, in the strategy's order: the answer of a search that is cut short. A
        strategy that drops some of them keeps this list itself."""
        self._lease = lease
        self._setting = setting
        self._prompt_paid: set[str] = set()
        self._running: dict[asyncio.Task[Node | None], bool] = {}
        """The operations of calls that have not returned, and whether what they find may be an answer."""
        self._recorded = setting.journal.results(problem.id) if setting.journal is not None else {}

    @property
    def solutions(self) -> list[Node]:
        """The finished nodes so far, in the strategy's order; those of a call that waits for funds too."""
        done = [task for task, keep in self._running.items() if keep and task.done()]
        nodes = [task.result() for task in done if not task.cancelled() and task.exception() is None]
        return [*self.finished, *(node for node in nodes if node is not None and node.finished)]

    async def drain(self) -> None:
        """Wait for what a strategy left running, so that the lease can be closed."""
        while self._running:
            await asyncio.wait(self._running)

    async def _all(self, jobs: Sequence[Job], *, keep: Keep = "always") -> list[Node]:
        """Ask for the funds of every job, in order, before any of them runs; run what is granted."""
        lease = self._lease
        decisions = [lease.grant(job.worst) or lease.ask(job.worst) for job in jobs]
        tasks = [asyncio.create_task(_paid(*each)) for each in zip(jobs, decisions, strict=True)]
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
        cut = len(done) < len(jobs)
        if keep == "always" or (keep == "cut" and cut):
            self.finished += [node for node in done if node.finished]
        if cut:
            refused = jobs[nodes.index(None)].worst
            raise BudgetExhausted(self._lease.name, refused, self._lease.left)
        return done

    async def _once(
        self, request: Q, run: Callable[[Q], Awaitable[R]], cost: Callable[[R], int]
    ) -> tuple[R, int]:
        """The request's result and its charge in FLOPs: from the journal, or run and journaled. Whatever
        ``cost`` raises of a result, that is neither recorded nor charged."""
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
        if self._setting.journal is not None:
            self._setting.journal.record(self.problem.id, key, result, flops)
        return done

    async def _pay_prompt(self, model: Literal["generator", "verifier", "reviser"]) -> None:
        """The prompt is charged once a problem to each model that reads it: once where generators revise."""
        if model == "reviser" and self._setting.reviser is self._setting.generator:
            model = "generator"
        reader = getattr(self._setting, model)
        if model in self._prompt_paid or reader is None:
            return
        self._prompt_paid.add(model)
        length = len(self.prompt)
        flops = reader.prefill(length)
        try:
            await self._pay(flops)
        except BudgetExhausted:
            self._prompt_paid.discard(model)
            raise
        if model == "verifier":
            self.usage.verifier_flops += flops
            self.usage.verifier_tokens += length
        else:
            self.usage.generator_flops += flops
            self.usage.generator_tokens += length

    async def _pay(self, flops: int) -> None:
        reservation = await self._lease.reserve(flops)
        reservation.settle(flops)
        reservation.close()


Decision = Reservation | asyncio.Future[Reservation | None]
"""Of a request for funds: granted at once, or to be waited for."""


async def _paid(job: Job, decision: Decision) -> Node | None:
    """Run the job once its funds are granted; None if they are refused."""
    reservation = decision if isinstance(decision, Reservation) else await decision
    if reservation is None:
        return None
    node = await job.run(*job.args, reservation)
    reservation.close()
    return node


def _give_back(decisions: Sequence[Decision]) -> None:
    """Withdraw what was not decided, then release what the jobs did not settle: in this order, so that a
    call that has failed asks for no more funds as it ends."""
    for decision in decisions:
        if isinstance(decision, asyncio.Future):
            decision.cancel()
    for decision in decisions:
        if isinstance(decision, Reservation):
            decision.close()
        elif not decision.cancelled() and (granted := decision.result()) is not None:
            granted.close()
