"""What the allocation's parameters are worth, replayed over solutions that a best-of-N run has sampled.

No engine runs: a problem's next solution is the next of its stored ones, so budgets and parameters are
compared on the same samples, in seconds, and in several orders of them. A solution costs 1, the prompt 0.

    python -m orchestrator.benchmarks.allocation RUN/results.parquet
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from orchestrator.allocation.adaptive import Adaptive
from orchestrator.allocation.rounds import Allocator, Asking
from orchestrator.analysis.solutions import Solutions, read_solutions
from orchestrator.search.selection import Candidate, weighted

ORDERS = 6
POLICIES: Mapping[str, Allocator] = {
    "adaptive": Adaptive(),
    **{f"exploration {deviations:g}": Adaptive(exploration=deviations) for deviations in (0.5, 1, 2)},
    **{f"min_gain {gain:g}": Adaptive(min_gain=gain) for gain in (0, 0.01, 0.02)},
}


@dataclass(frozen=True)
class Samples:
    """A problem's stored solutions, and its true answer (None if no solution found it)."""

    candidates: Sequence[Candidate]
    truth: str | None

    @property
    def chance(self) -> float:
        """The share of its solutions that are right."""
        return float(np.mean([c.answer is not None and c.answer == self.truth for c in self.candidates]))

    def right_after(self, count: int) -> bool:
        """Whether the first ``count`` solutions answer rightly (weighted)."""
        answer = weighted(self.candidates[:count])
        return answer is not None and answer == self.truth

    def shuffled(self, rng: np.random.Generator) -> Samples:
        return replace(self, candidates=[self.candidates[i] for i in rng.permutation(len(self.candidates))])


def exact_greedy(chances: Sequence[float], budget: int) -> list[int]:
    """Solutions for each problem, ``budget`` in all, that maximise the sum of 1 − (1 − p_i)^n_i.

    The gain of the next one, p_i (1 − p_i)^n_i, never rises, so taking the largest each time is exact
    (PAPER §3; Damani et al.). Ties go to the first.
    """
    counts = [0] * len(chances)
    heap = [(-chance, i) for i, chance in enumerate(chances)]
    heapq.heapify(heap)
    for _ in range(budget if heap else 0):
        gain, i = heap[0]
        counts[i] += 1
        heapq.heapreplace(heap, (gain * (1 - chances[i]), i))
    return counts


def samples_of(solutions: Solutions) -> list[Samples]:
    """By problem, in their order; a problem without solutions is left out."""
    found = []
    for problem in np.unique(solutions.problem):
        rows = np.flatnonzero(solutions.problem == problem)
        truth = next((solutions.answer[i] for i in rows if solutions.correct[i]), None)
        scored = [Candidate(solutions.answer[i], float(solutions.score[i])) for i in rows]
        found.append(Samples(scored, truth))
    return found


Give = Callable[[Sequence[Samples], int], list[int]]
"""From the problems, and the solutions that may be drawn in all, to how many each gets."""


def replay(policy: Allocator, problems: Sequence[Samples], budget: int) -> list[int]:
    """How many solutions each problem gets of ``budget``, in rounds, until nothing is asked or granted."""
    given, left = [0] * len(problems), budget
    asking = set(range(len(problems)))
    while asking and left > 0:
        order = sorted(asking)
        grants = policy([Asking(problems[i].candidates[: given[i]], 1, 1, given[i]) for i in order], left)
        before = left
        for i, grant in zip(order, grants, strict=True):
            taken = min(grant or 0, len(problems[i].candidates) - given[i])
            given[i], left = given[i] + taken, left - taken
            if grant is None or given[i] == len(problems[i].candidates):
                asking.discard(i)
        if left == before and len(asking) == len(order):
            break
    return given


def capped(problems: Sequence[Samples], given: Sequence[int]) -> list[int]:
    """No more of a problem than are stored."""
    return [min(count, len(problem.candidates)) for problem, count in zip(problems, given, strict=True)]


def accuracy(problems: Sequence[Samples], given: Sequence[int]) -> float:
    return float(np.mean([p.right_after(n) for p, n in zip(problems, given, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="allocation", description=str(__doc__).splitlines()[0])
    parser.add_argument("results", type=Path, help="results.parquet of a best_of_n run with a verifier")
    parser.add_argument("--budgets", type=int, nargs="+", default=[4, 8, 12], help="solutions a problem")
    options = parser.parse_args()
    if not options.results.is_file():
        parser.error(f"{options.results}: there is no such file")
    solutions = read_solutions(options.results)
    if np.isnan(solutions.score).any():
        parser.error(f"{options.results}: its solutions are not scored; needed: a run with a verifier")
    stored = samples_of(solutions)
    orders = [
        [p.shuffled(np.random.default_rng([order, i])) for i, p in enumerate(stored)]
        for order in range(ORDERS)
    ]
    table = Table(
        title=f"accuracy (and solutions left unspent a problem); {len(stored)} problems, {ORDERS} orders"
    )
    table.add_column("allocation")
    for budget in options.budgets:
        table.add_column(f"{budget} a problem", justify="right")

    def row(name: str, give: Give) -> None:
        words = []
        for budget in options.budgets:
            given = [capped(problems, give(problems, budget * len(problems))) for problems in orders]
            right = float(np.mean([accuracy(*each) for each in zip(orders, given, strict=True)]))
            unspent = budget - float(np.mean([sum(each) for each in given])) / len(stored)
            words.append(f"{100 * right:.2f} % ({unspent:.1f})")
        table.add_row(name, *words)

    row("uniform", lambda problems, budget: [budget // len(problems)] * len(problems))
    row(
        "exact, from the true chances",
        lambda problems, budget: exact_greedy([p.chance for p in problems], budget),
    )
    for name, policy in POLICIES.items():
        row(name, partial(replay, policy))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
