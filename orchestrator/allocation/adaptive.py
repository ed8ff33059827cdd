"""Adaptive allocation: the next FLOP goes where the expected gain per FLOP is highest.

The belief about a problem comes from its solutions' answers and scores, without the ground truth:

- *Which answer is right.* At most one is. An answer that k solutions gave, with mean score s, has weight
  (s/(1−s))^SHARPNESS · k^AGREEMENT, against a weight of 1 for "none of them".
- *The chance that the next solution is right.* Each problem has a Beta(a, b) prior. Where the answer that k
  of n solutions gave is the right one, the chance is (a+k)/(a+b+n); where none of them is, a/(a+b+n). n also
  counts the spent FLOPs, in longest solutions, so that a solution that was given up half-way counts for what
  it cost.

The gain of one more solution is the chance that the selected answer is wrong and the next solution right:
that chance over all answers but the selected one, and over none. A problem stops when it is solved, or when
its gain is too small.

With binary rewards all unsolved problems look alike, and any index degenerates to round-robin; scores and
agreement tell them apart here. The chance of a problem falls only with what was spent on it, so a problem
that was tried less comes next. An exploration term as in UCB therefore changes little, and is 0 by default:
``python -m orchestrator.benchmarks.allocation RESULTS.parquet`` compares values on stored solutions.

The allocator reads no clock, uses no randomness and does no I/O.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.allocation.rounds import Asking
from orchestrator.search.selection import Candidate, majority, weighted

SHARPNESS = 1.5
AGREEMENT = 1.5
"""Rounded coefficients of a logistic regression of "this answer is right" on the log odds of its score
(SHARPNESS) and on log k (AGREEMENT), with the lab's verifiers."""

PRIOR = (0.5, 0.5)
"""(a, b) before anything is known: Jeffreys' prior."""

CLIP = 0.001
"""Scores are clipped to at least this far from 0 and 1, so that one score is never full evidence."""


@dataclass(frozen=True)
class Belief:
    """The evidence of a problem's solutions."""

    right: float
    """The chance that the selected answer is right."""
    wrong: float
    """The chance that it is not: that another one is, or none."""
    hits: float
    """The solutions that are right where the selected answer is wrong, weighted by the chance of that."""


@dataclass(frozen=True)
class Adaptive:
    """A ``rounds.Allocator`` that funds the highest expected gains per FLOP."""

    confidence: float = 0.9
    """A problem stops as solved when its selected answer is right with this chance."""
    round: float = 0.1
    """The share of what is left that one round hands out. Smaller rounds know more, larger ones wait less."""
    parallel: int = 64
    """The fewest solutions in a round, so that the engines have work."""
    exploration: float = 0.0
    """Standard deviations that are added to the chance of a next solution, as in UCB."""
    min_gain: float = 0.005
    """A problem stops when its gain, in solved problems a solution, is below this. 0 never gives up."""

    def __call__(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """Returns the number of solutions for each problem (see ``rounds.Allocator``) within ``left`` FLOPs.

        The highest gains per FLOP come first. Each further solution of a problem is valued as if those before
        it had failed. A problem is given at most as many at once as it has had, or one.
        """
        beliefs = [self.belief(one.candidates) for one in asking]
        gains = [self._gain(one, b, 0) for one, b in zip(asking, beliefs, strict=True)]
        grants: list[int | None] = [
            None if b.right >= self.confidence or gain < self.min_gain else 0
            for b, gain in zip(beliefs, gains, strict=True)
        ]
        heap = [
            (-gain / self._cost(one, 0), i)
            for i, (one, gain) in enumerate(zip(asking, gains, strict=True))
            if grants[i] is not None
        ]
        heapq.heapify(heap)
        if not heap:
            return grants
        share = max(left * self.round, self.parallel * min(one.each for one in asking))
        spent = 0
        while heap and spent < share:
            _, i = heapq.heappop(heap)
            one, given = asking[i], grants[i] or 0
            cost = one.each if given else one.first
            if spent + cost > left:
                continue
            spent += cost
            grants[i] = given + 1
            if given + 1 < max(1.0, self._tried(one)):
                gain = self._gain(one, beliefs[i], given + 1)
                heapq.heappush(heap, (-gain / self._cost(one, given + 1), i))
        return grants

    @staticmethod
    def belief(candidates: Sequence[Candidate]) -> Belief:
        """Returns the belief after these solutions."""
        candidates = [Candidate(candidate.vote, candidate.score) for candidate in candidates]
        selected = weighted(candidates)
        if selected is None:
            selected = majority(candidates)
        if selected is None:
            return Belief(0.0, 1.0, 0.0)
        given = Counter(candidate.answer for candidate in candidates if candidate.answer is not None)
        scores: defaultdict[str | None, list[float]] = defaultdict(list)
        for candidate in candidates:
            if candidate.score is not None:
                scores[candidate.answer].append(candidate.score)
        weights = {answer: _weight(scores[answer], times) for answer, times in given.items()}
        total = 1.0 + sum(weights.values())
        others = {answer: weight for answer, weight in weights.items() if answer != selected}
        hits = sum(weight * given[answer] for answer, weight in others.items())
        return Belief(weights[selected] / total, (1.0 + sum(others.values())) / total, hits / total)

    def _gain(self, one: Asking, belief: Belief, failed: int) -> float:
        """Returns the gain of a next solution after ``failed`` more, in solved problems."""
        a, b = PRIOR
        total = a + b + self._tried(one) + failed
        chance = (a * belief.wrong + belief.hits) / total / belief.wrong
        spread = math.sqrt(chance * max(0.0, 1 - chance) / (total + 1))
        return belief.wrong * min(1.0, chance + self.exploration * spread)

    @staticmethod
    def _tried(one: Asking) -> float:
        """Returns the number of finished solutions, or of longest ones that the spent FLOPs pay for, if that
        is more."""
        return max(len(one.candidates), one.spent / one.each)

    @staticmethod
    def _cost(one: Asking, failed: int) -> int:
        """Returns the FLOPs that a gain is divided by: a problem's first solution costs its prompt too."""
        return one.each if one.spent or failed else one.first


def _weight(scores: Sequence[float], times: int) -> float:
    """Returns the weight of an answer that was given ``times`` times. Without scores only ``times``
    counts."""
    score = sum(scores) / len(scores) if scores else 0.5
    score = min(1 - CLIP, max(CLIP, score))
    return (score / (1 - score)) ** SHARPNESS * times**AGREEMENT
