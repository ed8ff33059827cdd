"""Selects one answer among solutions: by majority, best score or weighted vote, under a step aggregation.

Selection is apart from search: one search gives the answer of every rule at once.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
    key: str | None = None
    """Answers with equal keys are one, and vote together; None where only equal answers are."""
    path: str = ""
    """Its place in the search's tree: of answers that tie, the one that is found first there wins."""
    confidence: float | None = None
    """The generator's own, from 0 to 1; None where it is not asked for."""

    @property
    def vote(self) -> str | None:
        """What it votes for; None where it does not vote."""
        return self.answer if self.key is None else self.key


def majority(candidates: Sequence[Candidate]) -> str | None:
    """Returns the most frequent answer (self-consistency)."""
    return _spelled(candidates, _winner(candidates, lambda candidate: 1.0))


def best(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer of the best-scored solution (best-of-N); None where nothing is scored."""
    return _spelled(candidates, _best(candidates))


def weighted(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer whose solutions have the largest sum of scores (best-of-N weighted; Snell et al.
    2024, section 5.1)."""
    return _spelled(candidates, _heaviest(candidates))


def confident(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer of the solution that the generator is surest of; None where that is not known."""
    return _spelled(candidates, _best(_by_confidence(candidates)))


def confidence_weighted(candidates: Sequence[Candidate]) -> str | None:
    """Returns the answer whose solutions have the largest sum of the generator's confidences (Fu et al.
    2025)."""
    return _spelled(candidates, _heaviest(_by_confidence(candidates)))


def hierarchical(candidates: Sequence[Candidate]) -> str | None:
    """Selects by weight within each chain of revisions, then by weight among the chains' answers, each with
    the score of its best attempt (Snell et al. 2024, section 6.1)."""
    chains: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.score is not None:
            chains.setdefault(candidate.chain, []).append(candidate)
    winners = []
    for name, chain in chains.items():
        if (vote := _heaviest(chain)) is not None:
            alike = [c for c in chain if c.vote == vote]
            first = min((c.path for c in alike), key=_place)
            winners.append(Candidate(vote, max(map(_score, alike)), name, path=first))
    return _spelled(candidates, _heaviest(winners))


Rule = Callable[[Sequence[Candidate]], str | None]

RULES: Mapping[str, Rule] = {"majority": majority, "best": best, "weighted": weighted}
BY_CONFIDENCE: Mapping[str, Rule] = {"confident": confident, "confidence_weighted": confidence_weighted}
ALL: Mapping[str, Rule] = {**RULES, "hierarchical": hierarchical, **BY_CONFIDENCE}


def rules(*, scored: bool, chains: bool, confidence: bool = False) -> Mapping[str, Rule]:
    """Returns the rules that apply: without scores only majority; ``hierarchical`` where solutions come in
    chains of revisions; those by the generator's confidence where it is known."""
    found = RULES if scored else {"majority": majority}
    if scored and chains:
        found = {**found, "hierarchical": hierarchical}
    return {**found, **BY_CONFIDENCE} if confidence else found


def _by_confidence(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with the generator's confidence for their score."""
    return [replace(candidate, score=candidate.confidence) for candidate in candidates]


def _best(candidates: Sequence[Candidate]) -> str | None:
    """The vote of the best-scored candidate; of those that tie, of most."""
    scored = [c for c in candidates if c.vote is not None and c.score is not None]
    highest = max(map(_score, scored), default=0.0)
    return _winner([c for c in scored if _score(c) == highest], lambda candidate: 1.0)


def _score(candidate: Candidate) -> float:
    assert candidate.score is not None
    return candidate.score


def _heaviest(candidates: Sequence[Candidate]) -> str | None:
    return _winner([c for c in candidates if c.score is not None], _score)


def _winner(candidates: Sequence[Candidate], weight: Callable[[Candidate], float]) -> str | None:
    """The vote of the largest total weight, the same in any order of the candidates. Of votes that tie, that
    of the first path wins; without paths, a hash decides, which prefers no kind of answer."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.vote is not None:
            groups.setdefault(candidate.vote, []).append(candidate)

    def rank(vote: str) -> tuple[float, list[tuple[int, str]], bytes]:
        group = groups[vote]
        lot = hashlib.blake2b(vote.encode(errors="surrogatepass"), digest_size=8).digest()
        return -math.fsum(map(weight, group)), min(_place(candidate.path) for candidate in group), lot

    return min(groups, key=rank, default=None)


def _place(path: str) -> list[tuple[int, str]]:
    """A path as numbers, so that 2 is before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def _spelled(candidates: Sequence[Candidate], vote: str | None) -> str | None:
    """How an answer is written most often; of these the shortest, then the first in the alphabet."""
    spelled = Counter(c.answer for c in candidates if c.answer is not None and c.vote == vote)
    return min(spelled, key=lambda answer: (-spelled[answer], len(answer), answer), default=None)
