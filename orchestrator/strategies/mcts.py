"""Monte-Carlo tree search with the verifier's value in place of rollouts (UCT; Kocsis & Szepesvári 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.errors import at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.beam_search import different
from orchestrator.strategies.definition import strategy


def check(n: int, width: int, exploration: float, max_rounds: int, **others: object) -> None:
    """Raises BadInput unless counts are positive and ``exploration`` is not negative."""
    at_least("strategy.n", n, 1)
    at_least("strategy.width", width, 1)
    at_least("strategy.max_rounds", max_rounds, 1)
    at_least("strategy.exploration", exploration, 0)


class Branch:
    """A node with its visits, and the sum of the values that were backed up through it."""

    def __init__(self, node: Node, parent: Branch | None, value: float) -> None:
        self.node = node
        self.parent = parent
        self.children: list[Branch] = []
        self.visits = 1
        self.total = value
        self.closed = False
        """Every solution below has been visited."""

    @property
    def open(self) -> list[Branch]:
        """The children that are not closed."""
        return [child for child in self.children if not child.closed]

    def ucb(self, exploration: float) -> float:
        """Returns the mean value plus an exploration term that shrinks with visits (UCB1): √(ln t / visits),
        where t is the visits of this branch and its siblings."""
        assert self.parent is not None
        together = sum(child.visits for child in self.parent.children)
        return self.total / self.visits + exploration * math.sqrt(math.log(together) / self.visits)

    def back_up(self, value: float) -> None:
        """Adds the value to this branch and every ancestor."""
        self.visits += 1
        self.total += value
        if self.parent is not None:
            self.parent.back_up(value)

    def close(self) -> None:
        """Closes this branch and every ancestor that has nothing open left."""
        self.closed = True
        if self.parent is not None and not self.parent.open:
            self.parent.close()


@strategy(check=check, begins="steps", needs_verifier=True)
async def mcts(
    ops: Operations,
    *,
    n: int = 16,
    width: int = 4,
    exploration: float = 0.5,
    max_rounds: int = 40,
    distinct: bool = True,
) -> Sequence[Node]:
    """Runs ``n`` simulations. Each one goes down from the root to a solution, at every node to the open child
    of the highest upper confidence bound, and samples ``width`` children where there are none yet. Then the
    solution's value is backed up its path, which is closed.

    With ``distinct``, equal children are one branch. A node is then closed only when ``width`` more children
    of it are all copies: that ends the simulation that finds it so.
    """

    async def widen(branch: Branch) -> None:
        children = await ops.sample(branch.node, width, keep="never", distinct=distinct)
        known = {child.node for child in branch.children}
        new = [child for child in different(children) if child not in known]
        branch.children += [Branch(child, branch, ops.value(child)) for child in new]

    root = Branch(ops.root, None, 0.0)
    solutions: list[Node] = []
    for _ in range(n):
        branch = root
        while not branch.node.finished and len(branch.node.path) < max_rounds:
            if not branch.open:
                await widen(branch)
            if not branch.open:
                break
            branch = max(branch.open, key=lambda child: child.ucb(exploration))
        if branch.node.finished:
            solutions.append(branch.node)
            ops.finished.append(branch.node)
        if not branch.children:
            branch.back_up(ops.value(branch.node))
        if distinct:
            branch.closed = True
        else:
            branch.close()
        if root.closed:
            break
    return solutions
