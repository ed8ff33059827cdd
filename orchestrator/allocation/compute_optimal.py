"""Allocation by a policy: each problem gets the budget at which its bin's strategy pays best.

The compute-optimal strategy estimates every problem's difficulty first. What its policy then expects of a
bin at each of its budgets (accuracy and FLOPs, as measured by ``ttc fit``) makes this a knapsack: choose a
budget a problem, the sum of the accuracies greatest within what is left. The steps up a bin's concave
hull, the steepest first, solve it but for the last step (Dantzig 1957).

Planned is with the FLOPs that were measured, granted is the worst case of what the row's budget has beyond
the estimate: a problem that the grants leave nothing for waits for what the others give back.

Pure: no clock, no randomness, no I/O.
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
"""The row of a problem that its estimate must do for."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one row of a bin to a better one: ``gain`` in accuracy, for ``flops`` more."""

    bin: int
    row: int
    gain: float
    flops: float

    @property
    def per_flop(self) -> float:
        return self.gain / self.flops if self.flops > 0 else math.inf


@dataclass(frozen=True)
class ComputeOptimal:
    """A ``rounds.Policy`` for searches by the compute-optimal strategy under ``learned``."""

    learned: Policy

    def __call__(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """First the estimate's samples for every problem, while they can be paid; then, once none is
        without its estimate, a row's budget for each."""
        samples = self.learned.samples
        if any(len(one.candidates) < samples for one in asking):
            return self._estimates(asking, left)
        bins = [self.learned.bin_of(fmean(c.score or 0.0 for c in one.candidates)) for one in asking]
        rows = self.plan(bins, left)
        grants: list[int | None] = [0] * len(asking)
        for i, (one, row) in enumerate(zip(asking, rows, strict=True)):
            for affordable in range(row, NOTHING, -1):
                beyond = self._granted(affordable, bins[i], one)
                if beyond <= 0:  # the estimate's samples are all of it: as planned, or for want of money
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
        """FLOPs that a row is run with after the estimate, whose samples are the first of best-of-N."""
        learned = self.learned.rows[row]
        samples = learned.bins[number - 1].strategy["name"] == SAMPLES
        return learned.budget - (one.spent if samples else 0)

    def _estimates(self, asking: Sequence[Asking], left: int) -> list[int | None]:
        """A problem that has its estimate waits; one whose estimate was begun and could not be finished, or
        cannot be paid, ends."""
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
        """A row for each problem, by its bin (1 is the easiest), within ``left`` FLOPs as measured. Of a bin
        that cannot all step up, the first problems do."""
        rows = [NOTHING] * len(bins)
        waiting = {b: [i for i, found in enumerate(bins) if found == b] for b in sorted(set(bins))}
        steps = [step for b in waiting for step in self.steps(b)]
        # Along a hull gains per FLOP fall, and the sort is stable: a bin's steps stay in their order.
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
        """Up the concave hull of a bin's rows, from no more than the estimate."""
        points = [(0.0, 0.0, NOTHING)]
        for row, each in enumerate(self.learned.rows):
            choice = each.bins[number - 1]
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
        """FLOPs of a choice that the estimate has not paid for: its samples are the first of best-of-N."""
        paid = self.learned.estimate_flops if choice.strategy["name"] == SAMPLES else 0.0
        return max(0.0, choice.flops - paid)


def _slope(one: tuple[float, float, int], other: tuple[float, float, int]) -> float:
    run = other[0] - one[0]
    return (other[1] - one[1]) / run if run > 0 else math.inf
