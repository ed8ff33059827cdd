"""Verdicts on claims: the ends of an interval decide, never a comparison of means.

An end that only touches its bound decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.words import with_interval

Verdict = Literal["holds", "does not hold", "not decided", "not tested"]

SLACK = 0.02
"""Margin of the non-inferiority tests, in accuracy: so much less is still "no less"."""
SAME = 0.05
"""Margin of the equivalence tests, in accuracy: two values this far apart are still equal."""


@dataclass(frozen=True)
class Part:
    """One statement of a claim, with its measurement and its verdict."""

    what: str
    """Name of the measured quantity."""
    verdict: Verdict
    estimate: Estimate | None = None
    """Measured value with its 95 % interval; None where it was not tested."""
    test: str = ""
    """Condition that the value has to meet, in words."""
    why: str = ""
    """Reason why it was not tested."""
    points: bool = True
    """True where the estimate is an accuracy, which is shown in percentage points."""

    def __str__(self) -> str:
        if self.estimate is None:
            return f"{self.what}: {self.why}"
        found = with_interval(self.estimate)
        if self.points:
            found = f"{with_interval(self.estimate, '+.1f', scale=100)} points"
        return f"{self.what}: {found}; it has to be {self.test}"


def above(what: str, estimate: Estimate, bound: float = 0.0, *, points: bool = True) -> Part:
    """Tests that a value is more than ``bound``: the whole interval has to be."""
    verdict: Verdict = "not decided"
    if estimate.low > bound:
        verdict = "holds"
    elif estimate.high < bound:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"more than {bound:g}", points=points)


def at_least(what: str, estimate: Estimate) -> Part:
    """Tests that a difference is no less than 0, to within ``SLACK`` (non-inferiority)."""
    verdict: Verdict = "not decided"
    if estimate.low > -SLACK:
        verdict = "holds"
    elif estimate.high < -SLACK:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"no less than 0, to within {100 * SLACK:g} points")


def no_more(what: str, estimate: Estimate) -> Part:
    """Tests that a gain is at most ``SLACK``: the whole interval has to be."""
    verdict: Verdict = "not decided"
    if estimate.high < SLACK:
        verdict = "holds"
    elif estimate.low > SLACK:
        verdict = "does not hold"
    return Part(what, verdict, estimate, f"no more than {100 * SLACK:g} points")


def near(
    what: str, estimate: Estimate, value: float = 0.0, margin: float = SAME, *, points: bool = True
) -> Part:
    """Tests that an estimate equals ``value`` to within ``margin`` (equivalence).

    It holds where the whole interval lies inside, and does not hold where the whole interval lies outside.
    """
    verdict: Verdict = "not decided"
    if value - margin < estimate.low and estimate.high < value + margin:
        verdict = "holds"
    elif estimate.low > value + margin or estimate.high < value - margin:
        verdict = "does not hold"
    scale, unit = (100, " points") if points else (1, "")
    test = f"{scale * value:g} to within {scale * margin:g}{unit}"
    return Part(what, verdict, estimate, test, points=points)


def untested(what: str, why: str) -> Part:
    """Returns a part that could not be tested, with the reason."""
    return Part(what, "not tested", why=why)


def together(parts: Sequence[Part]) -> Verdict:
    """Returns the verdict on a claim that needs all of its parts.

    One part that does not hold decides it; each part may be wrong, so of several parts this is the less
    certain verdict. It is not decided where some parts hold and others could not be tested.
    """
    verdicts = {part.verdict for part in parts}
    if "does not hold" in verdicts:
        return "does not hold"
    if len(verdicts) == 1:
        return verdicts.pop()
    return "not decided"


def either(parts: Sequence[Part]) -> Verdict:
    """Returns the verdict on a claim that needs one of its parts."""
    verdicts = {part.verdict for part in parts}
    if "holds" in verdicts:
        return "holds"
    return verdicts.pop() if len(verdicts) == 1 else "not decided"
