"""Sequential revisions in parallel chains: the other axis of test-time compute (Snell et al. 2024, section
6)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy


def check(n: int, length: int) -> None:
    """Raises BadInput unless the attempts divide into chains of ``length``."""
    at_least("strategy.n", n, 1)
    at_least("strategy.length", length, 1)
    if n % length:
        raise BadInput("strategy.n", n, f"allowed: multiples of strategy.length ({length})")


@strategy(check=check, needs_reviser=True, begins="solutions")
async def revisions(ops: Operations, *, n: int = 16, length: int = 4) -> Sequence[Node]:
    """Writes ``n / length`` chains of ``length`` attempts (sequential to parallel is ``length`` to ``n /
    length``). Every attempt after the first is a revision that sees the last four before it.

    All attempts are returned, chain by chain: a later one can turn a correct answer into a wrong one,
    so selection is over the whole chain and not its last member.
    """
    chains: list[list[Node]] = [[] for _ in range(n // length)]
    for _ in range(length):
        for chain, attempt in zip(chains, await ops.revise(chains), strict=True):
            chain.append(attempt)
    return [attempt for chain in chains for attempt in chain]
