"""Lookahead search: beam search whose steps are judged by where they lead (Snell et al. 2024, section
5.2)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import at_least
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies import beam_search
from orchestrator.strategies.beam_search import WORDS, Width, continuations
from orchestrator.strategies.definition import strategy


def check(n: int, width: Width, k: int, max_rounds: int, **others: object) -> None:
    """Raises BadInput unless the beam divides and ``k`` is not negative."""
    beam_search.check(n, width, max_rounds)
    at_least("strategy.k", k, 0)


@strategy(check=check, begins="steps", needs_verifier=True, words=WORDS)
async def lookahead(
    ops: Operations,
    *,
    n: int = 16,
    width: Width = 4,
    k: int = 1,
    max_rounds: int = 40,
    distinct: bool = True,
) -> Sequence[Node]:
    """Runs a beam search in which a candidate's value is the verifier's at the end of ``k`` further steps at
    temperature 0; ``k`` = 0 is plain beam search.

    It costs ``n·(k+1)`` samples a round; the steps that only look ahead are charged and dropped. With
    ``distinct`` (see ``beam_search``) nothing looks ahead twice from the same step, and a step that was
    foreseen already is not scored again when it is sampled.
    """

    async def foresee(candidates: Sequence[Node]) -> list[float]:
        ends = list(candidates)
        for _ in range(k):
            live = [i for i, end in enumerate(ends) if not end.finished]
            parents = [ends[i] for i in live]
            further = await ops.sample(parents, 1, temperature=0.0, keep="never", distinct=distinct)
            for i, end in zip(live, further, strict=True):
                ends[i] = end
        return [ops.value(end) for end in ends]

    return await beam_search.search(ops, n, continuations(n, width), max_rounds, distinct, foresee)
