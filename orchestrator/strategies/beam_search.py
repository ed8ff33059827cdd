"""Beam search against a process reward model (Snell et al. 2024, section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from orchestrator.errors import BadInput, at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import strategy

Evaluate = Callable[[Sequence[Node]], Awaitable[Sequence[float]]]
"""Returns the value of each candidate, by which the beam keeps the best."""

Width = int | Literal["sqrt"]
"""Continuations of each kept step: a number, or √n (Snell et al. use 4 and √n)."""
WORDS = {"width": ("sqrt",)}


def check(n: int, width: Width, max_rounds: int, **others: object) -> None:
    """Raises BadInput unless the beam of ``n`` divides into groups of ``width``."""
    at_least("strategy.n", n, 1)
    at_least("strategy.max_rounds", max_rounds, 1)
    if width == "sqrt":
        if math.isqrt(n) ** 2 != n:
            raise BadInput("strategy.n", n, "allowed with strategy.width sqrt: squares, as 4, 16, 64, 256")
        return
    at_least("strategy.width", width, 1)
    if width > n:
        raise BadInput("strategy.width", width, f"allowed: 1 to strategy.n ({n})")
    if n % width:
        raise BadInput("strategy.n", n, f"allowed: multiples of strategy.width ({width})")


def continuations(n: int, width: Width) -> int:
    """Returns ``width`` as a number."""
    return math.isqrt(n) if width == "sqrt" else width


@strategy(check=check, begins="steps", needs_verifier=True, words=WORDS)
async def beam_search(
    ops: Operations, *, n: int = 16, width: Width = 4, max_rounds: int = 40, distinct: bool = True
) -> Sequence[Node]:
    """Samples ``n`` first steps, scores them, keeps the top ``n / width`` and samples ``width`` continuations
    of each, until all are finished or ``max_rounds`` steps deep.

    A finished path leaves the beam as a solution and takes its place in the beam with it, so the
    search ends with at most ``n`` solutions and never samples more than ``n`` steps a round.

    With ``distinct``, equal steps after one path are one candidate, and where there are fewer than
    ``n / width`` candidates each has more continuations. Without it, copies of one step may fill the beam.
    A finished path counts as often as it was sampled, in the beam and as a solution.
    """

    async def scored(candidates: Sequence[Node]) -> list[float]:
        return [ops.value(node) for node in candidates]

    return await search(ops, n, continuations(n, width), max_rounds, distinct, scored)


async def search(
    ops: Operations, n: int, width: int, max_rounds: int, distinct: bool, evaluate: Evaluate
) -> Sequence[Node]:
    """Searches with a beam whose candidates are valued by ``evaluate``."""
    frontier = await ops.sample(ops.root, n, distinct=distinct)
    solutions: list[Node] = []
    for _ in range(max_rounds - 1):
        solutions += [node for node in frontier if node.finished]
        live = different(node for node in frontier if not node.finished)
        if not live:
            break
        beam = n - len(solutions)
        best = top(live, await evaluate(live), max(1, beam // width))
        frontier = await ops.sample(best, share(beam, len(best)), distinct=distinct)
    else:
        solutions += [node for node in frontier if node.finished]
    return solutions


def different(nodes: Iterable[Node]) -> list[Node]:
    """Returns each node once, in order."""
    return [*dict.fromkeys(nodes)]


def top(nodes: Sequence[Node], values: Sequence[float], k: int) -> list[Node]:
    """Returns the ``k`` nodes of the highest value, best first; on a tie, the one sampled first."""
    order = sorted(range(len(nodes)), key=lambda i: values[i], reverse=True)
    return [nodes[i] for i in order[:k]]


def share(total: int, among: int) -> list[int]:
    """Divides ``total`` into ``among`` parts as equal as can be, the larger ones first."""
    return [total // among + (i < total % among) for i in range(among)]
