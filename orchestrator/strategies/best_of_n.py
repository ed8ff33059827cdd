"""Best-of-N (Cobbe et al. 2021; Snell et al. 2024, section 5.2): N whole solutions in parallel."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy


def check(n: int) -> None:
    """Raises BadInput unless there is a solution to sample."""
    at_least("strategy.n", n, 1)


@strategy(check=check, begins="solutions")
async def best_of_n(ops: Operations, *, n: int = 16) -> Sequence[Node]:
    """Samples ``n`` independent solutions, each scored as soon as it is sampled. Selection decides among
    them."""
    return await ops.sample(ops.root, n, until="end")
