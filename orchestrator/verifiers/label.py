"""Monte-Carlo labels of steps (Snell §5.1, appendix D; Math-Shepherd): how often does a path still succeed?

Rollouts are sampled through the orchestrator: charged, journaled, on any number of replicas.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from orchestrator.budget.ledger import BudgetExhausted
from orchestrator.config.preparation import Prepared, revision_prompt
from orchestrator.errors import BadInput
from orchestrator.problems.answers import Answers
from orchestrator.problems.codec import Codec
from orchestrator.search.operations import Operations
from orchestrator.search.revision import CONTEXT
from orchestrator.search.tree import Node


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """What a verifier reads, and what it should say of it.

    ``tokens`` are the ids of the whole input; ``labels[i]`` in [0, 1] belongs to the part that ends before
    position ``step_ends[i]``: for a step the share of completions from there that were correct, for a whole
    solution whether it is correct. ``prompt`` and ``steps`` are the same as text, for a reader.
    """

    problem: str
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float, ...]
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...]


@dataclass
class Labeller(ABC):
    """A search coroutine for the controller that keeps what it learns in ``rows``."""

    codec: Codec
    answers: Answers
    rows: list[LabelledSolution] = field(default_factory=list, kw_only=True)
    unpaid: list[str] = field(default_factory=list, kw_only=True)
    """The problems that have no rows because the budget did not pay for all of their rollouts."""

    @property
    def name(self) -> str:
        """What is labelled, and how: its kind and its parameters."""
        shared = {field.name for field in fields(Labeller)}
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}
        return f"{type(self).__name__} {own}"

    async def __call__(self, ops: Operations) -> Sequence[Node]:
        """Sample and label one problem. Returns all finished solutions."""
        try:
            return await self.label(ops)
        except BudgetExhausted:
            self.unpaid.append(ops.problem.id)
            raise

    @abstractmethod
    async def label(self, ops: Operations) -> Sequence[Node]:
        """What a call does. Raises BudgetExhausted, with no row kept, where that cannot be paid."""

    @abstractmethod
    def worst(self, prepared: Prepared, prompt: int) -> int:
        """FLOPs of a problem whose prompt has ``prompt`` tokens, at most: everything at full length."""

    def correct(self, ops: Operations, node: Node) -> bool:
        """Whether a solution has the problem's answer."""
        return self.answers.correct(self.answer(ops, node), ops.problem.answer)

    def answer(self, ops: Operations, node: Node) -> str | None:
        """A solution's answer; None where none can be read, or where it was cut at the length limit."""
        if node.finish != "end":
            return None
        return self.answers.extract(self.codec.decode(node.tokens[len(ops.prompt) :]))

    def keep(
        self,
        ops: Operations,
        prompt: tuple[int, ...],
        node: Node,
        ends: Sequence[int],
        labels: Sequence[float],
    ) -> None:
        """Add a row: ``node``'s solution after ``prompt``, labelled before its positions ``ends``."""
        start = len(ops.prompt)
        parts = [self.codec.decode(node.tokens[a:b]) for a, b in itertools.pairwise((start, *ends))]
        shift = len(prompt) - start
        self.rows.append(
            LabelledSolution(
                ops.problem.id,
                self.codec.decode(prompt),
                tuple(parts),
                tuple(labels),
                prompt + node.tokens[start:],
                tuple(end + shift for end in ends),
            )
        )


@dataclass
class StepLabeller(Labeller):
    """Labels for a process reward model.

    ``solutions`` paths are sampled step by step; from each step ``completions`` solutions are sampled to the
    end. Equal prefixes of a problem share one estimate. A path without a readable answer is dropped, as in
    the paper.
    """

    solutions: int = 16
    completions: int = 16

    def worst(self, prepared: Prepared, prompt: int) -> int:
        cost, most = prepared.generator, prepared.config.generator.max_tokens
        # A step has a token or more, and after each there is a token or more left to sample.
        rollouts = sum(cost.sample(prompt + begun, most - begun) for begun in range(1, most))
        each = cost.sample(prompt, most) + self.completions * rollouts
        return cost.prefill(prompt) + self.solutions * each

    async def label(self, ops: Operations) -> Sequence[Node]:
        labels: dict[tuple[int, ...], float] = {}
        done: list[Node] = []
        live = await ops.sample(ops.root, self.solutions, score=False)
        while live:
            done += [node for node in live if node.finished]
            live = [node for node in live if not node.finished]
            fresh = list({node.tokens: node for node in live}.values())
            rollouts = iter(await ops.sample(fresh, self.completions, until="end", score=False))
            for node in fresh:
                own = itertools.islice(rollouts, self.completions)
                labels[node.tokens] = sum(self.correct(ops, each) for each in own) / self.completions
            live = await ops.sample(live, 1, score=False)
        for node in done:
            if self.answer(ops, node) is not None:
                labels[node.tokens] = float(self.correct(ops, node))
                own_labels = [labels[node.tokens[:end]] for end in node.step_ends]
                self.keep(ops, ops.prompt, node, node.step_ends, own_labels)
        return done


@dataclass
class ChainLabeller(Labeller):
    """Labels for an outcome reward model that sees the history: ``chains`` chains of ``length`` attempts,
    each with the last four before it in its context and labelled as correct or not (Snell §6.1)."""

    chains: int = 4
    length: int = 5

    def worst(self, prepared: Prepared, prompt: int) -> int:
        cost, most = prepared.reviser, prepared.config.generator.max_tokens
        assert cost is not None
        write = revision_prompt(prepared.config, prepared.codec)
        context = prompt + CONTEXT * most + write.words(prepared.problems[0], most)
        return self.chains * self.length * (cost.prefill(context) + cost.sample(context, most))

    async def label(self, ops: Operations) -> Sequence[Node]:
        chains: list[list[Node]] = [[] for _ in range(self.chains)]
        for _ in range(self.length):
            for chain, attempt in zip(chains, await ops.revise(chains), strict=True):
                chain.append(attempt)
        attempts = [attempt for chain in chains for attempt in chain]
        for node in attempts:
            if self.answer(ops, node) is not None:
                label = float(self.correct(ops, node))
                self.keep(ops, node.context or ops.prompt, node, [len(node.tokens)], [label])
        return attempts


def write_labels(rows: Sequence[LabelledSolution], path: Path) -> None:
    """One row a solution, as Parquet, in the order of problems whatever finished first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.problem)  # stable: a problem's own order is kept
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in ordered]), path)


def read_labels(paths: Iterable[Path]) -> list[LabelledSolution]:
    """What ``write_labels`` wrote, file by file. Raises BadInput that names a file that holds no labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[LabelledSolution] = []
    for path in paths:
        try:
            for row in pq.read_table(path).to_pylist():
                fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
                rows.append(LabelledSolution(**fields))
        except (OSError, pa.ArrowException, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                "labels", str(path), f"needed: what ttc verifier label wrote ({reason})"
            ) from error
    if not rows:
        raise BadInput("labels", ", ".join(map(str, paths)), "there is no labelled solution in it")
    return rows
