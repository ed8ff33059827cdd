"""Selects one answer among solutions: by majority, best score or weighted vote, under a step aggregation.

Selection is apart from search: one search gives the answer of every rule at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Aggregation = Callable[[Sequence[float]], float]

AGGREGATIONS: Mapping[str, Aggregation] = {"last": lambda scores: scores[-1], "min": min, "prod": math.prod}
"""By name: how the scores of a solution's steps make its score (Snell et al. 2024, section 5.1 and appendix
E)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished solution as selection sees it."""

    answer: str | None
    """None where no answer could be extracted: such a solution never votes."""
    score: float | None
    """None where no verifier scored it."""
    chain: str = ""
    """The name of the chain of revisions that it belongs to."""


def majority(candidates: Sequence[Candidate]) -> str | None:
    """Returns the most frequent answer (self-consistency)."""
    return _argmax(candidates, lambda candidate: 1.0)


def best(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer of the best-scored solution (best-of-N); None where nothing is scored."""
    scored = [c for c in candidates if c.answer is not None and c.score is not None]
    return max(scored, key=_score).answer if scored else None


def weighted(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer whose solutions have the largest sum of scores (best-of-N weighted; Snell et al.
    2024, section 5.1)."""
    return _argmax([c for c in candidates if c.score is not None], _score)


def hierarchical(candidates: Sequence[Candidate]) -> str | None:
    """Selects by weight within each chain of revisions, then by weight among the chains' answers, each with
    the score of its best attempt (Snell et al. 2024, section 6.1)."""
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
    """Returns the rules that apply: without scores only majority; ``hierarchical`` where solutions come in
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
