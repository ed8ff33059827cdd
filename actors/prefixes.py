"""An index of cache blocks that finds the one that holds the longest part of a prompt."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence


class Prefixes:
    """Blocks by the tokens in them. A ``parent`` stands for all tokens before a block.

    The blocks of a parent are sorted by their tokens. So the block with the longest common prefix is a
    neighbour of the place where the wanted tokens would stand, and is found by bisection.
    """

    def __init__(self) -> None:
        self._by_parent: dict[Hashable, list[tuple[tuple[int, ...], int]]] = {}
        self._of: dict[int, tuple[Hashable, tuple[int, ...]]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, block: int, parent: Hashable, tokens: Sequence[int]) -> None:
        """Notes that ``block`` now holds ``tokens``, after ``parent``, in place of what it held before."""
        self.drop(block)
        entry = (tuple(tokens), block)
        insort(self._by_parent.setdefault(parent, []), entry)
        self._of[block] = (parent, entry[0])

    def drop(self, block: int) -> None:
        """Removes a block. An unknown one is ignored."""
        if (known := self._of.pop(block, None)) is None:
            return
        parent, tokens = known
        entries = self._by_parent[parent]
        del entries[bisect_left(entries, (tokens, block))]
        if not entries:
            del self._by_parent[parent]

    def clear(self) -> None:
        """Removes all blocks."""
        self._by_parent.clear()
        self._of.clear()

    def longest(self, parent: Hashable, tokens: Sequence[int]) -> tuple[int, int]:
        """Returns the block after ``parent`` with the longest common prefix with ``tokens``, and its length.

        If the length is 0 the block has no meaning.
        """
        entries = self._by_parent.get(parent, [])
        wanted = tuple(tokens)
        place = bisect_left(entries, (wanted,))
        best, most = 0, 0
        for held, block in entries[max(place - 1, 0) : place + 1]:
            if (shared := _common(held, wanted)) > most:
                best, most = block, shared
        return best, most


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Returns the length of the common prefix."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
