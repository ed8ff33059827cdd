"""The costs of one search's operations, in FLOPs.

The charge is logical: the prompt once a problem, the tokens of each tree edge once, the verifier once a new
token, whatever the caches of the engines did. What the engines really ran is counted beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.budget.flops import CostModel
from orchestrator.search.context import SearchContext
from orchestrator.search.tree import Node


@dataclass(frozen=True, slots=True)
class Charges:
    """The costs of one problem's operations. ``prompt`` holds the token ids of the problem."""

    context: SearchContext
    prompt: tuple[int, ...]

    @property
    def verifier(self) -> CostModel:
        """The verifier's cost model. Raises ValueError where the run has none."""
        if self.context.verifier is None:
            raise ValueError("this run has no verifier")
        return self.context.verifier

    def score(self, node: Node, end: int) -> int:
        """FLOPs to score the path of ``node`` up to position ``end``."""
        return self.verifier.score(*self.score_positions(node, end))

    def score_positions(self, node: Node, end: int) -> tuple[int, int]:
        """The range of the verifier's input that is charged to score the path of ``node`` up to ``end``.

        A PRM is charged for what follows the scored part of the path. An ORM is charged for its whole input:
        an attempt after its history is a prefix of nothing else.
        """
        if self.context.verifier_kind == "orm":
            return 0, len(self.history(node)) + end - len(self.prompt)
        return max(node.judged, len(self.prompt)), end

    def history(self, node: Node) -> tuple[int, ...]:
        """The token ids that an attempt was written after: the prompt, or earlier attempts and the prompt."""
        return self.prompt if node.context is None else node.context

    def draft(self, start: Node, suppressed: int, *, scored: bool) -> int:
        """The most FLOPs of a draft after ``start`` that samples ``suppressed`` endings and drops them."""
        generator = self.context.generator
        begin, end = len(self.prompt), len(self.prompt) + self.context.sampling.max_tokens
        # An ending is one token, or a marker, and no token of a marker has less than a byte.
        dropped = suppressed * len((self.context.codec.end_of_thinking or " ").encode())
        worst = generator.sample(begin, end - begin) + dropped * generator.sample(end - 1, 1)
        return worst + self.score(start, end) if scored else worst


def computed(cost: Callable[[int, int], int], tokens: int, end: int) -> int:
    """FLOPs of an engine that ran ``tokens`` tokens for an input of ``end`` positions.

    ``cost(start, end)`` gives the FLOPs of a range of positions. The engine ran the last positions; where
    ``tokens`` exceeds ``end``, an engine short of memory computed all of them again.
    """
    if tokens <= end:
        return cost(end - tokens, end)
    again, new = divmod(tokens, end)
    return cost(end - new, end) + again * cost(0, end)
