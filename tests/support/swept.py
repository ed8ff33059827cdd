"""A whole sweep without an engine: numbers that look like a real one's, from a model of the searches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.store import Experiment, read_cell
from orchestrator.config.schema import to_dict
from orchestrator.runs.controller import SearchResult
from orchestrator.runs.results_file import write_parquet
from orchestrator.search.context import Usage
from tests.support.stored import lab_config, result, solution

STEP = 90_000
"""FLOPs of a solution, verifier included."""


def chances(problems: int) -> np.ndarray:
    """pass@1 of each problem, from nearly 1 to nearly 0."""
    return np.clip(1 / (1 + np.exp(np.linspace(-5, 6, problems))), 0.002, 0.998)


def search(
    p: Sequence[float],
    n: int,
    seed: int,
    *,
    length: int = 1,
    lift: float = 0.0,
    same: float = 0.0,
    price: float = 1.0,
    skill: float = 1.2,
) -> list[SearchResult]:
    """``n`` solutions a problem in chains of ``length``. ``lift``: added to the log odds of p. ``same``:
    the share of solutions that copy the problem's first. ``price``: of a solution, in best-of-N's.
    ``skill``: by how much the verifier's scores tell right from wrong."""
    rng = np.random.default_rng([seed, n, length, int(100 * lift) + 1000])
    found = []
    for i, chance in enumerate(p):
        odds = np.log(chance / (1 - chance)) + lift
        solutions: list[Any] = []
        for j in range(n):
            chain, at = divmod(j, length)
            right = bool(rng.random() < 1 / (1 + np.exp(-odds - 0.15 * min(at, 8))))
            answer = "right" if right else f"wrong{int(rng.geometric(0.3))}"
            if solutions and rng.random() < same:
                right, answer = solutions[0].correct, solutions[0].answer
            score = float(1 / (1 + np.exp(-rng.normal(skill * (2 * right - 1), 1))))
            path = ".".join([str(chain), *["0"] * at])
            solutions.append(solution(path, right, (rng.uniform(0.2, 1), score), answer))
        cost = int(STEP * price * n * (1 + 0.2 * (length > 1)))
        usage = Usage(
            generator_flops=20_000 + cost // 3,
            verifier_flops=30_000 + 2 * cost // 3,
            generator_tokens=3 + 3 * n,
            verifier_tokens=3 + 3 * n,
        )
        found.append(
            result(
                f"p{i}",
                solutions,
                usage,
                seconds=(1 + n / 3) * (0.5 + i / len(p)),
                difficulty=float(4 * i // len(p)),
            )
        )
    return found


def sweep(
    directory: Path, *, problems: int = 100, seeds: int = 2, sizes: Sequence[int] = (4, 16, 64)
) -> Experiment:
    """Several strategies, a second verifier, a larger generator read greedily, and the run that bins the
    problems; only their tables of results are on disk."""
    p = chances(problems)
    hard = np.linspace(-1.2, 1.2, problems)
    base = to_dict(lab_config())
    directory.mkdir(parents=True)

    def cell(
        name: str, found: list[SearchResult], seed: int, n: int, strategy: dict[str, Any], **sections: Any
    ) -> Cell:
        config = {**base, "seed": seed, "strategy": strategy}
        for section, keys in sections.items():
            config[section] = {**config[section], **keys}
        results = directory / f"{name}.parquet"
        write_parquet(found, results)
        role = "difficulty" if name == "difficulty" else "cell"
        budget, seconds = n * (STEP + 20_000) * problems, 0.02 * problems * (1 + n / 3)
        return read_cell(name, role, config, budget, seconds, results)

    cells = []
    for n in sizes:
        for seed in range(seeds):

            def one(
                strategy: dict[str, Any], lift: float = 0.0, n: int = n, seed: int = seed, **how: Any
            ) -> None:
                verifier = how.pop("verifier", {})
                odds = np.log(p / (1 - p)) + lift * hard
                skill = 0.4 if verifier else 1.2
                found = search(1 / (1 + np.exp(-odds)), n, seed, skill=skill, **how)
                name = f"{len(cells)}-{strategy['name']}"
                cells.append(cell(name, found, seed, n, {**strategy, "n": n}, verifier=verifier))

            one({"name": "best_of_n"})
            one({"name": "beam_search", "width": 4}, lift=1.0, same=0.3)
            one({"name": "beam_search", "width": "sqrt"}, lift=0.7, same=0.4, price=0.9)
            one({"name": "dvts", "width": 4}, lift=0.8, same=0.15, price=0.95)
            one({"name": "rebase"}, lift=0.9, same=0.05, price=0.8)
            one({"name": "lookahead", "width": 4, "k": 1}, lift=1.0, same=0.35, price=1.9)
            for length in (1, 4, 16, 64):
                if length <= n:
                    one({"name": "revisions", "length": length}, length=length)
            weak = {"model": "lab/checkpoints/prm-weak"}
            one({"name": "best_of_n"}, verifier=weak)
            one({"name": "beam_search", "width": 4}, lift=-0.6, same=0.5, verifier=weak)
    larger = 1 / (1 + np.exp(-np.log(p / (1 - p)) - 1.5))
    greedy = {"model": "lab/checkpoints/generator-m", "temperature": 0.0}
    single = {"name": "best_of_n", "n": 1}
    cells.append(cell("larger", search(larger, 1, 0, price=9.0), 0, 10, single, generator=greedy))
    difficulty = cell("difficulty", search(p, 64, 9), 9, 64, {"name": "best_of_n", "n": 64})
    return Experiment("swept", cells, [difficulty])
