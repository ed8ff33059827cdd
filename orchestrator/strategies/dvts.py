"""Diverse verifier tree search (Beeching, Tunstall & Rush 2024, search-and-learn)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies import beam_search
from orchestrator.strategies.beam_search import WORDS, Width, continuations, share
from orchestrator.strategies.definition import strategy

check = beam_search.check


@strategy(check=check, begins="steps", needs_verifier=True, words=WORDS)
async def dvts(
    ops: Operations, *, n: int = 16, width: Width = 4, max_rounds: int = 40, distinct: bool = True
) -> Sequence[Node]:
    """Grows ``n / width`` independent subtrees. Each one samples ``width`` proposals for its next step and
    goes on from the best one alone, until that is finished; its last proposals are returned.

    The subtrees advance together, so that what a budget buys does not depend on timing. With ``distinct`` no
    two of them are the same: one whose best proposal is another's goes on from its next best. One that has no
    proposal of its own ends, and the others have its share of the proposals.
    """
    width = continuations(n, width)
    sizes = [width] * (n // width)
    proposals = groups(await ops.sample(ops.root, n, keep="cut", distinct=distinct), sizes)
    solutions = ops.finished
    going_on = n
    for _ in range(max_rounds - 1):
        best = best_of_each(proposals, ops.value)
        for subtree, node in zip(proposals, best, strict=True):
            if node is not None and node.finished:
                solutions += [proposal for proposal in subtree if proposal.finished]
                going_on -= width
        live = [node for node in best if node is not None and not node.finished]
        if not live:
            break
        sizes = share(going_on, len(live))
        proposals = groups(await ops.sample(live, sizes, keep="cut", distinct=distinct), sizes)
    else:
        solutions += [node for subtree in proposals for node in subtree if node.finished]
    return solutions


def groups(nodes: Sequence[Node], sizes: Sequence[int]) -> list[Sequence[Node]]:
    """Divides the nodes into consecutive groups of these sizes."""
    ends = [*accumulate(sizes)]
    return [nodes[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def best_of_each(subtrees: Sequence[Sequence[Node]], value: Callable[[Node], float]) -> list[Node | None]:
    """Returns the best proposal of each subtree that is none of an earlier one; None where there is no other.
    Of equal values the first counts."""
    taken: set[Node] = set()
    found: list[Node | None] = []
    for subtree in subtrees:
        best = max((node for node in subtree if node not in taken), key=value, default=None)
        found.append(best)
        if best is not None:
            taken.add(best)
    return found
