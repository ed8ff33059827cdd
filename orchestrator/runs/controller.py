"""Runs many searches at once under one budget, and turns each one into a result.

One asyncio process: a search per problem, each a coroutine over its own lease; the engines see the requests
of all of them. A problem that fails is reported and costs the others nothing.

Leases are shares of the budget, of which what a problem leaves is passed on (``budget.shares``), or grow in
rounds by an allocator (``allocation``).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator.allocation.rounds import Allocator, Rounds
from orchestrator.budget.ledger import Lease
from orchestrator.budget.shares import Shares
from orchestrator.budget.units import Price
from orchestrator.errors import counted, in_one_line
from orchestrator.extensions.contained import contained_tasks
from orchestrator.grading.grader import NOTHING, Grader, Reading
from orchestrator.problems.problem import Problem
from orchestrator.runs.choosing import RULE, Chooser
from orchestrator.runs.found import FATAL, Found, Search, found_by
from orchestrator.search.context import SearchContext, Usage
from orchestrator.search.operations import Operations
from orchestrator.search.selection import AGGREGATIONS, RULES, Candidate, Rule
from orchestrator.search.tree import Node

log = logging.getLogger(__name__)

COLLECTIONS = (1_000_000, 1000, 1000)
"""The thresholds of Python's cycle collector while searches run: it starts when there are a million objects
more than at its last run. A search leaves no cycles, but a user's own strategy may. At the usual thresholds
the collector looks through all live nodes again and again, and stops the searches meanwhile; at thousands
too, since it counts what is new less what is gone, and looks at far more than it counts."""


Read = Sequence[tuple[str, Candidate]]
"""The texts of a problem's solutions, and what selection sees of each."""
Choose = Callable[[Read], Awaitable[str | None]]
"""Picks an answer."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A path that a search returned."""

    path: str
    """Its place in the tree. The attempts of a chain of revisions are each other's ancestors."""
    text: str
    tokens: int
    answer: str | None
    """As it is written; None where none is read."""
    correct: bool
    score: float | None
    """The verifier's score under the run's aggregation; None if not scored."""
    step_scores: tuple[float, ...]
    finish: str
    key: str | None = None
    """Answers with equal keys are one (``grading``)."""
    confidence: float | None = None
    """The generator's own; None where it is not asked for."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of one search."""

    problem: Problem
    solutions: tuple[Solution, ...]
    selected: Mapping[str, str | None]
    """The answer by each selection rule."""
    correct: Mapping[str, bool]
    """True where that answer is right, by each selection rule."""
    usage: Usage
    exhausted: bool = False
    """True where the lease ended the search early."""
    error: str | None = None
    """The error that broke the search, in one line. The solutions are what it had found and paid for."""
    seconds: float = math.nan
    """Seconds from the search's start to its answer, beside the other searches."""

    dropped: int = 0
    """Finished solutions that the search had paid for and did not return, where it returned none."""
    strategy: str | None = None
    """The strategy that a policy has chosen for the problem; None where none chooses."""

    @property
    def covered(self) -> bool:
        """True if any solution is correct."""
        return any(solution.correct for solution in self.solutions)


@dataclass
class Controller:
    """Searches problems beside each other. Earlier problems have priority."""

    context: SearchContext
    grader: Grader
    budget: Lease
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    searches_at_once: int = 128
    """The most problems in flight where each one has a share. With an allocator all are, since it compares
    them."""
    shares: Sequence[int] | None = None
    """FLOPs of each problem's share; None divides the budget equally."""
    pass_on: bool = True
    """Whether what a problem leaves of its share goes to those after it."""
    allocator: Allocator | None = None
    """Moves the budget between problems; None gives each problem a share."""
    chooser: Chooser | None = None
    """Lets the generator pick a solution, from a part of each share; None where only rules select."""
    on_result: Callable[[SearchResult], None] = lambda result: None
    """Is called as each search ends, in the order in which they end."""
    usage: Usage = field(default_factory=Usage)
    moved: Rounds | Shares | None = None
    """What moves the budget between problems, once it runs."""

    def __post_init__(self) -> None:
        # One thread: more of them would only take the interpreter from the searches.
        self._decoding: Executor = ThreadPoolExecutor(1, "decode")

    async def run(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        """Searches every problem under its lease of the budget; once in the life of a controller.

        ``prompts`` are the problems' token ids. Returns the results in the order of the problems. Raises the
        first of the errors that end a run (``found.FATAL``).
        """
        run = self._in_shares if self.allocator is None else self._in_rounds
        try:
            with rare_collections(), contained_tasks(), self._decoding:
                return await run(problems, prompts, search)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _in_shares(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        equal = [self.budget.limit // len(problems)] * len(problems)
        shares = Shares(self.budget, self.shares or equal, pass_on=self.pass_on)
        self.moved = shares if self.pass_on else None
        chooser = self.chooser
        results: dict[int, SearchResult] = {}
        indices = iter(range(len(problems)))

        async def search_in_turn() -> None:
            for index in indices:
                lease = shares.open(index, problems[index].id, chooser.kept if chooser is not None else None)
                reader = _Reader(self, len(prompts[index]))
                ops = Operations(
                    problems[index], prompts[index], lease, self.context, priority=index, read=reader.votes
                )
                choose = None
                if chooser is not None:
                    choose = partial(_chosen, chooser, partial(shares.release, index), lease, ops)

                def close(whole: bool, index: int = index) -> None:
                    shares.close(index, whole=whole)

                result = await self._search(ops, search, reader, close, choose)
                results[index] = self._done(result)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.searches_at_once, len(problems))):
                group.create_task(search_in_turn())
        return [results[index] for index in range(len(problems))]

    async def _in_rounds(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        assert self.allocator is not None
        loop = asyncio.get_running_loop()
        readers = {index: _Reader(self, len(prompt)) for index, prompt in enumerate(prompts)}

        def candidates(index: int) -> Callable[[], list[Candidate]]:
            # It is begun for all problems before the first is waited for; a search may end meanwhile.
            reading = readers[index].read(searches[index].solutions)
            begun = asyncio.run_coroutine_threadsafe(reading, loop)
            return lambda: [candidate for _, candidate in begun.result()]

        rounds = self.moved = Rounds(self.budget, self.allocator, candidates)
        searches = [
            Operations(
                problem,
                prompt,
                rounds.open(problem.id, self._price(prompt)),
                self.context,
                priority=index,
                read=readers[index].votes,
            )
            for index, (problem, prompt) in enumerate(zip(problems, prompts, strict=True))
        ]

        async def search_one(index: int) -> SearchResult:
            result = await self._search(
                searches[index], search, readers[index], lambda whole: rounds.close(index)
            )
            del readers[index]
            return self._done(replace(result, exhausted=result.exhausted and index not in rounds.solved))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(search_one(index)) for index in range(len(problems))]
            group.create_task(rounds.run())
        return [task.result() for task in tasks]

    def _price(self, prompt: tuple[int, ...]) -> Price:
        context = self.context
        longest = context.sampling.max_tokens
        return Price.of(len(prompt), longest, context.generator, context.verifier, context.verifier_kind)

    def _done(self, result: SearchResult) -> SearchResult:
        self.usage += result.usage
        self.on_result(result)
        return result

    async def _search(
        self,
        ops: Operations,
        search: Search,
        reader: _Reader,
        close: Callable[[bool], None],
        choose: Choose | None = None,
    ) -> SearchResult:
        """Searches one problem, lets ``choose`` pick a solution, and judges what was found. Before that
        ``close`` is called, since nothing more is spent, and told whether the search is whole."""
        started = time.monotonic()
        try:
            found = await found_by(search, ops)
        finally:
            await ops.drain()
        picked = None if choose is None else await self._picked(ops, reader, found, choose)
        close(found.error is None)
        if found.error is not None:
            log.error("the search of problem %s failed", ops.problem.id, exc_info=found.error)
        try:
            result = await self._judged(ops, reader, found, picked)
        except FATAL:
            raise
        except Exception as error:  # no answer can be read
            log.error("the answers of problem %s are not judged", ops.problem.id, exc_info=error)
            result = await self._judged(ops, reader, Found((), found.exhausted, error), None)
        return replace(result, seconds=time.monotonic() - started)

    async def _picked(self, ops: Operations, reader: _Reader, found: Found, choose: Choose) -> str | None:
        """The answer that the generator picks; None where it picks none."""
        try:
            return await choose(await reader.read(found.solutions))
        except FATAL:
            raise
        except Exception:  # the other rules select all the same
            ops.usage.unmade_choices += 1
            log.exception("no solution of problem %s is chosen", ops.problem.id)
            return None

    async def _judged(
        self, ops: Operations, reader: _Reader, found: Found, picked: str | None
    ) -> SearchResult:
        problem, nodes = ops.problem, found.solutions
        read = await reader.read(nodes)
        candidates = [candidate for _, candidate in read]
        selected = {name: rule(candidates) for name, rule in self.rules.items()}
        if self.chooser is not None:
            selected[RULE] = picked
        readings = [Reading(candidate.answer, candidate.key) for candidate in candidates]
        right = await self.grader.solved(problem, readings, [text for text, _ in read])
        solutions = tuple(
            Solution(
                node.key,
                text,
                len(node.tokens) - reader.start,
                candidate.answer,
                correct,
                candidate.score,
                node.scores,
                node.finish or "",
                candidate.key,
                candidate.confidence,
            )
            for node, (text, candidate), correct in zip(nodes, read, right, strict=True)
        )
        known = {reading.answer: good for reading, good in zip(readings, right, strict=True)}
        correct = {name: known.get(answer, False) for name, answer in selected.items()}
        error = None if found.error is None else in_one_line(found.error, frame=True)
        if found.dropped:
            log.warning(
                "problem %s: the strategy returned no solution, and had paid for %s",
                problem.id,
                counted(found.dropped, "finished one"),
            )
        return SearchResult(
            problem,
            solutions,
            selected,
            correct,
            ops.usage,
            found.exhausted,
            error,
            dropped=found.dropped,
            strategy=ops.chosen,
        )


async def _chosen(
    chooser: Chooser, release: Callable[[], None], lease: Lease, ops: Operations, read: Read
) -> str | None:
    """The answer that the generator picks, with what was kept for that and what the search has left."""
    release()
    return await chooser(ops.problem, read, lease, ops.usage)


class _Reader:
    """Reads the text and the answer of one problem's finished paths, each path once while its search lasts.

    The problem's prompt has ``start`` tokens.
    """

    def __init__(self, controller: Controller, start: int) -> None:
        self.start = start
        self._controller = controller
        self._read: dict[Node, tuple[str, Candidate]] = {}
        self._lost: set[Node] = set()
        self._one_at_a_time = asyncio.Lock()

    async def read(self, nodes: Sequence[Node]) -> list[tuple[str, Candidate]]:
        """Returns the texts of finished paths, and what selection sees of each."""
        async with self._one_at_a_time:  # what two calls ask for is read, and what fails counted, once
            new = [node for node in nodes if node not in self._read]
            if new:
                await self._read_all(list(dict.fromkeys(new)))
        return [self._read[node] for node in nodes]

    async def votes(self, nodes: Sequence[Node]) -> list[str | None]:
        """Returns what each path votes for; see ``ReadsAnswers``."""
        read = await self.read(nodes)
        return [
            None if node in self._lost else candidate.vote
            for node, (_, candidate) in zip(nodes, read, strict=True)
        ]

    async def _read_all(self, nodes: list[Node]) -> None:
        controller = self._controller
        texts = await asyncio.get_running_loop().run_in_executor(
            controller._decoding, partial(self._decoded, nodes)
        )
        # What was cut at the length limit has no final answer, whatever its last words look like.
        whole = [i for i, node in enumerate(nodes) if node.finish == "end"]
        found = await controller.grader.read([texts[i] for i in whole])
        readings = dict(zip(whole, found, strict=True))
        aggregate = AGGREGATIONS[controller.context.aggregation]
        confidence = controller.context.confidence
        for i, (node, text) in enumerate(zip(nodes, texts, strict=True)):
            reading = readings.get(i, NOTHING)
            score = aggregate(node.scores) if node.scored else None
            chain = node.key.partition(".")[0]
            if reading.lost:
                self._lost.add(node)
            sure = None if confidence is None else confidence(node.logprobs)
            self._read[node] = text, Candidate(reading.answer, score, chain, reading.key, node.key, sure)

    def _decoded(self, nodes: list[Node]) -> list[str]:
        read = self._controller.context.codec.solution
        return [read(node.tokens[self.start :]) for node in nodes]


@contextmanager
def rare_collections() -> Iterator[None]:
    """Lets the cycle collector run at ``COLLECTIONS``, and not over the objects that are there already."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
