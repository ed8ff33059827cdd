"""The costs of one search's operations, in FLOPs.

The charge is logical: the prompt once a problem, the tokens of each tree edge once, the verifier once a new
token, whatever the caches of the engines did. What the engines really ran is counted beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from orchestrator.problems.problem import Problem
from orchestrator.search.context import SearchContext
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import VerifierView


@dataclass(frozen=True)
class Charges:
    """The costs of one problem's operations. ``prompt`` holds the token ids of the problem."""

    context: SearchContext
    problem: Problem
    prompt: tuple[int, ...]

    @cached_property
    def verifier(self) -> VerifierView:
        """How the verifier is shown the problem's paths. Raises ValueError where the run has none."""
        return self.context.view_of(self.problem, self.prompt)

    def draft(self, start: Node, suppressed: int, *, scored: bool) -> int:
        """The most FLOPs of a draft after ``start`` that samples ``suppressed`` endings and drops them."""
        generator = self.context.generator
        begin, end = len(self.prompt), len(self.prompt) + self.context.sampling.max_tokens
        # An ending is one token, or a marker, and no token of a marker has less than a byte.
        dropped = suppressed * len((self.context.codec.end_of_thinking or " ").encode())
        worst = generator.sample(begin, end - begin) + dropped * generator.sample(end - 1, 1)
        return worst + self.verifier.worst(start, end - begin) if scored else worst


def computed(cost: Callable[[int, int], int], tokens: int, end: int) -> int:
    """FLOPs of an engine that ran ``tokens`` tokens for an input of ``end`` positions.

    ``cost(start, end)`` gives the FLOPs of a range of positions. The engine ran the last positions; where
    ``tokens`` exceeds ``end``, an engine short of memory computed all of them again.
    """
    if tokens <= end:
        return cost(end - tokens, end)
    again, new = divmod(tokens, end)
    return cost(end - new, end) + again * cost(0, end)
