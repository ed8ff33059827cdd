"""Plans the operations of one search: frozen values that say what to ask an engine for and what it can cost.

The seed of an operation derives from the run's seed, the problem and the node's path, and from nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec
from msgspec.structs import replace

from actors.messages import SampleRequest, ScoreRequest, Until
from orchestrator.problems.problem import Problem
from orchestrator.search.arguments import check_temperature, check_until
from orchestrator.search.charges import Charges
from orchestrator.search.context import SearchContext
from orchestrator.search.draft import Author
from orchestrator.search.execution import Batch
from orchestrator.search.prompts import Prompts
from orchestrator.search.revision import Attempt
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import Shown


def seed_of(run_seed: int, problem: str, key: str) -> int:
    """Returns a 63-bit seed that depends on the run's seed, the problem and the key of a path alone."""
    name = f"{run_seed}\0{problem}\0{key}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


class SampleOperation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Grows ``parent`` to the node ``key`` by what ``request`` samples, and scores the new node.

    There is one for each operation in flight, so it is small.
    """

    request: SampleRequest
    parent: Node
    key: str
    owed: int
    """FLOPs charged before the first new token: the context of a revision, which no other path shares."""
    room: int
    """New tokens at which the path is cut."""
    revised: bool
    """True where the reviser samples, False where the generator does."""
    scored: bool
    distinct: bool
    """True where it becomes the first of its siblings that is equal to it."""


class ScoreOperation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Scores the steps of ``node`` by what is ``shown``."""

    node: Node
    shown: tuple[Shown, ...]


class DraftOperation(msgspec.Struct, frozen=True, eq=False):
    """Lets ``author`` write a draft after ``start``."""

    start: Node
    author: Author
    scored: bool


class Planner:
    """Plans the operations of one problem, and names their nodes by the order in which they are asked for.

    What it returns are batches: an operation is made, with its request, when its funds are granted.
    """

    def __init__(self, problem: Problem, charges: Charges, prompts: Prompts, priority: int) -> None:
        self.root = Node("", charges.prompt)
        self._problem = problem
        self._prompt = charges.prompt
        self._context: SearchContext = charges.context
        self._charges = charges
        self._prompts = prompts
        self._priority = priority
        self._children: dict[str, int] = {}

    @property
    def paths(self) -> int:
        """The number of nodes that were asked for so far."""
        return sum(self._children.values())

    def continuations(
        self,
        parent: Node,
        count: int,
        until: Until,
        temperature: float | None,
        scored: bool,
        limit: int | None = None,
        *,
        distinct: bool = False,
    ) -> Batch[SampleOperation]:
        """Plans the next ``count`` children of ``parent``.

        Sampling ends at most ``limit`` tokens after the prompt. Raises BadInput for a value that no engine
        takes, and ValueError where ``parent`` cannot be continued.
        """
        check_until(until, self._context.codec.end_of_thinking)
        check_temperature(temperature)
        self.check_here(parent)
        sampling, generator = self._context.sampling, self._context.generator
        written = len(parent.tokens) - len(self._prompt)
        room = sampling.max_tokens - written
        most = min(room, sampling.max_step_tokens) if until == "step" else room
        if limit is not None:
            most = min(most, limit - written)
        if parent.finished or most <= 0:
            raise ValueError(f"{self._problem.id}: path {parent.key} is finished and cannot be continued")
        worst = generator.sample(len(parent.tokens), most)
        if scored:
            worst += self._charges.verifier.worst(parent, most)
        first = self._take_keys(parent, count)

        def make(number: int) -> SampleOperation:
            key = _child(parent, first + number)
            request = self._request("sample", key, parent.tokens, most, until, temperature)
            return SampleOperation(request, parent, key, 0, room, False, scored, distinct)

        return Batch(worst, count, make, self._prompts.readers("generator", scored=scored))

    def revisions(self, chain: Sequence[Node], count: int, scored: bool) -> Batch[SampleOperation]:
        """Plans ``count`` new attempts after ``chain``. Raises ValueError without a reviser."""
        reviser, prompt_of = self._context.reviser, self._context.revision_prompt
        if reviser is None or prompt_of is None:
            raise ValueError("this run has no reviser")
        for node in chain:
            self.check_here(node)
        context = prompt_of(self._problem, [self._shown(node) for node in chain])
        room = self._context.sampling.max_tokens
        parent = chain[-1] if chain else self.root
        first = self._take_keys(parent, count)
        owed = reviser.prefill(len(context)) if chain else 0
        start = replace(self.root, context=context)
        worst = owed + reviser.sample(len(context), room)
        if scored:
            worst += self._charges.verifier.worst(start, room)

        def make(number: int) -> SampleOperation:
            key = _child(parent, first + number)
            request = self._request("revise", key, context, room, "end", None)
            return SampleOperation(request, start, key, owed, room, True, scored, False)

        return Batch(worst, count, make, self._prompts.readers(None if chain else "reviser", scored=scored))

    def drafts(self, author: Author, count: int, suppressed: int, scored: bool) -> Batch[DraftOperation]:
        """Plans ``count`` paths that ``author`` writes, each with ``suppressed`` endings dropped."""
        first = self._take_keys(self.root, count)

        def make(number: int) -> DraftOperation:
            return DraftOperation(replace(self.root, key=_child(self.root, first + number)), author, scored)

        worst = self._charges.draft(self.root, suppressed, scored=scored)
        return Batch(worst, count, make, self._prompts.readers("generator", scored=scored))

    def score(self, node: Node) -> Batch[ScoreOperation]:
        """Plans the scores of the steps of ``node``."""
        self.check_here(node)
        shown = self._charges.verifier.shown(node)
        worst = sum(each.flops for each in shown)
        readers = self._prompts.readers(None, scored=True)
        return Batch(worst, 1, lambda number: ScoreOperation(node, shown), readers)

    def score_requests(
        self, node: Node, shown: Sequence[Shown], name: str | None = None
    ) -> list[ScoreRequest]:
        """Returns what the verifier is asked about ``node``, a request for each input. ``name`` stands for
        the node's key where several nodes share their scores."""
        name = self._id("score", node.key if name is None else name)
        ids = [name] if len(shown) == 1 else [f"{name}/{index}" for index in range(len(shown))]
        return [
            ScoreRequest(
                id,
                each.input.tokens,
                each.input.reads,
                affinity=self._problem.id,
                priority=self._priority,
                texts=each.input.texts,
            )
            for id, each in zip(ids, shown, strict=True)
        ]

    def next_key(self, parent: Node) -> str:
        """Returns the key of the next child of ``parent``."""
        return _child(parent, self._take_keys(parent, 1))

    def check_here(self, node: Node) -> None:
        """Raises ValueError unless ``node`` is in this problem's tree."""
        above, _, child = node.key.rpartition(".")
        if node is self.root:
            return
        known = child.isdecimal() and int(child) < self._children.get(above, 0)
        if not known or node.tokens[: len(self._prompt)] != self._prompt:
            raise ValueError(f"{self._problem.id}: path {node.key!r} is no node of this problem's tree")

    def _take_keys(self, parent: Node, count: int) -> int:
        """Names the next ``count`` children of ``parent``. Returns the number of the first."""
        first = self._children.get(parent.key, 0)
        self._children[parent.key] = first + count
        return first

    def _shown(self, node: Node) -> Attempt:
        """A finished attempt as the reviser is shown it."""
        ends = (len(self._prompt), *node.step_ends)
        steps = [self._context.codec.decode(node.tokens[a:b]) for a, b in pairwise(ends)]
        return Attempt(tuple(steps), node.scores if len(node.scores) == len(steps) else ())

    def _request(
        self,
        kind: Literal["sample", "revise"],
        key: str,
        prompt: tuple[int, ...],
        max_tokens: int,
        until: Until,
        temperature: float | None,
    ) -> SampleRequest:
        sampling = self._context.sampling
        return SampleRequest(
            id=self._id(kind, key),
            prompt=prompt,
            seed=seed_of(self._context.seed, self._problem.id, key),
            max_tokens=max_tokens,
            until=until,
            temperature=sampling.temperature if temperature is None else float(temperature),
            top_p=sampling.top_p,
            affinity=self._problem.id,
            priority=self._priority,
            logprobs=self._context.confidence is not None,
        )

    def _id(self, kind: str, key: str) -> str:
        return f"{self._problem.id}/{kind}/{key}"


def _child(parent: Node, number: int) -> str:
    return f"{parent.key}.{number}" if parent.key else str(number)
