"""From what was measured to a verdict: an interval decides, never a bare comparison of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.estimators import CONFIDENCE, Estimate, Floats, interval, resamples

Verdict = Literal["holds", "does not hold", "not decided", "not tested"]

SLACK = 0.02
"""By how much, in accuracy, less is still "no less": the margin of a non-inferiority test."""
SAME = 0.05
"""How far apart, in accuracy, two things may be and still be called equal or level."""


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, and what was measured of it: a number with its 95 % interval and the
    ``test`` that it was put to, or ``why`` it was not tested."""

    what: str
    verdict: Verdict
    estimate: Estimate | None = None
    test: str = ""
    why: str = ""
    points: bool = True
    """Whether the estimate is in accuracy, which is written in percentage points."""

    def __str__(self) -> str:
        if self.estimate is None:
            return f"{self.what}: {self.why}"
        scale, form, unit = (100, "+.1f", " points") if self.points else (1, ".2f", "")
        value, low, high = (
            f"{scale * x:{form}}" for x in (self.estimate.value, self.estimate.low, self.estimate.high)
        )
        return f"{self.what}: {value} [{low}, {high}]{unit}; it has to be {self.test}"


def above(what: str, estimate: Estimate, bound: float = 0.0, *, points: bool = True) -> Part:
    """Whether it is more than ``bound``: the whole interval has to be."""
    verdict: Verdict = "not decided"
    if estimate.low > bound:
        verdict = "holds"
    elif estimate.high <= bound:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"more than {bound:g}", points=points)


def at_least(what: str, estimate: Estimate) -> Part:
    """Whether a difference is no less than 0, to within SLACK: the whole interval has to be, or not."""
    verdict: Verdict = "not decided"
    if estimate.low > -SLACK:
        verdict = "holds"
    elif estimate.high <= -SLACK:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"no less than 0, to within {100 * SLACK:g} points")


def no_more(what: str, estimate: Estimate) -> Part:
    """Whether a gain is none to speak of: at most SLACK, the whole interval."""
    verdict: Verdict = "not decided"
    if estimate.high <= SLACK:
        verdict = "holds"
    elif estimate.low > SLACK:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"no more than {100 * SLACK:g} points")


def near(
    what: str, estimate: Estimate, value: float = 0.0, margin: float = SAME, *, points: bool = True
) -> Part:
    """Whether it equals ``value`` to within ``margin``: an equivalence test, so the whole interval must
    lie inside; it does not where the whole interval lies outside."""
    verdict: Verdict = "not decided"
    if value - margin < estimate.low and estimate.high < value + margin:
        verdict = "holds"
    elif estimate.low > value + margin or estimate.high < value - margin:
        verdict = "does not hold"
    scale, unit = (100, " points") if points else (1, "")
    test = f"{scale * value:g} to within {scale * margin:g}{unit}"
    return Part(what, verdict, estimate, test, points=points)


def untested(what: str, why: str) -> Part:
    return Part(what, "not tested", why=why)


def together(parts: Sequence[Part]) -> Verdict:
    """A claim holds if all of its parts do, and does not if one does not. Where some could not be tested
    it is not decided."""
    verdicts = {part.verdict for part in parts}
    if "does not hold" in verdicts:
        return "does not hold"
    if len(verdicts) == 1:
        return verdicts.pop()
    return "not decided"


def either(parts: Sequence[Part]) -> Verdict:
    """A claim that something may happen holds if one of its parts does, and does not if none does."""
    verdicts = {part.verdict for part in parts}
    if "holds" in verdicts:
        return "holds"
    return verdicts.pop() if len(verdicts) == 1 else "not decided"


def over_problems(
    values: npt.ArrayLike, inside: npt.ArrayLike | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of a value of each problem (a difference of two accuracies, say), over those that
    ``inside`` selects, with the interval of a bootstrap over problems.

    Where all are equal, resamples cannot tell how rare another value is; less than 3/n of the problems
    have one (the rule of three, Hanley & Lippman-Hand 1983), and values differ by 1 at most.
    """
    array = np.asarray(values, dtype=float)
    if inside is not None:
        array = array[np.asarray(inside, dtype=bool)]
    low, high = interval(resamples(len(array)) @ array, confidence)
    if np.ptp(array) == 0:
        low, high = max(-1.0, low - 3 / len(array)), min(1.0, high + 3 / len(array))
    return Estimate(float(array.mean()), low, high)


def of_resamples(statistic: Floats) -> Estimate:
    """Of a statistic of all problems, first, and of their resamples, the others."""
    return Estimate(float(statistic[0]), *interval(statistic[1:]))
