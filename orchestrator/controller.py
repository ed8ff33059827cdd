"""Runs many searches at once under one budget, and turns each into a result.

One asyncio process: a search per problem, each a coroutine over its own lease; the engines see the
requests of all of them. A problem that fails is reported and costs the others nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from actors.messages import PoolFailed
from orchestrator.answers import Answers
from orchestrator.ledger import BudgetExhausted, Lease
from orchestrator.operations import Operations
from orchestrator.problems import Problem
from orchestrator.selection import AGGREGATIONS, RULES, Candidate, Rule
from orchestrator.setting import Setting, Usage
from orchestrator.tree import Node

FATAL = (sqlite3.Error, PoolFailed)
"""Errors that end the run and not only a search: nothing could be kept, or nothing could be computed."""

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
    """

    problem: Problem
    solutions: tuple[Solution, ...]
    selected: Mapping[str, str | None]
    correct: Mapping[str, bool]
    usage: Usage
    exhausted: bool = False
    error: str | None = None

    @property
    def covered(self) -> bool:
        """Whether any solution is correct."""
        return any(solution.correct for solution in self.solutions)


@dataclass
class Controller:
    """``searches_at_once`` bounds the problems in flight; earlier problems have priority. ``shares``: FLOPs
    of the budget for each problem (None: the same for all).

    ``on_result`` is called as each search ends, in the order in which they end.
    """

    setting: Setting
    answers: Answers
    budget: Lease
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    searches_at_once: int = 128
    shares: Sequence[int] | None = None
    on_result: Callable[[SearchResult], None] = lambda result: None
    usage: Usage = field(default_factory=Usage)

    async def run(
        self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], search: Search
    ) -> list[SearchResult]:
        """Search every problem, each under a lease of its share of the budget (``allocation: uniform``).

        ``prompts`` are the problems' token ids. Results are in the order of the problems. Raises the
        first of the errors that end a run (``FATAL``).
        """
        shares = self.shares or [self.budget.limit // len(problems)] * len(problems)
        slots = asyncio.Semaphore(self.searches_at_once)

        async def one(index: int) -> SearchResult:
            async with slots:
                lease = self.budget.lease(shares[index], problems[index].id)
                result = await self._search(problems[index], prompts[index], search, lease, index)
                lease.close()
            self.usage += result.usage
            self.on_result(result)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(index)) for index in range(len(problems))]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _search(
        self, problem: Problem, prompt: tuple[int, ...], search: Search, lease: Lease, priority: int
    ) -> SearchResult:
        ops = Operations(problem, prompt, lease, self.setting, priority=priority)
        judge = partial(self._judged, problem, len(prompt), ops.usage)
        try:
            try:
                nodes, exhausted = await search(ops), False
            except BudgetExhausted:
                await ops.drain()
                nodes, exhausted = ops.finished, True
            return await asyncio.to_thread(judge, nodes, exhausted=exhausted)
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
        solutions = tuple(self._solution(problem, node, start) for node in nodes)
        candidates = [
            Candidate(solution.answer, solution.score, node.key.partition(".")[0])
            for solution, node in zip(solutions, nodes, strict=True)
        ]
        selected = {name: rule(candidates) for name, rule in self.rules.items()}
        correct = {rule: self.answers.correct(answer, problem.answer) for rule, answer in selected.items()}
        return SearchResult(problem, solutions, selected, correct, usage, exhausted, error)

    def _solution(self, problem: Problem, node: Node, start: int) -> Solution:
        text = self.setting.codec.decode(node.tokens[start:])
        # What was cut at the length limit has no final answer, whatever its last words look like.
        answer = self.answers.extract(text) if node.finish == "end" else None
        scored = len(node.scores) == len(node.step_ends)
        return Solution(
            node.key,
            text,
            len(node.tokens) - start,
            answer,
            self.answers.correct(answer, problem.answer),
            AGGREGATIONS[self.setting.aggregation](node.scores) if scored else None,
            node.scores,
            node.finish or "",
        )
