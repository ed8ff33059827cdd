"""Allocation by a policy: each problem gets the budget at which its bin's strategy gains most.

The compute-optimal strategy first estimates each problem's difficulty. The policy states, as ``ttc fit``
measured them, the accuracy and the FLOPs of a bin at each budget. Choosing a budget for each problem, so that
the sum of the accuracies is greatest within what is left, is a knapsack problem. Taking the steps up the
bins' concave hulls, the steepest first, solves it except for the last step (Dantzig 1957).

The plan uses the measured FLOPs. A grant is the worst case of what the row's budget has beyond the estimate.
A problem that the grants leave nothing for waits for what the others give back.

The allocator reads no clock, uses no randomness and does no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from orchestrator.allocation.policy import SAMPLES, Choice, Policy
from orchestrator.allocation.rounds import REFUSED, Asking

NOTHING = -1
"""The row of a problem that gets nothing beyond its estimate."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step from one row of a bin to a better one."""

    bin: int
    row: int
    """The row that the step leads to."""
    gain: float
    """The accuracy that it adds."""
    flops: float
    """The FLOPs a problem that it adds."""

    @property
    def per_flop(self) -> float:
        return self.gain / self.flops if self.flops > 0 else math.inf


@dataclass(frozen=True)
class ComputeOptimal:
    """A ``rounds.Allocator`` for searches by the compute-optimal strategy under the policy ``learned``."""

    learned: Policy

    def __call__(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """Returns the number of solutions for each problem: first the estimate's samples, while they can be
        paid; then, once no problem lacks its estimate, a row's budget."""
        samples = self.learned.samples
        if any(len(one.candidates) < samples for one in asking):
            return self._estimates(asking, left)
        bins = [self.learned.bin_of(fmean(c.score or 0.0 for c in one.candidates)) for one in asking]
        rows = self.plan(bins, left)
        grants: list[int | None] = [0] * len(asking)
        for i, (one, row) in enumerate(zip(asking, rows, strict=True)):
            for affordable in range(row, NOTHING, -1):
                beyond = self._granted(affordable, bins[i], one)
                if beyond <= 0:  # the estimate's samples use it up: as planned, or because money is short
                    grants[i] = None if affordable == row else 0
                    break
                solutions = math.ceil(beyond / one.each)
                cost = one.first + (solutions - 1) * one.each
                if cost <= left:
                    left -= cost
                    grants[i] = solutions
                    break
        return grants

    def _granted(self, row: int, number: int, one: Asking) -> float:
        """Returns the FLOPs that a row is run with after the estimate, whose samples are the first of
        best-of-N's."""
        learned = self.learned.rows[row]
        samples = learned.bins[number - 1].strategy["name"] == SAMPLES
        return learned.budget - (one.spent if samples else 0)

    def _estimates(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """Returns the grants of a round of estimates. A problem with its estimate waits. One whose estimate
        was begun and could not be finished, or cannot be paid, ends."""
        grants: list[int | None] = []
        for one in asking:
            cost = one.first + (self.learned.samples - 1) * one.each
            if len(one.candidates) >= self.learned.samples:
                grants.append(0)
            elif one.spent or cost > left:
                grants.append(REFUSED)
            else:
                left -= cost
                grants.append(self.learned.samples)
        return grants

    def plan(self, bins: Sequence[int], left: float) -> list[int]:
        """Returns a row for each problem, by its bin (1 is the easiest), within ``left`` measured FLOPs. If
        not all problems of a bin can step up, the first ones do."""
        rows = [NOTHING] * len(bins)
        waiting = {b: [i for i, found in enumerate(bins) if found == b] for b in sorted(set(bins))}
        steps = [step for b in waiting for step in self.steps(b)]
        # Gains per FLOP fall along a hull, and the sort is stable, so a bin's steps stay in their order.
        for step in sorted(steps, key=lambda step: step.per_flop, reverse=True):
            able = waiting[step.bin]
            if step.flops > 0:
                able = able[: int(left // step.flops)]
            left -= step.flops * len(able)
            for i in able:
                rows[i] = step.row
            waiting[step.bin] = able
        return rows

    def steps(self, number: int) -> list[Step]:
        """Returns the steps up the concave hull of a bin's rows, which starts at the estimate alone."""
        first = self.learned.estimate_accuracy  # the samples of the estimate are answers too
        points = [(0.0, first[number - 1] if first else 0.0, NOTHING)]
        for row, learned in enumerate(self.learned.rows):
            choice = learned.bins[number - 1]
            if not math.isnan(choice.accuracy):
                points.append((self._beyond(choice), choice.accuracy, row))
        hull: list[tuple[float, float, int]] = []
        for point in sorted(points):
            if hull and point[1] <= hull[-1][1]:
                continue
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], point):
                hull.pop()
            hull.append(point)
        return [
            Step(number, row, accuracy - before, flops - spent)
            for (spent, before, _), (flops, accuracy, row) in pairwise(hull)
        ]

    def _beyond(self, choice: Choice) -> float:
        """Returns the FLOPs of a choice that the estimate has not paid: its samples are the first of
        best-of-N's."""
        paid = self.learned.estimate_flops if choice.strategy["name"] == SAMPLES else 0.0
        return max(0.0, choice.flops - paid)


def _slope(one: tuple[float, float, int], other: tuple[float, float, int]) -> float:
    run = other[0] - one[0]
    return (other[1] - one[1]) / run if run > 0 else math.inf
