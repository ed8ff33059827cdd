"""Early rejection: best-of-N that gives a path up at the first step that the verifier thinks little of."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput
from orchestrator.operations import Operations
from orchestrator.strategies.definition import at_least, strategy
from orchestrator.tree import Node


def check(n: int, width: int, threshold: float, max_rounds: int) -> None:
    for key, value in (("n", n), ("width", width), ("max_rounds", max_rounds)):
        at_least(f"strategy.{key}", value, 1)
    if not 0 <= threshold <= 1:
        raise BadInput("strategy.threshold", threshold, "allowed: 0 to 1, as the verifier's scores")


@strategy(check=check, needs_verifier=True)
async def early_rejection(
    ops: Operations, *, n: int = 64, width: int = 4, threshold: float = 0.1, max_rounds: int = 40
) -> Sequence[Node]:
    """``n`` independent paths, ``width`` at a time, each continued step by step as long as its value is
    at least ``threshold``. What is not spent on lost paths pays for more of them."""
    for begun in range(0, n, width):
        frontier = await ops.sample(ops.root, min(width, n - begun))
        for _ in range(max_rounds - 1):
            live = [node for node in frontier if not node.finished and ops.value(node) >= threshold]
            if not live:
                break
            frontier = await ops.sample(live, 1)
    return ops.finished
