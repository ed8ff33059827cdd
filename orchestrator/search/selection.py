"""From solutions to one answer: majority, best and weighted, under a step aggregation.

Selection is apart from search: one search gives the answer of every rule at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Aggregation = Callable[[Sequence[float]], float]

AGGREGATIONS: Mapping[str, Aggregation] = {"last": lambda scores: scores[-1], "min": min, "prod": math.prod}
"""From the scores of a solution's steps to the score of the solution (Snell §5.1, appendix E)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished solution as selection sees it: its answer, and the solution's score if a verifier
    scored it. ``answer`` is None where none could be extracted: such a solution never votes. ``chain``
    names the chain of revisions that it belongs to."""

    answer: str | None
    score: float | None
    chain: str = ""


def majority(candidates: Sequence[Candidate]) -> str | None:
    """The most frequent answer (self-consistency)."""
    return _argmax(candidates, lambda candidate: 1.0)


def best(candidates: Sequence[Candidate]) -> str | None:
    """The answer of the best-scored solution (best-of-N). None where nothing is scored."""
    scored = [c for c in candidates if c.answer is not None and c.score is not None]
    return max(scored, key=_score).answer if scored else None


def weighted(candidates: Sequence[Candidate]) -> str | None:
    """argmax_a of the sum of the scores of the solutions that answer a (best-of-N weighted, PAPER §3)."""
    return _argmax([c for c in candidates if c.score is not None], _score)


def hierarchical(candidates: Sequence[Candidate]) -> str | None:
    """Weighted within each chain of revisions, then weighted across the chains' answers, each with the
    score of its best attempt (Snell §6.1)."""
    chains: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.score is not None:
            chains.setdefault(candidate.chain, []).append(candidate)
    winners = []
    for name, chain in chains.items():
        answer = weighted(chain)
        winners.append(Candidate(answer, max(_score(c) for c in chain if c.answer == answer), name))
    return weighted(winners)


Rule = Callable[[Sequence[Candidate]], str | None]

RULES: Mapping[str, Rule] = {"majority": majority, "best": best, "weighted": weighted}


def rules(*, scored: bool, chains: bool) -> Mapping[str, Rule]:
    """The rules that apply: without scores only majority; ``hierarchical`` where solutions come in
    chains of revisions."""
    if not scored:
        return {"majority": majority}
    return {**RULES, "hierarchical": hierarchical} if chains else RULES


def _score(candidate: Candidate) -> float:
    assert candidate.score is not None
    return candidate.score


def _argmax(candidates: Sequence[Candidate], weight: Callable[[Candidate], float]) -> str | None:
    """The answer of the largest total weight; on a tie, the one found first."""
    totals: dict[str, float] = {}
    for candidate in candidates:
        if candidate.answer is not None:
            totals[candidate.answer] = totals.get(candidate.answer, 0.0) + weight(candidate)
    return max(totals, key=lambda answer: totals[answer], default=None)
