"""Runs a strategy on one problem, and keeps what it finds however it ends.

A strategy may be anyone's code. What it does wrong is the error of that search alone; what it has found
before, and paid for, is its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from actors.messages import PoolFailed
from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.durability.journal import JournalFailed
from orchestrator.extensions.contained import contained
from orchestrator.grading.pool import AnswersFailed
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node

FATAL = (JournalFailed, PoolFailed, AnswersFailed)
"""Errors that end the run and not only a search: nothing can be kept, computed or judged."""

Search = Callable[[Operations], Awaitable[Sequence[Node]]]
"""A strategy with its parameters."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found."""

    solutions: Sequence[Node]
    exhausted: bool = False
    """True where the lease ended the search early."""
    error: BaseException | None = None
    """What broke the search, or is wrong with what it returned."""
    dropped: int = 0
    """Finished solutions that it had paid for, where it returned none of them."""


async def found_by(search: Search, ops: Operations) -> Found:
    """Searches one problem.

    Raises what ends the run: an error of ``FATAL``, KeyboardInterrupt (whoever raises it), and CancelledError
    where it is the caller that is cancelled and not the strategy itself.
    """

    async def searched() -> object:
        return await search(ops)

    caller = asyncio.current_task()
    assert caller is not None
    name = getattr(search, "name", "the strategy")
    # In a task of its own, so that it is known who is cancelled.
    searching = asyncio.create_task(contained(searched()))
    ops.when_broken(searching.cancel)
    try:
        returned = await searching
        found = _checked(returned, ops, f"{name} returned")
        if not found.solutions and found.error is None:
            found = replace(found, dropped=sum(map(ops.is_solution, ops.finished)))
    except BaseException as raised:
        error = ops.broken or _first(raised)
        if isinstance(error, (*FATAL, KeyboardInterrupt)):
            raise error from None
        if caller.cancelling():
            raise asyncio.CancelledError from None
        await ops.drain()
        found = _checked(ops.finished, ops, f"{name} has put into ops.finished")
        found = replace(found, exhausted=True) if _is_exhausted(raised) else replace(found, error=error)
    # A strategy may go on all the same.
    if ops.broken is not None:
        raise ops.broken
    if caller.cancelling():
        raise asyncio.CancelledError
    unscored = not any(node.scored for node in found.solutions) and (found.solutions or not found.exhausted)
    if found.error is None and ops.score_error is not None and unscored:
        return replace(found, error=ops.score_error)
    return found


def _checked(returned: object, ops: Operations, what: str) -> Found:
    """The solutions among what is ``returned``, and what is wrong with the first that is none."""
    kept = [*filter(ops.is_solution, ops.finished)]
    if not isinstance(returned, Sequence) or isinstance(returned, str):
        error = f"{what} {type(returned).__name__}; allowed: a list of its solutions"
        return Found(kept, error=TypeError(error))
    solutions = [*filter(ops.is_solution, returned)]
    if len(solutions) < len(returned):
        wrong = next(one for one in returned if not ops.is_solution(one))
        error = f"{what} {_described(wrong)}; allowed: finished nodes that its operations have returned"
        return Found(solutions or kept, error=ValueError(error))
    if len(returned) > ops.paths:
        error = f"{what} {len(returned):,} nodes, and it has asked for {ops.paths:,}; allowed: no more copies"
        return Found([*dict.fromkeys(solutions)], error=ValueError(error))
    return Found(solutions)


def _described(wrong: object) -> str:
    if not isinstance(wrong, Node):
        return f"an object of type {type(wrong).__name__}"
    if not wrong.key:
        return "the root"
    if not wrong.finished:
        return f"path {wrong.key}, which is not finished"
    return f"path {wrong.key}, which is a copy, or another problem's"


def _is_exhausted(raised: BaseException) -> bool:
    """True where the lease alone has ended a search, also where it did so in tasks of the strategy's."""
    if isinstance(raised, BaseExceptionGroup):
        return raised.split(BudgetExhausted)[1] is None
    return isinstance(raised, BudgetExhausted)


def _first(error: BaseException) -> BaseException:
    """The first error of a group that ends a run, or else the group's first one that is not the lease's; else
    the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    fatal, others = error.subgroup(FATAL), error.split(BudgetExhausted)[1]
    return _first((fatal or others or error).exceptions[0])
