"""The operations a strategy is written in: sample, write, revise, score; what each asks for and costs.

An operation's seed derives from (run seed, problem, path). Its charge is the *logical* one (PAPER §3):
the prompt once a problem, each edge's tokens once, the verifier once a new token, whatever the engines'
caches did. How it is paid for, run once and recorded is ``execution``'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from random import Random
from typing import Literal

from msgspec.structs import replace

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult, Until, check_scores
from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Lease, Reservation
from orchestrator.problems.problem import Problem
from orchestrator.search.context import SearchContext
from orchestrator.search.draft import Author, Draft
from orchestrator.search.execution import Execution, Job, Keep
from orchestrator.search.revision import Attempt
from orchestrator.search.selection import AGGREGATIONS
from orchestrator.search.tree import Node


def seed_of(run_seed: int, problem: str, key: str) -> int:
    """A 63-bit seed from (run seed, problem, a path's key) and from nothing else."""
    name = f"{run_seed}\0{problem}\0{key}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


class Operations(Execution):
    """The operations of one search over one problem, paid from one lease."""

    def __init__(
        self,
        problem: Problem,
        prompt: tuple[int, ...],
        lease: Lease,
        setting: SearchContext,
        *,
        priority: int = 0,
    ) -> None:
        super().__init__(problem, prompt, lease, setting)
        self.root = Node("", prompt)
        self._priority = priority
        self._children: dict[str, int] = {}

    @cached_property
    def random(self) -> Random:
        """The strategy's own chance: the same in every run of this seed and problem."""
        return Random(seed_of(self._setting.seed, self.problem.id, ""))

    @property
    def end_of_thinking(self) -> str:
        """The marker that ends the generator's thinking. ValueError if this run has none."""
        marker = self._setting.codec.end_of_thinking
        if marker is None:
            raise ValueError("this run has no generator.end_of_thinking")
        return marker

    @property
    def left(self) -> int:
        """FLOPs that the search may still spend."""
        return self._lease.left

    async def funds(self) -> int:
        """FLOPs that the search has for what it does next: what is left of its share, where that is fixed.
        Where the budget moves between problems, wait for the decision, which is the last."""
        return await self._lease.last_growth()

    def value(self, node: Node) -> float:
        """The verifier's value of a path: its step scores under the configured aggregation."""
        return AGGREGATIONS[self._setting.aggregation](node.scores)

    async def sample(
        self,
        parents: Node | Sequence[Node],
        n: int | Sequence[int],
        *,
        until: Until = "step",
        temperature: float | None = None,
        score: bool = True,
        keep: Keep = "always",
    ) -> list[Node]:
        """Continue each parent ``n`` times (parent i ``n[i]`` times), to the next step or to the
        end; each child goes to the verifier the moment it is sampled.

        Returns the children, parent by parent. Raises BudgetExhausted, once those that the lease
        could pay for are done, if it could not pay for all. The finished ones are in ``finished``,
        unless a strategy says that they are no answers (``keep`` "never"), or are so only of a search that
        is cut short here ("cut").
        """
        nodes = [parents] if isinstance(parents, Node) else list(parents)
        counts = [n] * len(nodes) if isinstance(n, int) else list(n)
        verify = score and self._setting.verifier is not None
        jobs = [
            job
            for parent, count in zip(nodes, counts, strict=True)
            if count
            for job in self._growth(parent, count, until, temperature, verify)
        ]
        await self._pay_prompt("generator")
        if verify:
            await self._pay_verifiers_prompt()
        return await self._all(jobs, keep=keep)

    async def write(self, n: int, author: Author, *, suppressed: int = 0) -> list[Node]:
        """``n`` paths from the root, each written by ``author`` as a draft, sampled and given pieces in
        turn, and scored when it is done. A draft reserves the worst case of a whole solution, and of
        ``suppressed`` endings that it samples and does not keep, before it starts: so each that does start
        reaches its end, and waits for no other. The last piece of a draft must be a sampled one.

        Returns the last nodes of the drafts. Raises as ``sample`` does.
        """
        verify = self._setting.verifier is not None
        starts = [replace(self.root, key=self._next(self.root)) for _ in range(n)]
        jobs = [self._drafting(start, author, suppressed, verify) for start in starts]
        await self._pay_prompt("generator")
        if verify:
            await self._pay_prompt("verifier")
        return await self._all(jobs)

    async def revise(self, chains: Sequence[Sequence[Node]]) -> list[Node]:
        """One new attempt for each chain of finished attempts (oldest first; an empty chain asks for a
        first attempt), written by the reviser after the last four of them, and scored.

        A chain's attempts are a path: each is the child of the one before. A first attempt is charged
        like a sample; a later one the whole of its context too, which is not a prefix of any other.
        Raises as ``sample`` does.
        """
        verify = self._setting.verifier is not None
        jobs = [self._revision(chain, verify) for chain in chains]
        if not all(chains):
            await self._pay_prompt("reviser")
        if verify:
            await self._pay_verifiers_prompt()
        return await self._all(jobs)

    async def score(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes scored; those that are already, as they are. Raises as ``sample``."""
        unscored = {node.key: node for node in nodes if not node.scored}
        await self._pay_verifiers_prompt()
        scored = await self._all([self._scoring(node) for node in unscored.values()])
        by_key = {node.key: node for node in scored}
        return [by_key.get(node.key, node) for node in nodes]

    # -- the kinds of operation -------------------------------------------------------------------

    def _growth(
        self,
        parent: Node,
        count: int,
        until: Until,
        temperature: float | None,
        verify: bool,
        limit: int | None = None,
    ) -> list[Job]:
        """The next ``count`` children of ``parent``: of each its sample and, right behind it, its score.
        ``limit``: tokens after the prompt that sampling goes to at most."""
        sampling, generator = self._setting.sampling, self._setting.generator
        written = len(parent.tokens) - len(self.prompt)
        room = sampling.max_tokens - written
        most = min(room, sampling.max_step_tokens) if until == "step" else room
        if limit is not None:
            most = min(most, limit - written)
        if parent.finished or most <= 0:
            raise ValueError(f"{self.problem.id}: path {parent.key} is finished and cannot be continued")
        kind = Kind("sample", generator, partial(generator.sample, len(parent.tokens)), room, verify)
        worst, run = self._worst(kind, parent, most), self._attempt
        jobs = []
        for _ in range(count):
            key = self._next(parent)
            request = self._request(kind.name, key, parent.tokens, most, until, temperature)
            jobs.append(Job(worst, run, (kind, request, parent, key)))
        return jobs

    def _drafting(self, start: Node, author: Author, suppressed: int, verify: bool) -> Job:
        """A path that ``author`` writes."""
        setting, generator = self._setting, self._setting.generator
        begin, end = len(self.prompt), len(self.prompt) + setting.sampling.max_tokens
        # An ending is one token, or a marker, no token of which has less than a byte.
        lost = suppressed * len((setting.codec.end_of_thinking or " ").encode())
        worst = generator.sample(begin, end - begin) + lost * generator.sample(end - 1, 1)
        if verify:
            worst += self._score_cost(start, end)

        async def write(reservation: Reservation) -> Node:
            def grow(node: Node, until: Until, limit: int | None) -> Awaitable[Node]:
                (job,) = self._growth(node, 1, until, None, False, limit)
                return job.run(*job.args, reservation)

            def give(node: Node, kept: int, tokens: tuple[int, ...]) -> Node:
                return self._given(node, kept, tokens, reservation)

            draft = Draft(start, setting.codec, grow, give)
            await author(draft)
            return await self._verified(draft.node, reservation) if verify else draft.node

        return Job(worst, write)

    def _given(self, node: Node, kept: int, tokens: tuple[int, ...], reservation: Reservation) -> Node:
        """The first ``kept`` tokens of ``node`` and then ``tokens``, which the generator reads."""
        read = kept + len(tokens)
        if read - len(self.prompt) >= self._setting.sampling.max_tokens:
            raise ValueError(
                f"{self.problem.id}: no room after path {node.key} for {len(tokens)} given tokens"
            )
        flops = self._setting.generator.body(kept, read)
        reservation.settle(flops)
        self.usage.generator_flops += flops
        self.usage.generator_tokens += len(tokens)
        ends = tuple(end for end in node.step_ends if end <= kept)
        return replace(
            node,
            key=self._next(node),
            tokens=node.tokens[:kept] + tokens,
            step_ends=ends,
            scores=node.scores[: len(ends)],
            judged=min(node.judged, ends[-1]) if ends else 0,
            finish=None,
        )

    def _revision(self, chain: Sequence[Node], verify: bool) -> Job:
        """A new attempt after ``chain``."""
        reviser, write = self._setting.reviser, self._setting.revision_prompt
        if reviser is None or write is None:
            raise ValueError("this run has no reviser")
        context = write(self.problem, [self._shown(node) for node in chain])
        room = self._setting.sampling.max_tokens
        key = self._next(chain[-1] if chain else self.root)
        read = reviser.prefill(len(context)) if chain else 0
        kind = Kind("revise", reviser, lambda new: read + reviser.sample(len(context), new), room, verify)
        request = self._request(kind.name, key, context, room, "end", None)
        start = replace(self.root, context=context)
        return Job(self._worst(kind, start, room), self._attempt, (kind, request, start, key))

    def _shown(self, node: Node) -> Attempt:
        """A finished attempt as a reviser is shown it."""
        ends = (len(self.prompt), *node.step_ends)
        steps = [self._setting.codec.decode(node.tokens[a:b]) for a, b in pairwise(ends)]
        return Attempt(tuple(steps), node.scores if len(node.scores) == len(steps) else ())

    def _request(
        self,
        kind: str,
        key: str,
        prompt: tuple[int, ...],
        max_tokens: int,
        until: Until,
        temperature: float | None,
    ) -> SampleRequest:
        """The request for the node of this key."""
        sampling = self._setting.sampling
        return SampleRequest(
            id=_operation(self.problem.id, kind, key),
            prompt=prompt,
            seed=seed_of(self._setting.seed, self.problem.id, key),
            max_tokens=max_tokens,
            until=until,
            temperature=sampling.temperature if temperature is None else temperature,
            top_p=sampling.top_p,
            affinity=self.problem.id,
            priority=self._priority,
        )

    def _next(self, parent: Node) -> str:
        """The key of the next child of ``parent``."""
        child = self._children[parent.key] = self._children.get(parent.key, -1) + 1
        return f"{parent.key}.{child}" if parent.key else str(child)

    def _worst(self, kind: Kind, parent: Node, most: int) -> int:
        """FLOPs of an attempt that samples ``most`` tokens after ``parent``."""
        worst = kind.cost(most)
        return worst + self._score_cost(parent, len(parent.tokens) + most) if kind.verify else worst

    async def _attempt(
        self,
        kind: Kind,
        request: SampleRequest,
        parent: Node,
        key: str,
        reservation: Reservation,
    ) -> Node:
        """``parent`` grown to ``key`` by what ``request`` samples: the sample and, right behind it, the
        score."""
        engine = self._setting.engine
        run = engine.sample if kind.name == "sample" else engine.revise
        sample, flops = await self._once(request, run, kind.charge)
        reservation.settle(flops)
        self._count_sample(request, sample, flops, kind.model)
        tokens = parent.tokens + sample.tokens
        one_step = request.until == "step"
        # Given text belongs to the step that is sampled after it.
        begin = parent.step_ends[-1] if parent.step_ends else len(self.prompt)
        ends = (len(tokens),) if one_step else self._setting.codec.step_ends(tokens, begin)
        # A sequence that ends while it thinks has no answer yet (s1 suppresses that end too).
        done = sample.finish == "end" and request.until != "thought"
        node = replace(
            parent,
            key=key,
            tokens=tokens,
            step_ends=parent.step_ends + ends,
            finish=sample.finish,
            finished=done or len(sample.tokens) >= kind.room,
        )
        return await self._verified(node, reservation) if kind.verify else node

    def _scoring(self, node: Node) -> Job:
        return Job(self._score_cost(node, len(node.tokens)), self._verified, (node,))

    def _count_sample(
        self, request: SampleRequest, sample: SampleResult, flops: int, model: CostModel
    ) -> None:
        new, usage = len(sample.tokens), self.usage
        fed = len(request.prompt) + new - 1
        usage.generator_flops += flops
        usage.generator_tokens += new
        usage.computed_generator_tokens += sample.computed_tokens
        usage.computed_flops += _computed(model.body, sample.computed_tokens, fed) + model.head(new)

    async def _verified(self, node: Node, reservation: Reservation) -> Node:
        verifier = self._setting.verifier
        if verifier is None:
            raise ValueError("this run has no verifier")
        start, end = self._read(node, len(node.tokens))
        whole = self._setting.verifier_kind == "orm"
        request = ScoreRequest(
            id=_operation(self.problem.id, "score", node.key),
            tokens=self._before(node) + node.tokens[len(self.prompt) :] if whole else node.tokens,
            step_ends=(end,) if whole else node.step_ends,
            affinity=self.problem.id,
            priority=self._priority,
        )

        def cost(result: ScoreResult) -> int:
            check_scores(result, request)
            return verifier.score(start, end)

        score, flops = await self._once(request, self._setting.engine.score, cost)
        reservation.settle(flops)
        usage = self.usage
        usage.verifier_flops += flops
        usage.verifier_tokens += end - start
        usage.computed_verifier_tokens += score.computed_tokens
        usage.computed_flops += _computed(verifier.score, score.computed_tokens, end)
        return replace(node, scores=score.scores, judged=len(node.tokens))

    def _score_cost(self, node: Node, end: int) -> int:
        """FLOPs to score ``node``'s path up to ``end``."""
        assert self._setting.verifier is not None
        return self._setting.verifier.score(*self._read(node, end))

    def _read(self, node: Node, end: int) -> tuple[int, int]:
        """The positions of its input, from and up to, that the verifier is charged for to score the path up
        to ``end``: a PRM what follows the scored part of the path; an ORM all of it, since an attempt with
        the history before it is a prefix of nothing else."""
        if self._setting.verifier_kind == "orm":
            return 0, len(self._before(node)) + end - len(self.prompt)
        return max(node.judged, len(self.prompt)), end

    def _before(self, node: Node) -> tuple[int, ...]:
        """What an attempt was written after: earlier attempts and the prompt, or the prompt alone."""
        return self.prompt if node.context is None else node.context

    async def _pay_verifiers_prompt(self) -> None:
        """A PRM reads the prompt once a problem; an ORM again with each attempt, and is charged so."""
        if self._setting.verifier_kind != "orm":
            await self._pay_prompt("verifier")


@dataclass(frozen=True, slots=True)
class Kind:
    """What attempts have in common: the operation's name, the model that writes and what it is charged for so
    many new tokens, in FLOPs; ``room``, the new tokens at which the path is cut; and whether it is scored."""

    name: Literal["sample", "revise"]
    model: CostModel
    cost: Callable[[int], int]
    room: int
    verify: bool

    def charge(self, sample: SampleResult) -> int:
        """FLOPs."""
        return self.cost(len(sample.tokens))


def _computed(cost: Callable[[int, int], int], tokens: int, end: int) -> int:
    """FLOPs of a model that ran so many tokens for an input of ``end``, where positions ``start`` to ``end``
    take ``cost(start, end)``: its last ones, and where that is more than there are (an engine short of memory
    computes again), all of them once more."""
    if tokens <= end:
        return cost(end - tokens, end)
    again, new = divmod(tokens, end)
    return cost(end - new, end) + again * cost(0, end)


def _operation(problem: str, kind: str, key: str) -> str:
    return f"{problem}/{kind}/{key}"
