"""Which cache block holds the longest part of a prompt: an index, apart from any engine."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence


class Prefixes:
    """Blocks by the tokens in them. ``parent`` stands for all tokens before a block.

    One list a parent, in the order of the tokens: the longest common prefix with any text is then had from a
    neighbour of the place where that text would stand. So a look-up takes the logarithm of their number.
    """

    def __init__(self) -> None:
        self._by_parent: dict[Hashable, list[tuple[tuple[int, ...], int]]] = {}
        self._of: dict[int, tuple[Hashable, tuple[int, ...]]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, block: int, parent: Hashable, tokens: Sequence[int]) -> None:
        """``block`` holds ``tokens``, after ``parent``, and nothing else any more."""
        self.drop(block)
        entry = (tuple(tokens), block)
        insort(self._by_parent.setdefault(parent, []), entry)
        self._of[block] = (parent, entry[0])

    def drop(self, block: int) -> None:
        """``block`` holds nothing. An unknown one is ignored."""
        if (known := self._of.pop(block, None)) is None:
            return
        parent, tokens = known
        entries = self._by_parent[parent]
        del entries[bisect_left(entries, (tokens, block))]
        if not entries:
            del self._by_parent[parent]

    def clear(self) -> None:
        self._by_parent.clear()
        self._of.clear()

    def longest(self, parent: Hashable, tokens: Sequence[int]) -> tuple[int, int]:
        """A block after ``parent`` that shares the most first tokens with ``tokens``, and how many; what the
        block is has no meaning where that is 0."""
        entries = self._by_parent.get(parent, [])
        wanted = tuple(tokens)
        place = bisect_left(entries, (wanted,))
        best, most = 0, 0
        for held, block in entries[max(place - 1, 0) : place + 1]:
            if (shared := _common(held, wanted)) > most:
                best, most = block, shared
        return best, most


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first items are the same."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
