"""Carries out the operations of one search: asks the engines, settles the charge, and makes the new nodes."""

from __future__ import annotations

from msgspec.structs import replace

from actors.messages import SampleRequest, SampleResult, ScoreResult, Until, check_scores
from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Reservation
from orchestrator.search.charges import Charges, computed
from orchestrator.search.draft import Draft
from orchestrator.search.execution import Execution
from orchestrator.search.planning import DraftOperation, Planner, SampleOperation
from orchestrator.search.tree import Node


class Performer:
    """Performs operations whose funds are granted."""

    def __init__(self, charges: Charges, planner: Planner, execution: Execution) -> None:
        self._charges = charges
        self._context = charges.context
        self._planner = planner
        self._execution = execution
        self._usage = execution.usage
        self._begin = len(charges.prompt)

    async def sample(self, operation: SampleOperation, reservation: Reservation) -> Node:
        """Samples the node, then scores it."""
        context, parent, request = self._context, operation.parent, operation.request
        model = context.reviser if operation.revised else context.generator
        assert model is not None

        def cost(result: SampleResult) -> int:
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
        node = replace(
            parent,
            key=operation.key,
            tokens=tokens,
            step_ends=parent.step_ends + ends,
            finish=sample.finish,
            finished=ended or len(sample.tokens) >= operation.room,
        )
        return await self.score(node, reservation) if operation.scored else node

    async def write(self, operation: DraftOperation, reservation: Reservation) -> Node:
        """Lets the author write, then scores what is written."""

        async def grow(node: Node, until: Until, limit: int | None) -> Node:
            (piece,) = self._planner.continuations(node, 1, until, None, False, limit)
            return await self.sample(piece, reservation)

        def give(node: Node, kept: int, tokens: tuple[int, ...]) -> Node:
            return self._given(node, kept, tokens, reservation)

        draft = Draft(operation.start, self._context.codec, grow, give)
        await operation.author(draft)
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
            finish=None,
        )

    async def score(self, node: Node, reservation: Reservation) -> Node:
        """Scores the steps of ``node``."""
        verifier = self._charges.verifier
        start, end = self._charges.score_positions(node, len(node.tokens))
        request = self._planner.score_request(node)

        def cost(result: ScoreResult) -> int:
            check_scores(result, request)
            return verifier.score(start, end)

        score, flops = await self._execution.once(request, self._context.engine.score, cost)
        reservation.settle(flops)
        usage = self._usage
        usage.verifier_flops += flops
        usage.verifier_tokens += end - start
        usage.computed_verifier_tokens += score.computed_tokens
        usage.computed_flops += computed(verifier.score, score.computed_tokens, end)
        return replace(node, scores=score.scores, judged=len(node.tokens))

    def _count_sample(
        self, request: SampleRequest, sample: SampleResult, flops: int, model: CostModel
    ) -> None:
        new, usage = len(sample.tokens), self._usage
        fed = len(request.prompt) + new - 1
        usage.generator_flops += flops
        usage.generator_tokens += new
        usage.computed_generator_tokens += sample.computed_tokens
        usage.computed_flops += computed(model.body, sample.computed_tokens, fed) + model.head(new)
