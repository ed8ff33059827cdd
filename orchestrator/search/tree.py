"""The search tree: a node is one edge's worth of new tokens after its parent."""

from __future__ import annotations

import msgspec

from actors.messages import Finish


class Node(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A path from the prompt to here.

    ``key``       child indices from the root, as ``0.3.1``: the node's identity within its problem; the
                  root's is empty.
    ``tokens``    token ids of the prompt and every step of the path.
    ``step_ends`` exclusive end position of each step in ``tokens``.
    ``scores``    the verifier's score of each step in [0, 1], or its one score of all; empty until scored.
    ``finish``    why sampling stopped here; None where nothing was sampled: at the root, after given text.
    ``finished``  True if this path is not continued: a solution, or cut at the length limit.
    ``context``   token ids that a revision was written after (earlier attempts, and the prompt again);
                  None where that was the path itself.
    ``judged``    how much of ``tokens`` the scores speak of: all that is before this position.
    """

    key: str
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    finish: Finish | None = None
    finished: bool = False
    context: tuple[int, ...] | None = None
    judged: int = 0

    @property
    def scored(self) -> bool:
        """Whether the scores speak of the whole path."""
        return self.judged == len(self.tokens)

    @property
    def path(self) -> tuple[int, ...]:
        """``key`` in numbers."""
        return tuple(map(int, self.key.split("."))) if self.key else ()
