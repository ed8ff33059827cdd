"""A path that is written piece by piece, some sampled and some given, under one reservation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.messages import Until
from orchestrator.problems.codec import Codec
from orchestrator.search.tree import Node


class Grow(Protocol):
    """A sampled piece after a node; ``limit`` as for ``Draft.sample``."""

    def __call__(self, node: Node, until: Until, limit: int | None) -> Awaitable[Node]: ...


Give = Callable[[Node, int, tuple[int, ...]], Node]
"""A node whose tokens from that number on are the given ones."""


class Draft:
    """``node`` is what is written so far. Lengths in tokens after the prompt."""

    def __init__(self, start: Node, codec: Codec, grow: Grow, give: Give) -> None:
        self.node = start
        self._codec = codec
        self._grow = grow
        self._give = give
        self._prompt = self._kept = len(start.tokens)
        self._rest: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens written so far, without what ended them: a marker or the end of the sequence."""
        return self._kept + len(self._rest) - self._prompt

    @property
    def text(self) -> str:
        return self._codec.decode(self.node.tokens[self._prompt :])

    async def sample(self, until: Until, *, limit: int | None = None) -> None:
        """Go on to where ``until`` says, or until there are ``limit`` tokens, the ending included."""
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
        """Go on with ``text``, in place of what ended the last piece. False, and nothing is done, where
        fewer than ``limit`` tokens would not be kept to: there would be none left to sample."""
        tokens = self._rest + self._codec.continuation(text)
        if limit is not None and self._kept + len(tokens) - self._prompt >= limit:
            return False
        self.node = self._give(self.node, self._kept, tokens)
        self._kept, self._rest = len(self.node.tokens), ()
        return True


Author = Callable[[Draft], Awaitable[None]]
"""Writes a draft to its end."""
