"""Monte-Carlo tree search with the verifier's value in place of rollouts (UCT: Kocsis & Szepesvári 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.errors import BadInput
from orchestrator.operations import Operations
from orchestrator.strategies.definition import at_least, strategy
from orchestrator.tree import Node


def check(n: int, width: int, exploration: float, max_expansions: int) -> None:
    at_least("strategy.n", n, 1)
    at_least("strategy.width", width, 1)
    at_least("strategy.max_expansions", max_expansions, 1)
    if exploration < 0:
        raise BadInput("strategy.exploration", exploration, "allowed: 0 or more")


class Branch:
    """A node's statistics: visits, and the sum of the values that were backed up through it."""

    def __init__(self, node: Node, parent: Branch | None, value: float) -> None:
        self.node = node
        self.parent = parent
        self.children: list[Branch] = []
        self.visits = 1
        self.total = value
        self.closed = node.finished
        """Nothing below is left to expand."""

    def ucb(self, exploration: float) -> float:
        """Mean value plus an exploration term that shrinks with visits (UCB1)."""
        assert self.parent is not None
        return self.total / self.visits + exploration * math.sqrt(math.log(self.parent.visits) / self.visits)

    def back_up(self, value: float) -> None:
        self.visits += 1
        self.total += value
        if self.parent is not None:
            self.parent.back_up(value)

    def close(self) -> None:
        """Close this branch and every ancestor that has nothing open left."""
        self.closed = True
        if self.parent is not None and all(child.closed for child in self.parent.children):
            self.parent.close()


@strategy(check=check, needs_verifier=True)
async def mcts(
    ops: Operations, *, n: int = 16, width: int = 4, exploration: float = 0.5, max_expansions: int = 100
) -> Sequence[Node]:
    """Select the open leaf of the highest upper confidence bound from the root down; expand it by
    ``width`` steps; back their values up; until there are ``n`` solutions or nothing is left open."""
    root = Branch(ops.root, None, 0.0)
    solutions: list[Node] = []
    for _ in range(max_expansions):
        if len(solutions) >= n or root.closed:
            break
        leaf = root
        while leaf.children:
            leaf = max((c for c in leaf.children if not c.closed), key=lambda c: c.ucb(exploration))
        children = await ops.sample(leaf.node, width)
        leaf.children = [Branch(child, leaf, ops.value(child)) for child in children]
        for branch in leaf.children:
            leaf.back_up(branch.total)
        solutions += [child for child in children if child.finished]
        if all(branch.closed for branch in leaf.children):
            leaf.close()
    return solutions
