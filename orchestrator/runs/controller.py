"""Runs many searches at once under one budget, and turns each into a result.

One asyncio process: a search per problem, each a coroutine over its own lease; the engines see the
requests of all of them. A problem that fails is reported and costs the others nothing.

Leases are equal shares of the budget, or grow in rounds by a policy (``allocation``).
"""

from __future__ import annotations

import asyncio
import gc
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial

from actors.messages import PoolFailed
from orchestrator.allocation.rounds import Allocator, Rounds
from orchestrator.budget.ledger import BudgetExhausted, Lease
from orchestrator.budget.units import Price
from orchestrator.problems.answers import Answers
from orchestrator.problems.problem import Problem
from orchestrator.search.context import SearchContext, Usage
from orchestrator.search.operations import Operations
from orchestrator.search.selection import AGGREGATIONS, RULES, Candidate, Rule
from orchestrator.search.tree import Node

FATAL = (sqlite3.Error, PoolFailed)
"""Errors that end the run and not only a search: nothing could be kept, or nothing could be computed."""

COLLECTIONS = (1_000_000, 1000, 1000)
"""How rarely Python's cycle collector runs while searches do, in its own thresholds: when there are a million
objects more than at its last run. A search leaves no cycles, but a user's own strategy may. At the usual
thresholds the collector looks through all live nodes again and again, and stops the searches meanwhile; at
thousands too, since it counts what is new less what is gone, and looks at far more than it counts."""

Search = Callable[[Operations], Awaitable[Sequence[Node]]]
"""A strategy with its parameters."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A path that a search returned. ``score`` is under the run's aggregation, None if not scored.
    ``path`` is its place in the tree; attempts of a chain of revisions are each other's ancestors."""

    path: str
    text: str
    tokens: int
    answer: str | None
    correct: bool
    score: float | None
    step_scores: tuple[float, ...]
    finish: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one search found. ``selected`` is the answer by each selection rule; FLOPs in ``usage``.

    ``exhausted``: the lease ended the search early. ``error``: what broke it, then nothing is found.
    ``seconds``: from its start, beside the other searches, to its answer; NaN where it was not measured.
    """

    problem: Problem
    solutions: tuple[Solution, ...]
    selected: Mapping[str, str | None]
    correct: Mapping[str, bool]
    usage: Usage
    exhausted: bool = False
    error: str | None = None
    seconds: float = math.nan

    @property
    def covered(self) -> bool:
        """Whether any solution is correct."""
        return any(solution.correct for solution in self.solutions)


@dataclass
class Controller:
    """Without a ``policy`` each problem has a fixed share of the budget (``allocation: uniform``):
    ``shares``, in FLOPs, or where that is None the same for all; ``searches_at_once`` bounds the problems in
    flight. With a policy all are in flight, since it compares them. Earlier problems have priority.

    ``on_result`` is called as each search ends, in the order in which they end.
    """

    setting: SearchContext
    answers: Answers
    budget: Lease
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    searches_at_once: int = 128
    shares: Sequence[int] | None = None
    policy: Allocator | None = None
    on_result: Callable[[SearchResult], None] = lambda result: None
    usage: Usage = field(default_factory=Usage)
    rounds: Rounds | None = None
    """Where the policy moves the budget, once it runs."""

    def __post_init__(self) -> None:
        self._read = cache(self._read_of)  # a policy asks for the same ones round after round
        # One thread: more of them would only take the interpreter from the searches.
        self._judge: Executor = ThreadPoolExecutor(1, "judge")

    async def run(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        """Search every problem under its lease of the budget; once in the life of a controller.

        ``prompts`` are the problems' token ids. Results are in the order of the problems. Raises the
        first of the errors that end a run (``FATAL``).
        """
        run = self._equally if self.policy is None else self._in_rounds
        try:
            with rare_collections(), self._judge:
                return await run(problems, prompts, search)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _equally(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        shares = self.shares or [self.budget.limit // len(problems)] * len(problems)
        slots = asyncio.Semaphore(self.searches_at_once)

        async def one(index: int) -> SearchResult:
            async with slots:
                lease = self.budget.lease(shares[index], problems[index].id)
                ops = Operations(problems[index], prompts[index], lease, self.setting, priority=index)
                result = await self._search(ops, search)
                lease.close()
            return self._done(result)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in range(len(problems))]
        return [task.result() for task in tasks]

    async def _in_rounds(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        assert self.policy is not None

        def solutions(index: int) -> list[Candidate]:
            return [self._read(node, len(prompts[index]))[1] for node in searches[index].solutions]

        rounds = self.rounds = Rounds(self.budget, self.policy, solutions)
        searches = [
            Operations(
                problem, prompt, rounds.open(problem.id, self._price(prompt)), self.setting, priority=index
            )
            for index, (problem, prompt) in enumerate(zip(problems, prompts, strict=True))
        ]

        async def one(index: int) -> SearchResult:
            result = await self._search(searches[index], search)
            rounds.close(index)
            return self._done(replace(result, exhausted=result.exhausted and index not in rounds.solved))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in range(len(problems))]
            group.create_task(rounds.run())
        return [task.result() for task in tasks]

    def _price(self, prompt: tuple[int, ...]) -> Price:
        setting = self.setting
        longest = setting.sampling.max_tokens
        return Price.of(len(prompt), longest, setting.generator, setting.verifier, setting.verifier_kind)

    def _done(self, result: SearchResult) -> SearchResult:
        self.usage += result.usage
        self.on_result(result)
        return result

    async def _search(self, ops: Operations, search: Search) -> SearchResult:
        started = time.monotonic()
        result = await self._searched(ops, search)
        return replace(result, seconds=time.monotonic() - started)

    async def _searched(self, ops: Operations, search: Search) -> SearchResult:
        judge = partial(self._judged, ops.problem, len(ops.prompt), ops.usage)
        try:
            try:
                nodes, exhausted = await search(ops), False
            except BudgetExhausted:
                await ops.drain()
                nodes, exhausted = ops.finished, True
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._judge, partial(judge, nodes, exhausted=exhausted))
        except FATAL:
            raise
        except Exception as error:
            return judge((), error=f"{type(error).__name__}: {error}")
        finally:
            await ops.drain()

    def _judged(
        self,
        problem: Problem,
        start: int,
        usage: Usage,
        nodes: Sequence[Node],
        *,
        exhausted: bool = False,
        error: str | None = None,
    ) -> SearchResult:
        read = [self._read(node, start) for node in nodes]
        candidates = [candidate for _, candidate in read]
        solutions = tuple(
            self._solution(problem, node, start, *each) for node, each in zip(nodes, read, strict=True)
        )
        selected = {name: rule(candidates) for name, rule in self.rules.items()}
        correct = {rule: self.answers.correct(answer, problem.answer) for rule, answer in selected.items()}
        return SearchResult(problem, solutions, selected, correct, usage, exhausted, error)

    def _read_of(self, node: Node, start: int) -> tuple[str, Candidate]:
        """The text of a finished path whose prompt has ``start`` tokens, and what selection sees of it."""
        # What was cut at the length limit has no final answer, whatever its last words look like.
        text = self.setting.codec.decode(node.tokens[start:])
        answer = self.answers.extract(text) if node.finish == "end" else None
        score = AGGREGATIONS[self.setting.aggregation](node.scores) if node.scored else None
        return text, Candidate(answer, score, node.key.partition(".")[0])

    def _solution(
        self, problem: Problem, node: Node, start: int, text: str, candidate: Candidate
    ) -> Solution:
        return Solution(
            node.key,
            text,
            len(node.tokens) - start,
            candidate.answer,
            self.answers.correct(candidate.answer, problem.answer),
            candidate.score,
            node.scores,
            node.finish or "",
        )


@contextmanager
def rare_collections() -> Iterator[None]:
    """The cycle collector runs at ``COLLECTIONS``, and not over what was there before."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
