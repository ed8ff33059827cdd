"""The operations that a strategy is written in: sample, write, revise and score."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from random import Random
from typing import get_args

from actors.messages import Until
from orchestrator.budget.ledger import Lease
from orchestrator.errors import BadInput
from orchestrator.problems.problem import Problem
from orchestrator.search.arguments import check_among, count_of, counts_of, nodes_of
from orchestrator.search.charges import Charges
from orchestrator.search.context import ReadsAnswers, SearchContext, Usage
from orchestrator.search.draft import Author
from orchestrator.search.execution import Execution, Keep
from orchestrator.search.performing import Performer
from orchestrator.search.planning import Planner, seed_of
from orchestrator.search.prompts import Prompts
from orchestrator.search.selection import AGGREGATIONS
from orchestrator.search.tree import Node


class Operations:
    """The operations of one search over one problem, paid from one lease.

    ``problem`` is the problem, ``prompt`` its token ids, ``root`` the node that all paths begin at; ``read``
    reads answers, for a strategy that goes by them.
    """

    def __init__(
        self,
        problem: Problem,
        prompt: tuple[int, ...],
        lease: Lease,
        context: SearchContext,
        *,
        priority: int = 0,
        read: ReadsAnswers | None = None,
    ) -> None:
        self.problem = problem
        self.prompt = prompt
        self._lease = lease
        self._context = context
        self._read = read
        charges, usage = Charges(context, problem, prompt), Usage()
        prompts = Prompts(charges, usage)
        times = context.times.get(problem.id)
        self._execution = Execution(problem.id, lease, context.journal, usage, prompts, times)
        self._planner = Planner(problem, charges, prompts, priority)
        self._performer = Performer(charges, self._planner, self._execution)
        self.root = self._planner.root
        self.chosen: str | None = None
        """What a strategy that runs others has chosen for this problem, in words; the results show it."""
        self._score_lock = asyncio.Lock()
        self._scored: dict[str, Node] = {}

    # -- what a strategy may look at ---------------------------------------------------------------

    @cached_property
    def random(self) -> Random:
        """The strategy's own random generator: the same in every run of this seed and problem."""
        return Random(seed_of(self._context.seed, self.problem.id, ""))

    @property
    def end_of_thinking(self) -> str:
        """The marker that ends the generator's thinking. Raises ValueError if the run has none."""
        marker = self._context.codec.end_of_thinking
        if marker is None:
            raise ValueError("this run has no generator.end_of_thinking")
        return marker

    @property
    def usage(self) -> Usage:
        """The charges of the search so far."""
        return self._execution.usage

    @property
    def left(self) -> int:
        """FLOPs that the search may still spend, of what it has been given so far."""
        return self._lease.left

    @property
    def finished(self) -> list[Node]:
        """The finished nodes so far, in the strategy's order: the answer of a search that is cut short.

        A strategy may change or replace the list.
        """
        return self._execution.finished

    @finished.setter
    def finished(self, nodes: list[Node]) -> None:
        if not isinstance(nodes, list):
            raise BadInput("ops.finished", nodes, "allowed: a list of nodes")
        self._execution.finished = nodes

    @property
    def solutions(self) -> list[Node]:
        """The solutions of ``finished``, with the finished nodes of a call that waits for funds."""
        return [*filter(self.is_solution, self.finished), *self._execution.running]

    @property
    def paths(self) -> int:
        """The number of paths that were asked for so far."""
        return self._planner.paths

    @property
    def broken(self) -> BaseException | None:
        """The error, if any, after which no operation can end well."""
        return self._execution.broken

    def when_broken(self, stop: Callable[[], object]) -> None:
        """Lets ``stop`` be called when there is such an error."""
        self._execution.on_broken = stop

    @property
    def score_error(self) -> BaseException | None:
        """Why the verifier has no score for a path; None where it had one for all."""
        return self._performer.score_error

    def is_solution(self, found: object) -> bool:
        """Tells whether ``found`` is a finished node of this problem, as an operation has returned it."""
        return isinstance(found, Node) and self._execution.made(found)

    def text(self, node: Node) -> str:
        """Returns the text of a path after the prompt, as its answer is read: up to a stop text."""
        return self._context.codec.solution(node.tokens[len(self.prompt) :])

    async def funds(self) -> int:
        """Returns the FLOPs that the search has for what it does next.

        That is what is left of its share, at once: what others leave of theirs may come on top of it. Where
        the budget moves between problems in rounds, it waits for the decision, which is the last one for this
        problem.
        """
        return await self._lease.last_growth()

    def value(self, node: Node) -> float:
        """Returns the verifier's value of a path: its step scores under the configured aggregation.

        It is 0, the least, for a path that could not be scored (``Usage.unscored``).
        """
        return AGGREGATIONS[self._context.aggregation](node.scores) if node.scored else 0.0

    def confidence(self, node: Node) -> float:
        """Returns the generator's own confidence in a path, from 0 to 1, as ``generator.confidence`` says.

        It is 0, the least, for a path without a sampled token. Raises ValueError where it is not asked for.
        """
        if self._context.confidence is None:
            raise ValueError("this run has no generator.confidence")
        return self._context.confidence(node.logprobs) or 0.0

    # -- the operations ----------------------------------------------------------------------------

    async def sample(
        self,
        parents: Node | Sequence[Node],
        n: int | Sequence[int],
        *,
        until: Until = "step",
        temperature: float | None = None,
        score: bool = True,
        keep: Keep = "always",
        distinct: bool = False,
    ) -> list[Node]:
        """Continues each parent ``n`` times (parent i ``n[i]`` times), to the next step or to the end.

        Each child goes to the verifier the moment it is sampled. Returns the children, parent by parent. With
        ``distinct``, a child that is equal to an earlier one of the same parent is that very node: it is in
        the list again, and its sample is charged but no second score.
        Finished children are added to ``finished`` as ``keep`` says. Raises BudgetExhausted if the lease
        could not pay for all, once those that it could pay for are done; the error of the first that fails,
        once the others are done; and BadInput for what no engine takes.
        """
        nodes = nodes_of("parents", parents)
        counts = counts_of(n, len(nodes))
        check_among("keep", keep, get_args(Keep))
        scored = bool(score) and self._context.verifier is not None
        batches = [
            self._planner.continuations(parent, count, until, temperature, scored, distinct=bool(distinct))
            for parent, count in zip(nodes, counts, strict=True)
            if count
        ]
        return await self._execution.run(batches, self._performer.sample, keep)

    async def write(self, n: int, author: Author, *, suppressed: int = 0) -> list[Node]:
        """Writes ``n`` paths from the root: ``author`` samples and gives pieces in turn, each path is scored
        when it is done.

        A draft reserves the worst case of a whole solution, and of ``suppressed`` endings that it samples and
        drops, before it starts. So each draft that starts reaches its end and waits for no other. Its last
        piece must be a sampled one. Returns the last nodes of the drafts. Raises as ``sample`` does.
        """
        scored = self._context.verifier is not None
        count, dropped = count_of("n", n), count_of("suppressed", suppressed)
        drafts = self._planner.drafts(author, count, dropped, scored)
        return await self._execution.run([drafts], self._performer.write)

    async def revise(self, chains: Sequence[Sequence[Node]]) -> list[Node]:
        """Writes one new attempt for each chain of finished attempts (oldest first), by the reviser, and
        scores it. An empty chain asks for a first attempt.

        The attempts of a chain are a path: each one is the child of the one before. A first attempt is
        charged like a sample; a later one also for the whole of its context, which is no prefix of any other.
        Raises as ``sample`` does.
        """
        scored = self._context.verifier is not None
        batches = []
        for begun, alike in groupby((nodes_of("chains", chain) for chain in chains), key=bool):
            if begun:
                batches += [self._planner.revisions(chain, 1, scored) for chain in alike]
            else:  # first attempts, however many, cost the same
                batches.append(self._planner.revisions((), sum(1 for _ in alike), scored))
        return await self._execution.run(batches, self._performer.sample)

    async def score(self, nodes: Sequence[Node]) -> list[Node]:
        """Returns the nodes with every step scored; one that is scored already comes back as it is, and one
        that the verifier cannot score without scores (``Usage.unscored``). Raises as ``sample`` does."""
        nodes = nodes_of("nodes", nodes)
        async with self._score_lock:  # two calls for one node: the second finds what the first has paid for
            unscored = {node.key: node for node in nodes if not node.scored and node.key not in self._scored}
            scored = await self._execution.run(
                [self._planner.score(node) for node in unscored.values()],
                lambda operation, reservation: self._performer.score(
                    operation.node, reservation, operation.shown
                ),
                "scored",
            )
            self._scored |= {node.key: node for node in scored}
        return [node if node.scored else self._scored[node.key] for node in nodes]

    async def answers(self, nodes: Sequence[Node]) -> list[str | None]:
        """Returns what each finished node votes for: equal texts for equal answers, and None where there is
        no answer (as of a path that is not finished), or it could not be read in time.

        Reading costs no FLOPs, and its result depends on the path alone: it is not journaled.
        """
        nodes = nodes_of("nodes", nodes)
        for node in nodes:
            self._planner.check_here(node)
        if self._read is None:
            raise ValueError("nothing reads the answers of this search")
        await asyncio.sleep(0)  # so that a strategy which asks for ever for what is known stops nobody
        return await self._read(nodes)

    async def drain(self) -> None:
        """Refuses what still waits for more funds, and waits for the operations that a strategy left running,
        so that the lease can be closed."""
        await self._execution.drain()
