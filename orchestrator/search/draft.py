"""A path that is written in pieces, some sampled and some given, under one reservation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.messages import Until
from orchestrator.problems.codec import Codec
from orchestrator.search.tree import Node


class Grow(Protocol):
    """Samples a piece after a node. ``limit`` is as for ``Draft.sample``."""

    def __call__(self, node: Node, until: Until, limit: int | None) -> Awaitable[Node]: ...


Give = Callable[[Node, int, tuple[int, ...]], Node]
"""``give(node, kept, tokens)`` returns a node with the first ``kept`` tokens of ``node``, then ``tokens``."""


class Draft:
    """A path that is being written: ``node`` is what there is so far. Lengths count tokens after the
    prompt."""

    def __init__(self, start: Node, codec: Codec, grow: Grow, give: Give) -> None:
        self.node = start
        self._codec = codec
        self._grow = grow
        self._give = give
        self._prompt = self._kept = len(start.tokens)
        self._rest: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens written so far, without the marker or the end-of-sequence token that ended them."""
        return self._kept + len(self._rest) - self._prompt

    @property
    def text(self) -> str:
        """The text written so far."""
        return self._codec.decode(self.node.tokens[self._prompt :])

    async def sample(self, until: Until, *, limit: int | None = None) -> None:
        """Samples to where ``until`` says, or until there are ``limit`` tokens, the ending included."""
        begin = len(self.node.tokens)
        self.node = await self._grow(self.node, until, limit)
        piece, self._rest = self.node.tokens[begin:], ()
        self._kept = len(self.node.tokens)
        if self.node.finish == "end":
            self._kept -= 1
        elif self.node.finish == "thought":
            kept, self._rest = self._codec.before_marker(piece)
            self._kept = begin + kept

    def give(self, text: str, *, limit: int | None = None) -> bool:
        """Writes ``text`` in place of what ended the last piece.

        Returns False, and writes nothing, where that would leave no token below ``limit`` to sample.
        """
        tokens = self._rest + self._codec.continuation(text)
        if limit is not None and self._kept + len(tokens) - self._prompt >= limit:
            return False
        self.node = self._give(self.node, self._kept, tokens)
        self._kept, self._rest = len(self.node.tokens), ()
        return True


Author = Callable[[Draft], Awaitable[None]]
"""A coroutine that writes a draft to its end."""
