"""The search tree. A node holds the new tokens of one edge, after its parent's."""

from __future__ import annotations

import msgspec

from actors.messages import Finish


class Node(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A path from the prompt to one step."""

    key: str
    """The child indices from the root, as ``0.3.1``: the node's identity within its problem. The root's is
    empty."""
    tokens: tuple[int, ...]
    """The token ids of the prompt and of every step of the path."""
    step_ends: tuple[int, ...] = ()
    """The exclusive end position of each step in ``tokens``."""
    scores: tuple[float, ...] = ()
    """The verifier's score of each step in [0, 1], or one score of the whole; empty until scored."""
    finish: Finish | None = None
    """Why sampling stopped here; None where nothing was sampled (at the root, after given text)."""
    finished: bool = False
    """True if the path is not continued: a solution, or cut at the length limit."""
    context: tuple[int, ...] | None = None
    """The token ids that a revision was written after (earlier attempts, and the prompt again); None where
    that was the path itself."""
    logprobs: tuple[float, ...] = ()
    """The log-probability of each token after the prompt, NaN of one that was given; empty where they are not
    asked for."""
    judged: int = 0
    """The scores speak of all tokens before this position."""

    @property
    def scored(self) -> bool:
        """True if the scores speak of the whole path."""
        return self.judged == len(self.tokens)

    @property
    def path(self) -> tuple[int, ...]:
        """The key as numbers."""
        return tuple(map(int, self.key.split("."))) if self.key else ()
