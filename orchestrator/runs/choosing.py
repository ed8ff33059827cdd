"""Generative selection: the generator reads solutions of a problem, and picks one.

One solution of each answer is read, so that nothing is asked where all agree. More than a group holds meet in
a knockout: the winners of groups are read again. A choice is asked once in the life of a run: its reply is
journaled, and a run that goes on has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from actors.messages import RequestFailed, SampleRequest, SampleResult
from orchestrator.budget.ledger import Lease, Reservation
from orchestrator.config.selection import PreparedSelection, kept
from orchestrator.problems.problem import Problem, beside
from orchestrator.search.charges import computed
from orchestrator.search.context import SearchContext, Usage
from orchestrator.search.planning import seed_of
from orchestrator.search.selection import Candidate

log = logging.getLogger(__name__)

RULE = "generative"
"""The name of this selection beside the rules that cost nothing."""

Rule = Callable[[Sequence[Candidate]], str | None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One of the answers, and a solution that has it."""

    candidate: Candidate
    text: str
    votes: int
    """Solutions that have this answer."""


class Chooser:
    """Selects for the searches of one run."""

    def __init__(self, selection: PreparedSelection, context: SearchContext) -> None:
        self._selection, self._context = selection, context

    def kept(self, share: int) -> int:
        """Returns the FLOPs of a problem's share that are kept for its selection."""
        return kept(self._selection.share, share)

    async def __call__(
        self,
        problem: Problem,
        read: Sequence[tuple[str, Candidate]],
        lease: Lease,
        usage: Usage,
    ) -> str | None:
        """Returns the answer that is picked among the solutions of a problem; None where none has one.

        Funds are granted by ``lease``, in the order of the groups of a round, before any of it is asked. A
        group whose choice cannot be paid, asked or read falls to its most frequent answer, which is counted
        in ``usage``.
        """
        entries = self._entries(problem, read)
        journal = self._context.journal
        known = journal.results(_place(problem)) if journal is not None and len(entries) > 1 else {}
        number, size = 0, self._selection.group
        while len(entries) > 1:
            groups = [entries[at : at + size] for at in range(0, len(entries), size)]
            entries = await self._round(problem, number, groups, lease, usage, known)
            number += 1
        return entries[0].candidate.answer if entries else None

    def _entries(self, problem: Problem, read: Sequence[tuple[str, Candidate]]) -> list[_Entry]:
        """The most frequent answers, each with its best-scored or else its first solution, in an order that
        tells nothing."""
        alike: dict[str, list[tuple[str, Candidate]]] = {}
        for text, candidate in read:
            if candidate.vote is not None:
                alike.setdefault(candidate.vote, []).append((text, candidate))
        entries = []
        for found in alike.values():
            text, candidate = max(found, key=lambda each: -1.0 if each[1].score is None else each[1].score)
            entries.append(_Entry(candidate, self._selection.shown(text), len(found)))
        entries.sort(key=lambda entry: -entry.votes)  # of as many votes, the first that was found
        kept = entries[: self._selection.candidates]
        Random(seed_of(self._context.seed, problem.id, "select")).shuffle(kept)
        return kept

    async def _round(
        self,
        problem: Problem,
        number: int,
        groups: Sequence[Sequence[_Entry]],
        lease: Lease,
        usage: Usage,
        known: Mapping[str, tuple[object, int]],
    ) -> list[_Entry]:
        asked = [self._request(problem, f"{number}.{i}", group) for i, group in enumerate(groups)]
        funds = [None if request is None else self._granted(lease, request, usage) for request in asked]
        try:
            async with asyncio.TaskGroup() as together:
                tasks = [
                    together.create_task(self._winner(problem, group, request, held, usage, known))
                    for group, request, held in zip(groups, asked, funds, strict=True)
                ]
            return [task.result() for task in tasks]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for held in funds:
                if held is not None:
                    held.close()

    def _request(self, problem: Problem, place: str, group: Sequence[_Entry]) -> SampleRequest | None:
        """The question about a group; None where there is nothing to choose."""
        if len(group) == 1:
            return None
        sampling = self._context.sampling
        return SampleRequest(
            f"{problem.id}/select/{place}",
            self._selection.tokens(problem, [entry.text for entry in group]),
            seed_of(self._context.seed, problem.id, f"select/{place}"),
            self._selection.writes,
            "end",
            sampling.temperature,
            sampling.top_p,
            affinity=problem.id,
        )

    def _granted(self, lease: Lease, request: SampleRequest, usage: Usage) -> Reservation | None:
        selection, length = self._selection, len(request.prompt)
        why = "its budget does not pay for it"
        if selection.limit is not None and length + selection.writes > selection.limit:
            why = f"{length} tokens and {selection.writes} of a reply are more than the generator's context"
        else:
            worst = selection.cost(length, selection.writes)
            if (held := lease.grant(worst)) is not None:
                return held
        usage.unmade_choices += 1
        log.warning("request %s is not asked, and the most frequent answer stands: %s", request.id, why)
        return None

    async def _winner(
        self,
        problem: Problem,
        group: Sequence[_Entry],
        request: SampleRequest | None,
        funds: Reservation | None,
        usage: Usage,
        known: Mapping[str, tuple[object, int]],
    ) -> _Entry:
        most = max(group, key=lambda entry: entry.votes)
        if request is None or funds is None:
            return most
        try:
            result, flops = await self._asked(problem, request, usage, known)
        except RequestFailed as error:
            usage.unmade_choices += 1
            log.warning("a choice failed, and the most frequent answer stands: %s", error)
            return most
        funds.settle(flops)
        self._count(request, result, flops, usage)
        chosen = self._selection.choice(result.tokens, len(group)) if result.finish == "end" else None
        if chosen is None:
            usage.unread_choices += 1
            text = self._context.codec.decode(result.tokens)
            log.warning("request %s: no choice can be read (%s): …%r", request.id, result.finish, text[-200:])
            return most
        return group[chosen]

    async def _asked(
        self,
        problem: Problem,
        request: SampleRequest,
        usage: Usage,
        known: Mapping[str, tuple[object, int]],
    ) -> tuple[SampleResult, int]:
        """The reply to a request and its charge, once both are journaled."""
        usage.operations += 1
        recorded = known.get(request.id)
        if recorded is not None and isinstance(recorded[0], SampleResult):
            usage.replayed += 1
            return recorded[0], recorded[1]
        result = await self._context.engine.sample(request)
        usage.fresh_tokens += len(result.tokens)
        flops = self._selection.cost(len(request.prompt), len(result.tokens))
        if self._context.journal is not None:
            self._context.journal.record(_place(problem), request.id, result, flops)
        return result, flops

    def _count(self, request: SampleRequest, result: SampleResult, flops: int, usage: Usage) -> None:
        costs, asked, new = self._selection.costs, len(request.prompt), len(result.tokens)
        usage.choices += 1
        usage.selection_flops += flops
        usage.generator_flops += flops
        usage.generator_tokens += asked + new
        usage.selection_tokens += asked + new
        usage.computed_generator_tokens += result.computed_tokens
        usage.computed_flops += computed(costs.body, result.computed_tokens, asked + new - 1)
        usage.computed_flops += costs.head(new)


def _place(problem: Problem) -> str:
    """The name under which the journal has the choices of a problem, apart from its search."""
    return beside("select", problem.id)
