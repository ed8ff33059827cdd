"""Monte-Carlo labels of steps (Snell §5.1, appendix D; Math-Shepherd): how often does a path still succeed?

Rollouts are sampled through the orchestrator: charged, journaled, resumable, on any number of replicas.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.answers import Answers
from orchestrator.operations import Operations
from orchestrator.text import Codec
from orchestrator.tree import Node


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution's steps, each with the share of completions from there that were correct (a soft
    label in [0, 1]; of the last step, whether the solution is correct)."""

    problem: str
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float, ...]


@dataclass
class Labeller:
    """A search coroutine for the controller that keeps what it learns in ``rows``.

    ``solutions`` paths are sampled step by step; from each step ``completions`` solutions are sampled
    to the end. A path without a readable answer is dropped, as in the paper.
    """

    codec: Codec
    answers: Answers
    solutions: int = 16
    completions: int = 16
    rows: list[LabelledSolution] = field(default_factory=list)

    async def __call__(self, ops: Operations) -> Sequence[Node]:
        """Sample and label one problem. Returns all finished solutions."""
        live = await ops.sample(ops.root, self.solutions, score=False)
        paths: dict[tuple[int, ...], list[tuple[Node, float]]] = {}
        done: list[Node] = []
        while live:
            open_ = [node for node in live if not node.finished]
            rollouts = await ops.sample(open_, self.completions, until="end", score=False)
            for i, node in enumerate(open_):
                own = rollouts[i * self.completions : (i + 1) * self.completions]
                label = sum(self._correct(ops, each) for each in own) / self.completions
                paths.setdefault(node.path[:1], []).append((node, label))
            for node in live:
                if node.finished:
                    done.append(node)
                    paths.setdefault(node.path[:1], []).append((node, float(self._correct(ops, node))))
            live = await ops.sample(open_, 1, score=False) if open_ else []
        for node in done:
            if self.answers.extract(self._text(ops, node)) is not None:
                self.rows.append(self._row(ops, node, [label for _, label in paths[node.path[:1]]]))
        return done

    def _row(self, ops: Operations, node: Node, labels: Sequence[float]) -> LabelledSolution:
        ends = (len(ops.prompt), *node.step_ends)
        steps = [self.codec.decode(node.tokens[a:b]) for a, b in itertools.pairwise(ends)]
        return LabelledSolution(ops.problem.id, ops.problem.prompt, tuple(steps), tuple(labels))

    def _correct(self, ops: Operations, node: Node) -> bool:
        if node.finish != "end":
            return False
        return self.answers.correct(self.answers.extract(self._text(ops, node)), ops.problem.answer)

    def _text(self, ops: Operations, node: Node) -> str:
        return self.codec.decode(node.tokens[len(ops.prompt) :])


def write_labels(rows: Sequence[LabelledSolution], path: Path) -> None:
    """One row a solution, as Parquet, in the order of problems whatever finished first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.problem)  # stable: a problem's own order is kept
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in ordered]), path)


def read_labels(path: Path) -> list[LabelledSolution]:
    """What ``write_labels`` wrote."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [
        LabelledSolution(row["problem"], row["prompt"], tuple(row["steps"]), tuple(row["labels"]))
        for row in rows
    ]
