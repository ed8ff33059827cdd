"""The generator's own confidence in a path: a score in [0, 1] that costs nothing.

It is read from the log-probabilities of the path's sampled tokens, under the model itself: before temperature
and the other sampling values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

GIVEN = math.nan
"""Stands for a token that was given and not sampled: it says nothing of the model."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How confidence is read: over the whole path, or with ``group`` over that many successive tokens, where
    it is lowest (DeepConf; Fu et al. 2025)."""

    group: int | None = None

    def __call__(self, logprobs: Sequence[float]) -> float | None:
        """Returns the geometric mean of the tokens' probabilities; None where none was sampled."""
        sampled = [value for value in logprobs if not math.isnan(value)]
        if not sampled:
            return None
        size = len(sampled) if self.group is None else min(self.group, len(sampled))
        sums = [0.0, *accumulate(sampled)]
        lowest = min(end - start for start, end in zip(sums, sums[size:], strict=False))
        return math.exp(min(0.0, lowest / size))
