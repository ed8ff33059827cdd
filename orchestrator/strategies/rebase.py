"""REBASE, reward-balanced search (Wu et al. 2024, Inference Scaling Laws)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.beam_search import different
from orchestrator.strategies.definition import strategy


def check(n: int, temperature: float, max_rounds: int, **others: object) -> None:
    """Raises BadInput unless counts and the temperature are positive."""
    at_least("strategy.n", n, 1)
    at_least("strategy.max_rounds", max_rounds, 1)
    if not temperature > 0:  # so written, it refuses NaN too
        raise BadInput("strategy.temperature", temperature, "allowed: above 0")


@strategy(check=check, begins="steps", needs_verifier=True)
async def rebase(
    ops: Operations,
    *,
    n: int = 16,
    temperature: float = 0.1,
    max_rounds: int = 40,
    distinct: bool = True,
) -> Sequence[Node]:
    """Samples ``n`` first steps; at each depth shares the remaining number of children among the unfinished
    nodes by softmax(value / ``temperature``). A finished node takes its place with it: B_i = B_{i-1} -
    completed.

    With ``distinct``, equal steps after one path are one node, with one share. A finished path counts as
    often as it was sampled.
    """
    frontier = await ops.sample(ops.root, n, distinct=distinct)
    solutions: list[Node] = []
    for _ in range(max_rounds - 1):
        solutions += [node for node in frontier if node.finished]
        live = different(node for node in frontier if not node.finished)
        if not live:
            break
        children = balance([ops.value(node) for node in live], n - len(solutions), temperature)
        frontier = await ops.sample(live, children, distinct=distinct)
    else:
        solutions += [node for node in frontier if node.finished]
    return solutions


def balance(values: Sequence[float], budget: int, temperature: float) -> list[int]:
    """Returns the number of children of each node, in sum exactly ``budget``: W_j = B · softmax(R_j / T),
    rounded by largest remainder, so that no node has fewer than a worse one. Of equal remainders the better
    node's comes first."""
    top = max(values)
    weights = [math.exp((value - top) / temperature) for value in values]
    exact = [budget * weight / sum(weights) for weight in weights]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(values)), key=lambda j: (shares[j] - exact[j], -values[j]))
    for j in by_remainder[: budget - sum(shares)]:
        shares[j] += 1
    return shares
