"""Sequential revisions, in parallel chains (Snell §6): the other axis of test-time compute."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import at_least, strategy


def check(n: int, length: int) -> None:
    at_least("strategy.n", n, 1)
    at_least("strategy.length", length, 1)
    if n % length:
        raise BadInput("strategy.n", n, f"allowed: multiples of strategy.length ({length})")


@strategy(check=check, needs_reviser=True)
async def revisions(ops: Operations, *, n: int = 16, length: int = 4) -> Sequence[Node]:
    """``n / length`` chains of ``length`` attempts each (sequential to parallel is ``length`` to
    ``n / length``): every attempt after the first is a revision that sees the last four before it.

    All attempts are returned, chain by chain: a later one can turn a correct answer into a wrong one,
    so selection is over the whole chain and not its last member.
    """
    chains: list[list[Node]] = [[] for _ in range(n // length)]
    for _ in range(length):
        for chain, attempt in zip(chains, await ops.revise(chains), strict=True):
            chain.append(attempt)
    return [attempt for chain in chains for attempt in chain]
