"""The operations a strategy is written in: each one reserves, runs or replays, is recorded, settles.

An operation's identity is its kind and node path. Its seed derives from (run seed, problem, path),
its result is journaled once, and its charge is the *logical* one (PAPER §3): the prompt once a
problem, each edge's tokens once, the verifier once a new token, whatever the engines' caches did.

A call reserves for everything it asks for before anything runs, in the strategy's own order, and
a lease decides in that order; so what a budget buys does not depend on which request is fastest.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

from actors.messages import Result, SampleRequest, SampleResult, ScoreRequest, Until
from orchestrator.flops import CostModel
from orchestrator.ledger import BudgetExhausted, Lease, Reservation
from orchestrator.problems import Problem
from orchestrator.revision import Attempt
from orchestrator.selection import AGGREGATIONS
from orchestrator.setting import Setting, Usage
from orchestrator.tree import Node

R = TypeVar("R", bound=Result)


def seed_of(run_seed: int, problem: str, path: Sequence[int]) -> int:
    """A 63-bit seed from (run seed, problem, path) and from nothing else."""
    name = f"{run_seed}\0{problem}\0{'.'.join(map(str, path))}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


class Operations:
    """The operations of one search over one problem, paid from one lease."""

    def __init__(
        self, problem: Problem, prompt: tuple[int, ...], lease: Lease, setting: Setting, *, priority: int = 0
    ) -> None:
        self.problem = problem
        self.prompt = prompt
        self.root = Node((), prompt)
        self.usage = Usage()
        self.random = random.Random(seed_of(setting.seed, problem.id, ()))
        """The strategy's own chance: the same in every run of this seed and problem."""
        self.finished: list[Node] = []
        """Finished nodes so far, in the strategy's order: the answer of a search that is cut short. A
        strategy that drops some of them keeps this list itself."""
        self._lease = lease
        self._setting = setting
        self._priority = priority
        self._children: dict[tuple[int, ...], int] = {}
        self._prompt_paid: set[str] = set()
        self._running: set[asyncio.Task[Node | None]] = set()
        self._recorded = setting.journal.results(problem.id) if setting.journal is not None else {}

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
        keep: bool = True,
    ) -> list[Node]:
        """Continue each parent ``n`` times (parent i ``n[i]`` times), to the next step or to the
        end; each child goes to the verifier the moment it is sampled.

        Returns the children, parent by parent. Raises BudgetExhausted, once those that the lease
        could pay for are done, if it could not pay for all; the finished ones are in ``finished``,
        unless a strategy says that they are no answers of its own (``keep`` False).
        """
        nodes = [parents] if isinstance(parents, Node) else list(parents)
        counts = [n] * len(nodes) if isinstance(n, int) else list(n)
        verify = score and self._setting.verifier is not None
        jobs = [
            self._growth(parent, until, temperature, verify)
            for parent, count in zip(nodes, counts, strict=True)
            for _ in range(count)
        ]
        await self._pay_prompt("generator")
        if verify:
            await self._pay_prompt("verifier")
        return await self._all(jobs, keep=keep)

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
            await self._pay_prompt("verifier")
        return await self._all(jobs)

    async def score(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes with every step scored; those that are already, as they are. Raises as ``sample``."""
        unscored = {node.path: node for node in nodes if len(node.scores) < len(node.step_ends)}
        await self._pay_prompt("verifier")
        scored = await self._all([self._scoring(node) for node in unscored.values()])
        by_path = {node.path: node for node in scored}
        return [by_path.get(node.path, node) for node in nodes]

    async def drain(self) -> None:
        """Wait for what a strategy left running, so that the lease can be closed."""
        while self._running:
            await asyncio.wait(self._running)

    # -- the kinds of operation -------------------------------------------------------------------

    def _growth(self, parent: Node, until: Until, temperature: float | None, verify: bool) -> _Job:
        """The next child of ``parent``: its sample and, right behind it, its score."""
        sampling, generator = self._setting.sampling, self._setting.generator
        room = sampling.max_tokens - (len(parent.tokens) - len(self.prompt))
        if parent.finished or room <= 0:
            raise ValueError(f"{self.problem.id}: path {parent.key} is finished and cannot be continued")
        most = min(room, sampling.max_step_tokens) if until == "step" else room
        request = self._request("sample", parent, parent.tokens, most, until, temperature)
        cost = Cost(lambda new: generator.sample(len(request.prompt), new), generator)
        return self._attempt(request, cost, self._setting.engine.sample, parent, room, verify)

    def _revision(self, chain: Sequence[Node], verify: bool) -> _Job:
        """A new attempt after ``chain``."""
        reviser, write = self._setting.reviser, self._setting.revision_prompt
        if reviser is None or write is None:
            raise ValueError("this run has no reviser")
        context = write(self.problem, [self._shown(node) for node in chain])
        room = self._setting.sampling.max_tokens
        parent = chain[-1] if chain else self.root
        request = self._request("revise", parent, context, room, "end", None)
        read = reviser.prefill(len(context)) if chain else 0
        cost = Cost(lambda new: read + reviser.sample(len(context), new), reviser)
        start = replace(self.root, path=parent.path, context=context)
        return self._attempt(request, cost, self._setting.engine.revise, start, room, verify)

    def _shown(self, node: Node) -> Attempt:
        """A finished attempt as a reviser is shown it."""
        ends = (len(self.prompt), *node.step_ends)
        steps = [self._setting.codec.decode(node.tokens[a:b]) for a, b in pairwise(ends)]
        return Attempt(tuple(steps), node.scores)

    def _request(
        self,
        kind: str,
        parent: Node,
        prompt: tuple[int, ...],
        max_tokens: int,
        until: Until,
        temperature: float | None,
    ) -> SampleRequest:
        """The request for the next child of ``parent``."""
        child = self._children[parent.path] = self._children.get(parent.path, -1) + 1
        path, sampling = (*parent.path, child), self._setting.sampling
        return SampleRequest(
            id=_operation(self.problem.id, kind, path),
            prompt=prompt,
            seed=seed_of(self._setting.seed, self.problem.id, path),
            max_tokens=max_tokens,
            until=until,
            temperature=sampling.temperature if temperature is None else temperature,
            top_p=sampling.top_p,
            affinity=self.problem.id,
            priority=self._priority,
        )

    def _attempt(
        self,
        request: SampleRequest,
        cost: Cost,
        run: Callable[[SampleRequest], Awaitable[SampleResult]],
        parent: Node,
        room: int,
        verify: bool,
    ) -> _Job:
        """``parent`` grown by what ``request`` samples: the sample and, right behind it, the score.
        ``room``: new tokens at which the path is cut."""
        start = len(parent.tokens)
        path = tuple(map(int, request.id.rpartition("/")[2].split(".")))
        worst = cost.of(request.max_tokens)
        if verify:
            worst += self._score_cost(parent, start + request.max_tokens)

        async def grow(reservation: Reservation) -> Node:
            sample = await self._sampled(request, cost, run, reservation)
            tokens = parent.tokens + sample.tokens
            one_step = request.until == "step"
            ends = (len(tokens),) if one_step else self._setting.codec.step_ends(tokens, start)
            node = replace(
                parent,
                path=path,
                tokens=tokens,
                step_ends=parent.step_ends + ends,
                finish=sample.finish,
                finished=sample.finish == "end" or len(sample.tokens) >= room,
            )
            return await self._verified(node, reservation) if verify else node

        return _Job(worst, grow)

    def _scoring(self, node: Node) -> _Job:
        return _Job(self._score_cost(node, len(node.tokens)), lambda paid: self._verified(node, paid))

    async def _sampled(
        self,
        request: SampleRequest,
        cost: Cost,
        run: Callable[[SampleRequest], Awaitable[SampleResult]],
        reservation: Reservation,
    ) -> SampleResult:
        sample, flops = await self._once(
            request.id, lambda: run(request), lambda sample: cost.of(len(sample.tokens))
        )
        reservation.settle(flops)
        new, model = len(sample.tokens), cost.model
        fed = len(request.prompt) + new - 1
        self.usage.generator_flops += flops
        self.usage.generator_tokens += new
        self.usage.computed_generator_tokens += sample.computed_tokens
        self.usage.computed_flops += model.body(fed - sample.computed_tokens, fed) + model.head(new)
        return sample

    async def _verified(self, node: Node, reservation: Reservation) -> Node:
        verifier, end = self._setting.verifier, len(node.tokens)
        if verifier is None:
            raise ValueError("this run has no verifier")
        request = ScoreRequest(
            id=_operation(self.problem.id, "score", node.path),
            tokens=node.tokens,
            step_ends=node.step_ends,
            affinity=self.problem.id,
            priority=self._priority,
        )
        score, flops = await self._once(
            request.id,
            lambda: self._setting.engine.score(request),
            lambda score: self._score_cost(node, end),
        )
        reservation.settle(flops)
        self.usage.verifier_flops += flops
        self.usage.verifier_tokens += end - self._scored_to(node)
        self.usage.computed_verifier_tokens += score.computed_tokens
        # More than ``end`` tokens: the verifier had to run the whole path once more (actors/verifier.py).
        again, new = divmod(score.computed_tokens, end)
        self.usage.computed_flops += again * verifier.score(0, end) + verifier.score(end - new, end)
        return replace(node, scores=score.scores)

    # -- what they have in common: paid, run once, recorded ----------------------------------------

    async def _all(self, jobs: Sequence[_Job], *, keep: bool = True) -> list[Node]:
        """Ask for the funds of every job, in order, before any of them runs; run what is granted."""
        decisions = [self._lease.ask(job.worst) for job in jobs]
        tasks = [asyncio.create_task(_paid(*each)) for each in zip(jobs, decisions, strict=True)]
        self._running.update(tasks)
        try:
            nodes = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            self._running.difference_update(tasks)
            for decision in decisions:
                _give_back(decision)
        done = [node for node in nodes if node is not None]
        if keep:
            self.finished += [node for node in done if node.finished]
        if len(done) < len(jobs):
            refused = jobs[nodes.index(None)].worst
            raise BudgetExhausted(self._lease.name, refused, self._lease.left)
        return done

    async def _once(
        self, key: str, run: Callable[[], Awaitable[R]], cost: Callable[[R], int]
    ) -> tuple[R, int]:
        """The operation's result and its charge in FLOPs: from the journal, or run and journaled."""
        self.usage.operations += 1
        recorded = self._recorded.get(key)
        if recorded is not None:
            self.usage.replayed += 1
            return recorded  # type: ignore[return-value]
        result = await run()
        self.usage.fresh_tokens += len(result.tokens) if isinstance(result, SampleResult) else 0
        flops = cost(result)
        self._recorded[key] = (result, flops)
        if self._setting.journal is not None:
            self._setting.journal.record(self.problem.id, key, result, flops)
        return result, flops

    async def _pay_prompt(self, model: Literal["generator", "verifier", "reviser"]) -> None:
        """The prompt is charged once a problem to each model that reads it."""
        reader = getattr(self._setting, model)
        if model in self._prompt_paid or reader is None:
            return
        self._prompt_paid.add(model)
        length = len(self.prompt)
        flops = reader.prefill(length)
        try:
            await self._pay(flops)
        except BudgetExhausted:
            self._prompt_paid.discard(model)
            raise
        if model == "verifier":
            self.usage.verifier_flops += flops
            self.usage.verifier_tokens += length
        else:
            self.usage.generator_flops += flops
            self.usage.generator_tokens += length

    async def _pay(self, flops: int) -> None:
        reservation = await self._lease.reserve(flops)
        reservation.settle(flops)
        reservation.close()

    def _score_cost(self, node: Node, end: int) -> int:
        """FLOPs to score what follows the scored part of ``node``'s path, up to ``end``."""
        assert self._setting.verifier is not None
        return self._setting.verifier.score(self._scored_to(node), end)

    def _scored_to(self, node: Node) -> int:
        return node.step_ends[len(node.scores) - 1] if node.scores else len(self.prompt)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a sample is charged, in FLOPs, by its number of new tokens; and the model that writes it."""

    of: Callable[[int], int]
    model: CostModel


@dataclass(frozen=True, slots=True)
class _Job:
    """An operation that has not been paid for: its worst case in FLOPs, and how to run it."""

    worst: int
    run: Callable[[Reservation], Awaitable[Node]]


async def _paid(job: _Job, decision: asyncio.Future[Reservation | None]) -> Node | None:
    """Run the job once its funds are granted; None if they are refused."""
    reservation = await decision
    if reservation is None:
        return None
    try:
        return await job.run(reservation)
    finally:
        reservation.close()


def _give_back(decision: asyncio.Future[Reservation | None]) -> None:
    """Release what a job did not settle, whether or not it came to run."""
    decision.cancel()
    if not decision.cancelled() and (granted := decision.result()) is not None:
        granted.close()


def _operation(problem: str, kind: str, path: Sequence[int]) -> str:
    return f"{problem}/{kind}/{'.'.join(map(str, path))}"
