"""Carries out the operations of one search: asks the engines, settles the charge, and makes the new nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from msgspec.structs import replace

from actors.messages import (
    RequestFailed,
    SampleRequest,
    SampleResult,
    ScoreRequest,
    ScoreResult,
    Until,
    check_logprobs,
    check_scores,
)
from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Reservation
from orchestrator.extensions.contained import contained, exited
from orchestrator.search.charges import Charges, computed
from orchestrator.search.confidence import GIVEN
from orchestrator.search.distinct import Distinct
from orchestrator.search.draft import Draft
from orchestrator.search.execution import Execution
from orchestrator.search.planning import DraftOperation, Planner, SampleOperation
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import Shown

log = logging.getLogger(__name__)


class Performer:
    """Performs operations whose funds are granted."""

    def __init__(self, charges: Charges, planner: Planner, execution: Execution) -> None:
        self._charges = charges
        self._context = charges.context
        self._planner = planner
        self._execution = execution
        self._usage = execution.usage
        self._begin = len(charges.prompt)
        self._distinct = Distinct(execution.usage)
        # The shared scores that are charged: where a copy is cancelled, another asks again.
        self._paid: set[str] = set()
        self.score_error: BaseException | None = None
        """Why the verifier has no score for the first path that it could not score; None where it had all."""

    async def sample(self, operation: SampleOperation, reservation: Reservation) -> Node:
        """Samples the node, then scores it; or has it become the first of its equals."""
        if not operation.distinct:
            node = await self._sample(operation, reservation)
            return await self.score(node, reservation) if operation.scored else node

        def score(node: Node, name: str) -> Awaitable[Node]:
            return self.score(node, reservation, name=name)

        return await self._distinct.one(
            operation.parent,
            operation.request.until,
            lambda: self._sample(operation, reservation),
            score if operation.scored else None,
        )

    async def _sample(self, operation: SampleOperation, reservation: Reservation) -> Node:
        context, parent, request = self._context, operation.parent, operation.request
        model = context.reviser if operation.revised else context.generator
        assert model is not None

        def cost(result: SampleResult) -> int:
            check_logprobs(result, request)
            return operation.owed + model.sample(len(request.prompt), len(result.tokens))

        run = context.engine.revise if operation.revised else context.engine.sample
        sample, flops = await self._execution.once(request, run, cost)
        reservation.settle(flops)
        self._count_sample(request, sample, flops, model)
        tokens = parent.tokens + sample.tokens
        # Given text belongs to the step that is sampled after it.
        begin = parent.step_ends[-1] if parent.step_ends else self._begin
        ends = (len(tokens),) if request.until == "step" else context.codec.step_ends(tokens, begin)
        # A sequence that ends while it thinks has no answer yet (s1 suppresses that end too).
        ended = sample.finish == "end" and request.until != "thought"
        return replace(
            parent,
            key=operation.key,
            tokens=tokens,
            step_ends=parent.step_ends + ends,
            finish=sample.finish,
            logprobs=parent.logprobs + sample.logprobs,
            finished=ended or len(sample.tokens) >= operation.room,
        )

    async def write(self, operation: DraftOperation, reservation: Reservation) -> Node:
        """Lets the author write, then scores what is written."""

        async def grow(node: Node, until: Until, limit: int | None) -> Node:
            piece = self._planner.continuations(node, 1, until, None, False, limit).make(0)
            return await self.sample(piece, reservation)

        def give(node: Node, kept: int, tokens: tuple[int, ...]) -> Node:
            return self._given(node, kept, tokens, reservation)

        draft = Draft(operation.start, self._context.codec, grow, give)
        await contained(operation.author(draft))
        return await self.score(draft.node, reservation) if operation.scored else draft.node

    def _given(self, node: Node, kept: int, tokens: tuple[int, ...], reservation: Reservation) -> Node:
        """The first ``kept`` tokens of ``node`` and then ``tokens``, which the generator reads."""
        read = kept + len(tokens)
        if read - self._begin >= self._context.sampling.max_tokens:
            raise ValueError(f"no room after path {node.key} for {len(tokens)} given tokens")
        flops = self._context.generator.body(kept, read)
        reservation.settle(flops)
        self._usage.generator_flops += flops
        self._usage.generator_tokens += len(tokens)
        ends = tuple(end for end in node.step_ends if end <= kept)
        return replace(
            node,
            key=self._planner.next_key(node),
            tokens=node.tokens[:kept] + tokens,
            step_ends=ends,
            scores=node.scores[: len(ends)],
            judged=min(node.judged, ends[-1]) if ends else 0,
            logprobs=self._logprobs(node, kept, len(tokens)),
            finish=None,
        )

    def _logprobs(self, node: Node, kept: int, given: int) -> tuple[float, ...]:
        """Those of the first ``kept`` tokens of ``node``, then of ``given`` tokens that were not sampled."""
        if self._context.confidence is None:
            return ()
        return node.logprobs[: kept - self._begin] + (GIVEN,) * given

    async def score(
        self,
        node: Node,
        reservation: Reservation,
        shown: Sequence[Shown] | None = None,
        name: str | None = None,
    ) -> Node:
        """Returns the node with its scores; without them, which is counted and logged, where its text takes
        more than was granted for it, or than the verifier can read, or where that has no score for it.

        ``shown`` is what the verifier's view shows of the node, where that is known. ``name`` is what nodes
        that share their scores have in common.
        """
        view = self._charges.verifier
        try:
            shown = view.shown(node) if shown is None else shown
        except SystemExit as error:  # of a format of a user's own
            raise exited(error) from None
        granted = sum(each.flops for each in shown) <= reservation.left
        if not granted or not view.fits(shown):
            new = sum(each.new for each in shown)
            limit = "more than it can read" if granted else "more than verifier.token_ratio grants"
            return self._unscored(node, f"its text has {new} new tokens for the verifier, {limit}")
        requests = self._planner.score_requests(node, shown, name)
        shared = name is not None
        asked = (self._ask(*each, reservation, shared=shared) for each in zip(requests, shown, strict=True))
        found = await asyncio.gather(*asked, return_exceptions=True)
        failed = [each for each in found if isinstance(each, BaseException)]
        for failure in failed:
            if not isinstance(failure, RequestFailed):
                raise failure
        if failed:
            self.score_error = self.score_error or failed[0]
            return self._unscored(node, str(failed[0]))
        scores = tuple(score for some in found if not isinstance(some, BaseException) for score in some)
        return replace(node, scores=view.scores(node, scores), judged=len(node.tokens))

    def _unscored(self, node: Node, why: str) -> Node:
        self._usage.unscored += 1
        log.warning("problem %s, path %s is not scored: %s", self._charges.problem.id, node.key, why)
        return node

    async def _ask(
        self, request: ScoreRequest, shown: Shown, reservation: Reservation, *, shared: bool
    ) -> tuple[float, ...]:
        """Asks the verifier about one input, and settles its charge."""

        def cost(result: ScoreResult) -> int:
            check_scores(result, request)
            return shown.flops

        score, flops = await self._execution.once(request, self._context.engine.score, cost)
        if shared:  # the copy that has paid for it may have been cancelled since
            if request.id in self._paid:
                return score.scores
            self._paid.add(request.id)
        reservation.settle(flops)
        costs, usage = self._context.verifier, self._usage
        assert costs is not None
        usage.verifier_flops += flops
        usage.verifier_tokens += shown.new
        usage.computed_verifier_tokens += score.computed_tokens
        usage.computed_flops += computed(costs.score, score.computed_tokens, len(request.tokens))
        return score.scores

    def _count_sample(
        self, request: SampleRequest, sample: SampleResult, flops: int, model: CostModel
    ) -> None:
        new, usage = len(sample.tokens), self._usage
        if request.until == "step" and sample.finish != "end":
            usage.steps += 1
            usage.cut_steps += sample.finish == "length"
        fed = len(request.prompt) + new - 1
        usage.generator_flops += flops
        usage.generator_tokens += new
        usage.computed_generator_tokens += sample.computed_tokens
        usage.computed_flops += computed(model.body, sample.computed_tokens, fed) + model.head(new)
