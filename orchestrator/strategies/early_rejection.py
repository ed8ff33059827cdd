"""Early rejection: best-of-N that gives a path up once a new one is worth more, and may stop at a good one.

A path's value is compared with those of the same problem. So it works where a verifier's scores are chances
of success (small for all paths of a hard problem) as well as where they say whether each step is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy


def check(n: int, width: int, threshold: float, stop: float, max_rounds: int, **others: object) -> None:
    """Raises BadInput unless counts are positive and both thresholds are within [0, 1]."""
    for key, value in (("n", n), ("width", width), ("max_rounds", max_rounds)):
        at_least(f"strategy.{key}", value, 1)
    if not 0 <= threshold <= 1:
        raise BadInput("strategy.threshold", threshold, "allowed: 0 (never gives up) to 1")
    if not 0 <= stop <= 1:
        raise BadInput("strategy.stop", stop, "allowed: 0 to 1 (never stops)")


@strategy(check=check, begins="steps", needs_verifier=True)
async def early_rejection(
    ops: Operations,
    *,
    n: int = 64,
    width: int = 4,
    threshold: float = 0.25,
    stop: float = 1.0,
    max_rounds: int = 40,
    distinct: bool = True,
) -> Sequence[Node]:
    """Samples ``n`` independent paths, ``width`` at a time, each one step by step as long as it is worth more
    than ``threshold`` times a new one: the mean value of all first steps so far.

    What is not spent on lost paths pays for more of them. No more are begun once a finished one is worth more
    than ``stop``.

    With ``distinct``, a path whose steps so far are there already goes on from there, and only what is new of
    it is scored. Its next steps are its own.
    """
    firsts: list[float] = []
    judged = 0
    for begun in range(0, n, width):
        if any(ops.value(node) > stop for node in ops.finished[judged:]):
            break
        judged = len(ops.finished)
        frontier = await ops.sample(ops.root, min(width, n - begun), distinct=distinct)
        firsts += map(ops.value, frontier)
        least = threshold * sum(firsts) / len(firsts)
        for _ in range(max_rounds - 1):
            live = [node for node in frontier if not node.finished and ops.value(node) >= least]
            if not live:
                break
            frontier = await ops.sample(live, 1, distinct=distinct)
    return ops.finished
