"""The operations that a strategy is written in: sample, write, revise and score."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from random import Random
from typing import Literal

from actors.messages import Until
from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Lease
from orchestrator.problems.problem import Problem
from orchestrator.search.charges import Charges
from orchestrator.search.context import SearchContext, Usage
from orchestrator.search.draft import Author
from orchestrator.search.execution import Execution, Keep
from orchestrator.search.performing import Performer
from orchestrator.search.planning import Planner, seed_of
from orchestrator.search.selection import AGGREGATIONS
from orchestrator.search.tree import Node


class Operations:
    """The operations of one search over one problem, paid from one lease.

    ``problem`` is the problem, ``prompt`` its token ids, ``root`` the node that all paths begin at.
    """

    def __init__(
        self,
        problem: Problem,
        prompt: tuple[int, ...],
        lease: Lease,
        context: SearchContext,
        *,
        priority: int = 0,
    ) -> None:
        self.problem = problem
        self.prompt = prompt
        self._lease = lease
        self._context = context
        charges = self._charges = Charges(context, problem, prompt)
        self._execution = Execution(problem.id, lease, context.journal)
        self._planner = Planner(problem, charges, priority)
        self._performer = Performer(charges, self._planner, self._execution)
        self.root = self._planner.root
        self._prompt_paid: set[str] = set()
        self._prompt_lock = asyncio.Lock()
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
        """FLOPs that the search may still spend."""
        return self._lease.left

    @property
    def finished(self) -> list[Node]:
        """The finished nodes so far, in the strategy's order: the answer of a search that is cut short.

        A strategy may change or replace the list.
        """
        return self._execution.finished

    @finished.setter
    def finished(self, nodes: list[Node]) -> None:
        self._execution.finished = nodes

    @property
    def solutions(self) -> list[Node]:
        """``finished`` with the finished nodes of a call that waits for funds."""
        return self._execution.solutions

    def text(self, node: Node) -> str:
        """Returns the text of a path after the prompt, as its answer is read: up to a stop text."""
        return self._context.codec.solution(node.tokens[len(self.prompt) :])

    async def funds(self) -> int:
        """Returns the FLOPs that the search has for what it does next.

        That is what is left of a fixed share. Where the budget moves between problems, it waits for the
        decision, which is the last one for this problem.
        """
        return await self._lease.last_growth()

    def value(self, node: Node) -> float:
        """Returns the verifier's value of a path: its step scores under the configured aggregation.

        It is 0, the least, for a path that could not be scored (``Usage.unscored``).
        """
        return AGGREGATIONS[self._context.aggregation](node.scores) if node.scored else 0.0

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
    ) -> list[Node]:
        """Continues each parent ``n`` times (parent i ``n[i]`` times), to the next step or to the end.

        Each child goes to the verifier the moment it is sampled. Returns the children, parent by parent.
        Finished children are added to ``finished`` as ``keep`` says. Raises BudgetExhausted if the lease
        could not pay for all, once those that it could pay for are done.
        """
        nodes = [parents] if isinstance(parents, Node) else list(parents)
        counts = [n] * len(nodes) if isinstance(n, int) else list(n)
        scored = score and self._context.verifier is not None
        operations = [
            operation
            for parent, count in zip(nodes, counts, strict=True)
            if count
            for operation in self._planner.continuations(parent, count, until, temperature, scored)
        ]
        await self._pay_prompt("generator")
        if scored:
            await self._pay_verifiers_prompt()
        return await self._execution.run(operations, self._performer.sample, keep)

    async def write(self, n: int, author: Author, *, suppressed: int = 0) -> list[Node]:
        """Writes ``n`` paths from the root: ``author`` samples and gives pieces in turn, each path is scored
        when it is done.

        A draft reserves the worst case of a whole solution, and of ``suppressed`` endings that it samples and
        drops, before it starts. So each draft that starts reaches its end and waits for no other. Its last
        piece must be a sampled one. Returns the last nodes of the drafts. Raises as ``sample`` does.
        """
        scored = self._context.verifier is not None
        operations = [self._planner.draft(author, suppressed, scored) for _ in range(n)]
        await self._pay_prompt("generator")
        if scored:
            await self._pay_verifiers_prompt()
        return await self._execution.run(operations, self._performer.write)

    async def revise(self, chains: Sequence[Sequence[Node]]) -> list[Node]:
        """Writes one new attempt for each chain of finished attempts (oldest first), by the reviser, and
        scores it. An empty chain asks for a first attempt.

        The attempts of a chain are a path: each one is the child of the one before. A first attempt is
        charged like a sample; a later one also for the whole of its context, which is no prefix of any other.
        Raises as ``sample`` does.
        """
        scored = self._context.verifier is not None
        operations = [self._planner.revision(chain, scored) for chain in chains]
        if not all(chains):
            await self._pay_prompt("reviser")
        if scored:
            await self._pay_verifiers_prompt()
        return await self._execution.run(operations, self._performer.sample)

    async def score(self, nodes: Sequence[Node]) -> list[Node]:
        """Returns the nodes with every step scored; one that is scored already comes back as it is. Raises as
        ``sample`` does."""
        async with self._score_lock:  # two calls for one node: the second finds what the first has paid for
            unscored = {node.key: node for node in nodes if not node.scored and node.key not in self._scored}
            await self._pay_verifiers_prompt()
            scored = await self._execution.run(
                [self._planner.score(node) for node in unscored.values()],
                lambda operation, reservation: self._performer.score(
                    operation.node, reservation, operation.shown
                ),
            )
            self._scored |= {node.key: node for node in scored}
        return [node if node.scored else self._scored[node.key] for node in nodes]

    async def drain(self) -> None:
        """Waits for the operations that a strategy left running, so that the lease can be closed."""
        await self._execution.drain()

    # -- prompts -----------------------------------------------------------------------------------

    async def _pay_verifiers_prompt(self) -> None:
        """Charges what begins all inputs of the verifier, once a problem. An ORM reads it again with each
        attempt and is charged so."""
        if self._charges.verifier.opening:
            await self._pay_prompt("verifier")

    async def _pay_prompt(self, model: Literal["generator", "verifier", "reviser"]) -> None:
        """Charges the prompt once a problem to a model that reads it: once where the generators revise.

        A second call waits until the first one's charge is granted. Raises BudgetExhausted where the lease
        cannot pay, and then a later call asks again.
        """
        if model == "reviser" and self._context.reviser is self._context.generator:
            model = "generator"
        reader: CostModel | None = getattr(self._context, model)
        if reader is None or model in self._prompt_paid:
            return
        async with self._prompt_lock:
            if model in self._prompt_paid:
                return
            length = self._charges.verifier.opening if model == "verifier" else len(self.prompt)
            flops = reader.prefill(length)
            await self._execution.pay(flops)
            self._prompt_paid.add(model)
        if model == "verifier":
            self.usage.verifier_flops += flops
            self.usage.verifier_tokens += length
        else:
            self.usage.generator_flops += flops
            self.usage.generator_tokens += length
