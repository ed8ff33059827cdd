"""Best-of-N (Snell §5.2; Cobbe et al. 2021): sample N whole solutions in parallel."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import at_least, strategy


def check(n: int) -> None:
    at_least("strategy.n", n, 1)


@strategy(check=check)
async def best_of_n(ops: Operations, *, n: int = 16) -> Sequence[Node]:
    """``n`` independent solutions, each scored as soon as it is sampled. What they amount to
    (majority, best, weighted) is selection's to say."""
    return await ops.sample(ops.root, n, until="end")
