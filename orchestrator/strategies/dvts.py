"""Diverse verifier tree search (Beeching, Tunstall & Rush 2024, search-and-learn)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies import beam_search
from orchestrator.strategies.beam_search import WORDS, Width, continuations, different, share, top
from orchestrator.strategies.definition import strategy

check = beam_search.check


@strategy(check=check, begins="steps", needs_verifier=True, words=WORDS)
async def dvts(
    ops: Operations, *, n: int = 16, width: Width = 4, max_rounds: int = 40, distinct: bool = True
) -> Sequence[Node]:
    """Grows ``n / width`` independent subtrees. Each one samples ``width`` proposals for its next step and
    goes on from the best one alone, until that is finished; its last proposals are returned.

    The subtrees advance together, so that what a budget buys does not depend on timing. With ``distinct`` no
    two of them are the same: those that would go on from one node are one subtree with as many places. It
    samples ``width`` proposals for each place, and goes on from as many of its best.
    """
    width = continuations(n, width)
    places = [1] * (n // width)
    proposals = groups(await ops.sample(ops.root, n, keep="cut", distinct=distinct), places, width)
    solutions = ops.finished
    for _ in range(max_rounds - 1):
        live: Counter[Node] = Counter()
        for subtree, count in zip(proposals, places, strict=True):
            candidates = different(subtree)
            best = top(candidates, [ops.value(node) for node in candidates], count)
            if any(node.finished for node in best):
                solutions += [proposal for proposal in subtree if proposal.finished]
            for node, part in zip(best, share(count, len(best)), strict=True):
                live[node] += 0 if node.finished else part
        live = +live
        if not live:
            break
        places = [*live.values()]
        sizes = [width * count for count in places]
        proposals = groups(await ops.sample([*live], sizes, keep="cut", distinct=distinct), places, width)
    else:
        solutions += [node for subtree in proposals for node in subtree if node.finished]
    return solutions


def groups(nodes: Sequence[Node], places: Sequence[int], width: int) -> list[Sequence[Node]]:
    """Divides the nodes into consecutive groups, of ``width`` for each place."""
    ends = [*accumulate(width * count for count in places)]
    return [nodes[end - width * count : end] for count, end in zip(places, ends, strict=True)]
