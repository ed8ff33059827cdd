"""Makes one node of children that are equal: the first of them, whichever is sampled or scored first.

Children of one node are equal where they were sampled up to the same kind of end and have the same tokens.
The first is that whose funds were granted first, which is the one of the lowest child index.

Nobody waits for a sibling before the verifier is asked: whichever copy is there first asks, under a name that
all copies share, and pays. So the verifier reads a thought once. Who pays changes nothing of what a budget
buys. Where the later of two copies pays, the funds of the first were still held when the later one was
granted. So both count against every operation that is decided after them, and what was decided between them
would fit either way.

A node is returned when all its earlier siblings are sampled, since only then it is known which copy is the
first. They are granted already, and wait for nothing but the engines.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import NamedTuple, get_args

from msgspec.structs import replace

from actors.messages import Finish, SampleResult, Until
from orchestrator.search.context import Usage
from orchestrator.search.tree import Node

SHARED = "~"
"""Stands between a parent's key and a digest, in the name of what equal children share."""


class Kind(NamedTuple):
    """What children must have in common to be compared."""

    parent: str
    """The key of their parent."""
    until: Until
    scored: bool


class Turn:
    """The place of a sample in the order of its siblings; the first has the number 0."""

    __slots__ = ("_before", "number", "passed")

    def __init__(self, before: Turn | None) -> None:
        self.number: int = 0 if before is None else before.number + 1
        self.passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when this sample and all before it have been made, or have failed."""
        self._before = None if before is None else before.passed

    async def come(self) -> None:
        """Returns when all samples before this one have been made, or have failed."""
        if self._before is not None and not self._before.done():
            await asyncio.wait([self._before])  # which does not cancel it when the caller is cancelled

    def end(self) -> None:
        """Says that this sample has been made, or has failed."""
        if self._before is None or self._before.done():
            self.passed.set_result(None)
        else:
            self._before.add_done_callback(lambda _: self.passed.set_result(None))


class Thought:
    """What equal children have in common: the first of them so far, and their score."""

    __slots__ = ("_asking", "_first", "_node", "_scored", "number")

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        """The number of the first copy so far."""
        self._first = node
        self._scored: Node | None = None
        self._node: Node | None = None
        self._asking: asyncio.Event | None = None

    def add(self, number: int, node: Node) -> None:
        """Adds a copy."""
        if number < self.number:
            self.number, self._first = number, node

    async def ask(self, node: Node, score: Callable[[Node], Awaitable[Node]]) -> None:
        """Lets one copy at a time ask for the score, until one has it. Raises what ``score`` raises for this
        copy, ``node``: the next one then asks."""
        while self._scored is None:
            if self._asking is not None:
                await self._asking.wait()
                continue
            self._asking = asyncio.Event()
            try:
                self._scored = await score(node)
            finally:
                self._asking.set()
                self._asking = None

    def node(self) -> Node:
        """Returns what every copy becomes, once all before one of them are sampled and one has the score."""
        if self._node is None:
            node = self._scored or self._first
            self._node = node if node.key == self._first.key else replace(node, key=self._first.key)
        return self._node


class Distinct:
    """The different children of each node of one search. How many were copies is counted in ``usage``."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._last: dict[Kind, Turn] = {}
        self._thoughts: dict[tuple[Kind, Finish | None, tuple[int, ...]], Thought] = {}

    async def one(
        self,
        parent: Node,
        until: Until,
        sample: Callable[[], Awaitable[Node]],
        score: Callable[[Node, str], Awaitable[Node]] | None,
    ) -> Node:
        """Samples a child of ``parent``, and has it scored where no equal one is. Returns the first of its
        equals.

        It is called for siblings in the order of their indices. ``score`` is told the name that all copies
        share; it is None where nothing is scored.
        """
        kind = Kind(parent.key, until, score is not None)
        turn = self._last[kind] = Turn(self._last.get(kind))
        try:
            node = await sample()
            new = node.tokens[len(parent.tokens) :]
            thought = self._thoughts.setdefault((kind, node.finish, new), Thought(turn.number, node))
            thought.add(turn.number, node)
        finally:
            turn.end()
        if score is not None:
            name = name_of(parent.key, until, node.finish, new)
            await thought.ask(node, lambda node: score(node, name))
        await turn.come()
        self._usage.compared += 1
        self._usage.copies += turn.number != thought.number
        return thought.node()


def firsts_of(
    samples: Iterable[tuple[str, SampleResult]], shared: Container[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Finds the samples that became one node, by the names in ``shared``, under which their scores are kept.

    ``samples`` are paths with their results, siblings in the order of their indices. Returns the path of the
    first by the name that its equals share, and of each later one the path of its first.
    """
    named: dict[str, str] = {}
    firsts: dict[str, str] = {}
    for path, result in samples:
        for until in get_args(Until):  # what was asked for is not kept with the result
            name = name_of(path.rpartition(".")[0], until, result.finish, result.tokens)
            if name in shared and (first := named.setdefault(name, path)) != path:
                firsts[path] = first
    return named, firsts


def name_of(parent: str, until: Until, finish: Finish | None, new: tuple[int, ...]) -> str:
    """Returns the name that equal children of the path ``parent`` share, by the ``new`` tokens that they
    add."""
    digest = hashlib.blake2b(repr((until, finish, new)).encode(), digest_size=8)
    return f"{parent}{SHARED}{digest.hexdigest()}"
