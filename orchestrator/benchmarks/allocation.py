"""Compares allocations and their parameters on stored solutions of a best-of-N run.

No engine runs: a problem's next solution is the next of its stored ones, so budgets and parameters meet the
same samples, in several orders, within seconds. A solution costs 1, the prompt 0.

    python -m orchestrator.benchmarks.allocation RUN/results.parquet
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from orchestrator.allocation.adaptive import Adaptive
from orchestrator.allocation.rounds import Allocator, Asking
from orchestrator.analysis.solutions import Solutions, read_solutions
from orchestrator.benchmarks import harness
from orchestrator.search.selection import Candidate, weighted

ORDERS = 6
"""Random orders of each problem's solutions, over which accuracy is averaged."""
POLICIES: Mapping[str, Allocator] = {
    "adaptive": Adaptive(),
    **{f"exploration {deviations:g}": Adaptive(exploration=deviations) for deviations in (0.5, 1, 2)},
    **{f"min_gain {gain:g}": Adaptive(min_gain=gain) for gain in (0, 0.01, 0.02)},
}


@dataclass(frozen=True)
class Samples:
    """A problem's stored solutions."""

    candidates: Sequence[Candidate]
    truth: str | None
    """The true answer; None if no solution found it."""

    @property
    def chance(self) -> float:
        """Returns the share of correct solutions."""
        return float(np.mean([c.answer is not None and c.answer == self.truth for c in self.candidates]))

    def right_after(self, count: int) -> bool:
        """Returns True if the weighted vote of the first ``count`` solutions is correct."""
        answer = weighted(self.candidates[:count])
        return answer is not None and answer == self.truth

    def shuffled(self, rng: np.random.Generator) -> Samples:
        return replace(self, candidates=[self.candidates[i] for i in rng.permutation(len(self.candidates))])


def exact_greedy(chances: Sequence[float], budget: int) -> list[int]:
    """Returns each problem's number of solutions, ``budget`` in all, that maximises the sum of
    1 − (1 − p_i)^n_i for chances p_i.

    The gain of one more, p_i (1 − p_i)^n_i, never rises, so taking the largest each time is exact (the greedy
    allocation of Damani et al. 2024, *Learning How Hard to Think*). Ties go to the first.
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
    """Groups solutions by problem; problems without solutions are left out."""
    found = []
    for problem in np.unique(solutions.problem):
        rows = np.flatnonzero(solutions.problem == problem)
        truth = next((solutions.answer[i] for i in rows if solutions.correct[i]), None)
        scored = [Candidate(solutions.answer[i], float(solutions.score[i])) for i in rows]
        found.append(Samples(scored, truth))
    return found


Give = Callable[[Sequence[Samples], int], list[int]]
"""Maps the problems and the number of solutions that may be drawn to the number that each gets."""


def replay(policy: Allocator, problems: Sequence[Samples], budget: int) -> list[int]:
    """Returns each problem's number of solutions, granted in rounds until no problem asks or gets more."""
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
    """Returns ``given``, bounded by the solutions that are stored."""
    return [min(count, len(problem.candidates)) for problem, count in zip(problems, given, strict=True)]


def accuracy(problems: Sequence[Samples], given: Sequence[int]) -> float:
    """Returns the share of problems that their first ``given`` solutions answer."""
    return float(np.mean([p.right_after(n) for p, n in zip(problems, given, strict=True)]))


def main() -> None:
    parser = harness.parser(__doc__)
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
    table = harness.table(
        f"accuracy (and solutions left unspent a problem); {len(stored)} problems, {ORDERS} orders",
        "allocation",
        *(f"{budget} a problem" for budget in options.budgets),
    )

    def row(name: str, give: Give) -> None:
        cells = []
        for budget in options.budgets:
            given = [capped(problems, give(problems, budget * len(problems))) for problems in orders]
            right = float(np.mean([accuracy(*pair) for pair in zip(orders, given, strict=True)]))
            unspent = budget - float(np.mean([sum(counts) for counts in given])) / len(stored)
            cells.append(f"{100 * right:.2f} % ({unspent:.1f})")
        table.add_row(name, *cells)

    row("uniform", lambda problems, budget: [budget // len(problems)] * len(problems))
    row(
        "exact, from the true chances",
        lambda problems, budget: exact_greedy([p.chance for p in problems], budget),
    )
    for name, policy in POLICIES.items():
        row(name, partial(replay, policy))
    Console().print(table)


if __name__ == "__main__":
    main()
