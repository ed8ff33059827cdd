"""A verifier of the sums of ``public.yaml`` that never errs, as a function: what a search finds with it."""

from __future__ import annotations

import re

WHOLE, ON_THE_WAY, WRONG = 0.98, 0.5, 0.02


def true(problem: str, steps: list[str]) -> list[float]:
    """Scores whether each line, and all before it, add the next number of the sum rightly, and whether it is
    the last one.

    A line without any text is as right as the one before it.
    """
    total, *rest = map(int, re.findall(r"\d+", problem))
    scores, score = [], ON_THE_WAY
    for step in steps:
        if step.strip():
            added = rest.pop(0) if rest else 0
            said = re.fullmatch(rf"{total} \+ {added} = {total + added}", step.strip())
            total += added
            score = WRONG if not said or score == WRONG else ON_THE_WAY if rest else WHOLE
        scores.append(score)
    return scores
