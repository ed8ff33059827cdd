"""Searches that broke: how many of a run's may, and how they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orchestrator.errors import counted

MOST_FAILED = 0.05
"""The largest share of a run's problems whose searches may break: with more of them the run has failed. Its
accuracy says nothing, and no fit, claim or table uses it."""
MOST_TOLD = 3
"""The most different errors that are kept of a run."""


def too_many(failed: int, problems: int) -> bool:
    """Tells whether so many broken searches make a run a failed one."""
    return failed > MOST_FAILED * problems


def commonest(errors: Iterable[str | None]) -> dict[str, int]:
    """Returns the commonest errors and how many searches each of them broke, the most frequent first."""
    return dict(Counter(error for error in errors if error is not None).most_common(MOST_TOLD))


def told(failed: int, problems: int, errors: dict[str, int]) -> str:
    """Returns how many searches broke, and the commonest error: ``40 of 64 problems failed, 38 of them with
    ValueError: no``."""
    line = f"{failed:,} of {counted(problems, 'problem')} failed"
    if not errors:
        return line
    error, count = next(iter(errors.items()))
    return f"{line}, {f'{count:,} of them' if count < failed else 'all'} with {error}"


def failure(failed: int, problems: int, errors: dict[str, int]) -> str | None:
    """Returns why a run has failed as a whole: too many of its searches broke; or None."""
    if not too_many(failed, problems):
        return None
    return f"{told(failed, problems, errors)} (more than {100 * MOST_FAILED:g} % make it a failed run)"
