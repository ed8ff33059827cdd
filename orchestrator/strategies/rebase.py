"""REBASE, reward-balanced search (Wu et al. 2024, Inference Scaling Laws)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy


def check(n: int, temperature: float, max_rounds: int) -> None:
    """Raises BadInput unless counts and the temperature are positive."""
    at_least("strategy.n", n, 1)
    at_least("strategy.max_rounds", max_rounds, 1)
    if not temperature > 0:  # so written, it refuses NaN too
        raise BadInput("strategy.temperature", temperature, "allowed: above 0")


@strategy(check=check, begins="steps", needs_verifier=True)
async def rebase(
    ops: Operations, *, n: int = 16, temperature: float = 0.1, max_rounds: int = 40
) -> Sequence[Node]:
    """Samples ``n`` first steps; at each depth shares the remaining number of children among the unfinished
    nodes by softmax(value / ``temperature``). A finished node takes its place with it: B_i = B_{i-1} -
    completed."""
    frontier = await ops.sample(ops.root, n)
    solutions: list[Node] = []
    for _ in range(max_rounds - 1):
        solutions += [node for node in frontier if node.finished]
        live = [node for node in frontier if not node.finished]
        if not live:
            break
        children = balance([ops.value(node) for node in live], n - len(solutions), temperature)
        frontier = await ops.sample(live, children)
    else:
        solutions += [node for node in frontier if node.finished]
    return solutions


def balance(values: Sequence[float], budget: int, temperature: float) -> list[int]:
    """Returns the number of children of each node, W_j = round(B · softmax(R_j / T)), in sum exactly
    ``budget``: the nodes are served from the best down, each with its rounded share of what is left."""
    top = max(values)
    weights = [math.exp((value - top) / temperature) for value in values]
    left, mass, shares = budget, sum(weights), [0] * len(values)
    for j in sorted(range(len(values)), key=lambda j: values[j], reverse=True):
        if left > 0 and mass > 0:
            shares[j] = min(left, round(left * min(1.0, weights[j] / mass)))
        left -= shares[j]
        mass -= weights[j]
    # Rounding errors of the mass can leave a child over: it goes to the best.
    shares[max(range(len(values)), key=lambda j: values[j])] += left
    return shares
