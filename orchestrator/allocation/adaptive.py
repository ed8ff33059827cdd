"""Adaptive allocation: the next FLOP goes where the expected gain per FLOP is highest.

What is believed of a problem comes from its solutions' answers and scores, without ground truth:

- *Which answer is right.* At most one is. An answer that k solutions gave, with mean score s, has weight
  (s/(1−s))^SHARPNESS · k^AGREEMENT, against a weight of 1 for "none of them".
- *The chance that a next solution gives the right one.* Beta(a, b) a problem: after n solutions that
  failed it is a/(a+b+n) (PAPER §3), where n also counts what was spent, in longest solutions, so that those
  given up half-way count for what they cost. Likely successes and the mean score are added to a.

The gain of one more solution = (1 − chance that the selected answer is right) · chance that the next is.
A problem stops when it is solved, and when that gain is too little to hope for.

With binary rewards and elimination all problems that are left look alike, and any index is round-robin
(Zuo's trap). Graded scores and agreement tell them apart here. The chance of a problem falls only with what
was spent on it, so one that was tried less is tried next: an exploration term as UCB's (so many standard
deviations of the chance's posterior on top) changed accuracy by less than .001 between 0 and 2 of them, and
is 0 unless asked for (500 problems, 64 samples each drawn in 6 orders, budgets of 4, 8 and 12 a problem:
``orchestrator.benchmarks.allocation``).

Pure: no clock, no randomness, no I/O.
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
"""From logistic regressions of "this answer is right" on the log odds of its score (1.5 with the lab's
strong verifier, 1.6 with the weak one) and on log k (2.0 and 1.3): 304 problems, 1 to 32 solutions."""

PRIOR = (0.5, 0.5)
"""(a, b) before anything is known: Jeffreys' prior. Others (.2 to 1) changed accuracy by less than .005."""

CLIP = 0.001
"""Scores are taken to be this far from 0 and 1: one score is never all the evidence there is."""


@dataclass(frozen=True)
class Belief:
    """``right``: the chance that the selected answer is right. ``hits``: what is added to the prior's a."""

    right: float
    hits: float


@dataclass(frozen=True)
class Adaptive:
    """``confidence``: a problem whose selected answer is right with this chance is solved, and stops.
    ``round``: the share of what is left that one round hands out: smaller decides on more knowledge, larger
    waits less often. ``parallel``: the fewest solutions in a round, so that engines have work.
    ``exploration``: standard deviations that are added to the chance of a next solution. ``min_gain``: a
    problem whose gain, in solved problems a solution, is below this stops; 0 never gives one up. (In the
    experiment above .005 cost no accuracy at 4 to 48 solutions a problem; .01 cost 1 point at 24, .02 5.)
    """

    confidence: float = 0.9
    round: float = 0.1
    parallel: int = 64
    exploration: float = 0.0
    min_gain: float = 0.005

    def __call__(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """Solutions for each problem (see ``rounds.Allocator``). FLOPs: ``left`` for all of them.

        The highest gains per FLOP first, each further solution of a problem valued as if those before it
        had failed; none is given more at once than it has had (doubling), or one.
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
        """What the answers and scores so far say."""
        selected = weighted(candidates)
        if selected is None:
            selected = majority(candidates)
        if selected is None:
            return Belief(0.0, 0.0)
        given = Counter(candidate.answer for candidate in candidates if candidate.answer is not None)
        scores: defaultdict[str | None, list[float]] = defaultdict(list)
        for candidate in candidates:
            if candidate.score is not None:
                scores[candidate.answer].append(candidate.score)
        weights = {answer: _weight(scores[answer], times) for answer, times in given.items()}
        total = 1.0 + sum(weights.values())
        others = sum(weight * given[answer] for answer, weight in weights.items() if answer != selected)
        scored = sum(map(len, scores.values()))
        mean = sum(map(sum, scores.values())) / scored if scored else 0.0
        return Belief(weights[selected] / total, others / total + mean)

    def _gain(self, one: Asking, belief: Belief, failed: int) -> float:
        """Of a next solution after ``failed`` more, in solved problems."""
        a, b = PRIOR
        total = a + b + self._tried(one) + failed
        mean = min(1.0, (a + belief.hits) / total)
        spread = math.sqrt(mean * (1 - mean) / (total + 1))
        return (1 - belief.right) * min(1.0, mean + self.exploration * spread)

    @staticmethod
    def _tried(one: Asking) -> float:
        """Solutions so far: the finished ones, or, where that is more, what was spent in longest ones."""
        return max(len(one.candidates), one.spent / one.each)

    @staticmethod
    def _cost(one: Asking, failed: int) -> int:
        """FLOPs that a gain is held against: a problem's first solution brings the prompt with it."""
        return one.each if one.spent or failed else one.first


def _weight(scores: Sequence[float], times: int) -> float:
    """Of an answer that was given so many times; where nothing scored it, only that counts."""
    score = sum(scores) / len(scores) if scores else 0.5
    score = min(1 - CLIP, max(CLIP, score))
    return (score / (1 - score)) ** SHARPNESS * times**AGREEMENT
