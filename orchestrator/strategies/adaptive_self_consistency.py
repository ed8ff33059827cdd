"""Adaptive self-consistency (Aggarwal et al. 2023): samples until the majority is hardly in doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy


def check(n: int, width: int, threshold: float) -> None:
    """Raises BadInput unless there is a solution to sample, and the threshold is a chance to stay ahead."""
    at_least("strategy.n", n, 1)
    at_least("strategy.width", width, 1)
    if not 0.5 <= threshold <= 1:
        raise BadInput("strategy.threshold", threshold, "allowed: 0.5 to 1 (stops where nothing can change)")


@strategy(check=check, begins="solutions")
async def adaptive_self_consistency(
    ops: Operations, *, n: int = 64, width: int = 4, threshold: float = 0.95
) -> Sequence[Node]:
    """Samples independent solutions, ``width`` at a time and ``n`` at most, until the answer that leads is
    the more frequent of the first two with a posterior probability of ``threshold`` or more.

    It also stops where the samples that are left cannot change the majority. No verifier is needed.
    """
    solutions: list[Node] = []
    while len(solutions) < n:
        solutions += await ops.sample(ops.root, min(width, n - len(solutions)), until="end")
        votes = Counter(answer for answer in await ops.answers(solutions) if answer is not None)
        leader, second = ([count for _, count in votes.most_common(2)] + [0, 0])[:2]
        decided = leader - second > n - len(solutions)
        if decided or (leader and ahead(leader, second) >= threshold):
            break
    return solutions


def ahead(leader: int, second: int) -> float:
    """Returns the probability that the answer with ``leader`` votes is more frequent than that with
    ``second``: that a Beta(leader + 1, second + 1) is above ½, its prior being uniform."""
    throws = leader + second + 1
    # A Beta's tail at ½ is a binomial's: as many fair throws with ``leader`` heads at most.
    return sum(comb(throws, heads) for heads in range(leader + 1)) / 2**throws
