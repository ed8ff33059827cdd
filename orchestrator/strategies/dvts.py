"""Diverse verifier tree search (Beeching, Tunstall & Rush 2024, search-and-learn)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies import beam_search
from orchestrator.strategies.beam_search import WORDS, Width, continuations
from orchestrator.strategies.definition import strategy

check = beam_search.check


@strategy(check=check, begins="steps", needs_verifier=True, words=WORDS)
async def dvts(ops: Operations, *, n: int = 16, width: Width = 4, max_rounds: int = 40) -> Sequence[Node]:
    """Grows ``n / width`` independent subtrees. Each one samples ``width`` proposals for its next step and
    goes on from the best one alone, until that is finished; its last ``width`` proposals are returned.

    The subtrees advance together, so that what a budget buys does not depend on timing.
    """
    width = continuations(n, width)
    proposals = groups(await ops.sample(ops.root, n, keep="cut"), width)
    solutions = ops.finished
    for _ in range(max_rounds - 1):
        best = [max(subtree, key=ops.value) for subtree in proposals]
        for subtree, node in zip(proposals, best, strict=True):
            if node.finished:
                solutions += [proposal for proposal in subtree if proposal.finished]
        live = [node for node in best if not node.finished]
        if not live:
            break
        proposals = groups(await ops.sample(live, width, keep="cut"), width)
    else:
        solutions += [node for subtree in proposals for node in subtree if node.finished]
    return solutions


def groups(nodes: Sequence[Node], size: int) -> list[Sequence[Node]]:
    """Divides the nodes into consecutive groups of ``size``."""
    return [nodes[start : start + size] for start in range(0, len(nodes), size)]
