"""What a replica has ready for its pool, whose calls may be cancelled, lost, or overtaken by newer ones."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Items in the order in which they were put, until the newest call takes them. One event loop uses it."""

    def __init__(self) -> None:
        self._ready: list[Item] = []
        self._arrived = asyncio.Event()
        self._calls = 0

    @property
    def ids(self) -> set[str]:
        """The ids of the items that wait here and have one."""
        return {id for item in self._ready if (id := getattr(item, "id", None)) is not None}

    def put(self, items: Sequence[Item]) -> None:
        """Adds items."""
        self._ready += items
        if self._ready:
            self._arrived.set()

    def drop(self, ids: Collection[str]) -> None:
        """Removes the items with these ids; unknown ones are ignored."""
        self._ready = [item for item in self._ready if getattr(item, "id", None) not in ids]

    def begin_anew(self) -> None:
        """Ends a ``take`` that still waits: its caller is out of reach, and must not get the next items."""
        self._calls += 1
        self._arrived.set()

    async def take(self) -> list[Item]:
        """Waits for an item; returns all that are there.

        A cancelled call loses nothing: the next one returns what it did not. A newer call takes over from an
        older one, which returns nothing.
        """
        self.begin_anew()
        mine = self._calls
        await asyncio.sleep(0)  # an older call looks, and leaves
        while not self._ready and mine == self._calls:
            self._arrived.clear()
            await self._arrived.wait()
        if mine != self._calls:
            return []
        ready, self._ready = self._ready, []
        return ready
