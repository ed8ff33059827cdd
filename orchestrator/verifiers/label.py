"""Labels steps and solutions by Monte-Carlo rollouts.

A step's label is the share of completions from it that are correct (Wang et al. 2024, Math-Shepherd; Snell et
al. 2024, section 5.1 and appendix D). Rollouts are sampled through the orchestrator: charged, journaled, on
any number of replicas.
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
from orchestrator.errors import BadInput, in_one_line
from orchestrator.grading.grader import Grader
from orchestrator.problems.codec import Codec
from orchestrator.search.operations import Operations
from orchestrator.search.revision import CONTEXT
from orchestrator.search.tree import Node


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """An input of a verifier, and the scores that it should give."""

    problem: str
    """The problem's id."""
    prompt: str
    steps: tuple[str, ...]
    """The text of each labelled part: the steps, or the whole solution of an ORM."""
    labels: tuple[float, ...]
    """A label in [0, 1] for each part: the share of completions after a step that are correct; 0 or 1 for a
    whole solution."""
    tokens: tuple[int, ...]
    """Token ids of prompt and steps."""
    step_ends: tuple[int, ...]
    """The position in ``tokens`` after the last token of each part."""


@dataclass
class Labeller(ABC):
    """A search, in a strategy's place, that labels the solutions of each problem and keeps them."""

    codec: Codec
    grader: Grader
    rows: list[LabelledSolution] = field(default_factory=list, kw_only=True)
    unpaid: list[str] = field(default_factory=list, kw_only=True)
    """Ids of the problems without rows, because the budget did not pay for all of their rollouts."""

    @property
    def name(self) -> str:
        """The labeller's class and parameters, which a run's fingerprint holds."""
        shared = {field.name for field in fields(Labeller)}
        parameters = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}
        return f"{type(self).__name__} {parameters}"

    async def __call__(self, ops: Operations) -> Sequence[Node]:
        """Samples and labels one problem; returns its finished solutions."""
        try:
            return await self.label(ops)
        except BudgetExhausted:
            self.unpaid.append(ops.problem.id)
            raise

    @abstractmethod
    async def label(self, ops: Operations) -> Sequence[Node]:
        """Does the work of a call. Raises ``BudgetExhausted``, without rows kept, if it cannot be paid."""

    @abstractmethod
    def worst(self, prepared: Prepared, prompt: int) -> int:
        """Returns the FLOPs, at most, of a problem whose prompt has ``prompt`` tokens: all at full length."""

    async def judged(self, ops: Operations, nodes: Sequence[Node]) -> list[bool | None]:
        """Tells of each solution whether it has the problem's answer; None where no answer can be read, or
        where the length limit cut the solution."""
        ended = [node for node in nodes if node.finish == "end"]
        read = await self.grader.read([self.codec.solution(node.tokens[len(ops.prompt) :]) for node in ended])
        answers = [reading.answer for reading in read]
        right = await self.grader.right((ops.problem.answer, *ops.problem.also), answers)
        known = {
            node: correct
            for node, answer, correct in zip(ended, answers, right, strict=True)
            if answer is not None
        }
        return [known.get(node) for node in nodes]

    def keep(
        self,
        ops: Operations,
        prompt: tuple[int, ...],
        node: Node,
        ends: Sequence[int],
        labels: Sequence[float],
    ) -> None:
        """Adds a row: the solution of ``node`` after ``prompt``, in parts that end before positions ``ends``.

        ``prompt`` is what the verifier reads first: the attempts before, too, where there are some.
        """
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
    """Labels the steps of solutions, for a process reward model.

    Equal prefixes of a problem share one estimate. A path without a readable answer is dropped (Snell et al.
    2024, appendix D).
    """

    solutions: int = 16
    """Paths of a problem, sampled step by step."""
    completions: int = 16
    """Solutions sampled to the end from each step."""

    def worst(self, prepared: Prepared, prompt: int) -> int:
        cost, most = prepared.generator, prepared.config.generator.max_tokens
        # A step has a token or more, and after each there is a token or more left to sample.
        rollouts = sum(cost.sample(prompt + begun, most - begun) for begun in range(1, most))
        path = cost.sample(prompt, most) + self.completions * rollouts
        return cost.prefill(prompt) + self.solutions * path

    async def label(self, ops: Operations) -> Sequence[Node]:
        labels: dict[tuple[int, ...], float] = {}
        done: list[Node] = []
        live = await ops.sample(ops.root, self.solutions, score=False)
        while live:
            done += [node for node in live if node.finished]
            live = [node for node in live if not node.finished]
            fresh = list({node.tokens: node for node in live}.values())
            rollouts = await ops.sample(fresh, self.completions, until="end", score=False)
            right = iter(await self.judged(ops, rollouts))
            for node in fresh:
                hits = sum(map(bool, itertools.islice(right, self.completions)))
                labels[node.tokens] = hits / self.completions
            live = await ops.sample(live, 1, score=False)
        for node, correct in zip(done, await self.judged(ops, done), strict=True):
            if correct is not None:
                labels[node.tokens] = float(correct)
                step_labels = [labels[node.tokens[:end]] for end in node.step_ends]
                self.keep(ops, ops.prompt, node, node.step_ends, step_labels)
        return done


@dataclass
class ChainLabeller(Labeller):
    """Labels attempts of chains of revisions, for an outcome reward model.

    The context of an attempt is the last four attempts before it; the label is whether it is correct (Snell
    et al. 2024, section 6.1).
    """

    chains: int = 4
    """Chains of a problem."""
    length: int = 5
    """Attempts of a chain."""

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
        for node, correct in zip(attempts, await self.judged(ops, attempts), strict=True):
            if correct is not None:
                self.keep(ops, node.context or ops.prompt, node, [len(node.tokens)], [float(correct)])
        return attempts


def write_labels(rows: Sequence[LabelledSolution], path: Path) -> None:
    """Writes Parquet, a row for each solution, ordered by problem."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.problem)  # stable: the order within a problem is kept
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in ordered]), path)


def read_labels(paths: Iterable[Path]) -> list[LabelledSolution]:
    """Reads files that ``write_labels`` wrote. Raises ``BadInput`` that names a file without labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[LabelledSolution] = []
    for path in paths:
        try:
            for row in pq.read_table(path).to_pylist():
                fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
                rows.append(LabelledSolution(**fields))
        except (OSError, pa.ArrowException, TypeError) as error:
            reason = in_one_line(error)
            raise BadInput(
                "labels", str(path), f"needed: what ttc verifier label wrote ({reason})"
            ) from error
    if not rows:
        raise BadInput("labels", ", ".join(map(str, paths)), "there is no labelled solution in it")
    return rows
