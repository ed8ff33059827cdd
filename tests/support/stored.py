"""Finished runs without an engine: cells from arrays, and whole experiments in a store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.analysis.cells import COSTS, Cell
from orchestrator.analysis.solutions import Solutions
from orchestrator.config.loading import load
from orchestrator.config.schema import Config, to_dict
from orchestrator.config.written import to_yaml
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.metrics import metrics
from orchestrator.runs.results import summarise
from orchestrator.runs.results_file import write_parquet
from orchestrator.search.context import Usage
from orchestrator.search.selection import RULES, Candidate
from orchestrator.tracking.tracker import Tracker
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import flops_budget


def cell(
    correct: Sequence[float],
    flops: float | Sequence[float] = 100,
    *,
    strategy: Mapping[str, Any] | None = None,
    seed: int = 0,
    budget: float = 1000.0,
    role: str = "cell",
    rule: str = "weighted",
) -> Cell:
    """A cell with these outcomes; half of its FLOPs are the verifier's."""
    right = np.asarray(correct, dtype=bool)
    spent = np.broadcast_to(np.asarray(flops, dtype=float), right.shape)
    costs = {name: spent if name == "flops" else spent / 2 for name in COSTS}
    config = {
        "seed": seed,
        "strategy": dict(strategy or {"name": "best_of_n", "n": 4}),
        "generator": {"model": "g"},
        "verifier": {"model": "v", "aggregation": "last"},
    }
    problems = tuple(f"p{i}" for i in range(len(right)))
    none = np.zeros(len(right), dtype=bool)
    return Cell(
        f"r{seed}", role, config, budget, problems, {rule: right}, right, none, costs, np.ones(len(right))
    )


def difficulty(
    p: Sequence[float],
    n: int = 64,
    *,
    sharpness: float = 2.0,
    seed: int = 0,
    prompt: int = 10,
    length: int = 5,
) -> Cell:
    """A difficulty cell of problems that a sample solves with chance ``p``."""
    rng = np.random.default_rng(seed)
    right = rng.random((len(p), n)) < np.asarray(p)[:, None]
    score = 1 / (1 + np.exp(-rng.normal(sharpness * (2 * right - 1), 1)))
    base = cell(right.any(axis=1), 1000.0, role="difficulty")
    costs = base.costs | {"generator_tokens": np.full(len(p), prompt + n * length)}
    found = replace(base, costs=costs)
    found.__dict__["solutions"] = Solutions(
        np.repeat(np.arange(len(p)), n),
        [str(i) for i in range(n)] * len(p),
        [None] * right.size,
        right.ravel(),
        score.ravel(),
        np.full(right.size, length),
        [()] * right.size,
        np.full(right.size, np.nan),
    )
    return found


def solution(
    index: int | str, correct: bool, steps: Sequence[float] = (0.5,), answer: str | None = None
) -> Solution:
    found = answer if answer is not None else "right" if correct else f"wrong{index}"
    return Solution(str(index), "text", 3, found, correct, steps[-1], tuple(steps), "end")


def result(
    problem: str,
    solutions: Sequence[Solution],
    usage: Usage | None = None,
    seconds: float = 1.0,
    difficulty: float | None = None,
) -> SearchResult:
    """What the controller would make of these solutions; every wrong answer is another one."""
    candidates = [Candidate(s.answer, s.score, s.path.partition(".")[0], path=s.path) for s in solutions]
    selected = {name: rule(candidates) for name, rule in RULES.items()}
    right = {s.answer for s in solutions if s.correct}
    correct = {name: answer in right for name, answer in selected.items()}
    usage = usage or Usage(
        generator_flops=10 + 30 * len(solutions),
        verifier_flops=20 + 60 * len(solutions),
        generator_tokens=1 + 3 * len(solutions),
        verifier_tokens=1 + 3 * len(solutions),
    )
    return SearchResult(
        Problem(problem, "?", "right", difficulty),
        tuple(solutions),
        selected,
        correct,
        usage,
        seconds=seconds,
    )


def sampled(p: Sequence[float], n: int, seed: int, *, sharpness: float = 2.0) -> list[SearchResult]:
    """Best-of-n on problems that a sample solves with chance ``p``, and a verifier whose scores of right
    and wrong solutions overlap."""
    rng = np.random.default_rng([seed, n])
    results = []
    for i, chance in enumerate(p):
        solutions = []
        for j in range(n):
            right = bool(rng.random() < chance)
            score = float(1 / (1 + np.exp(-rng.normal(sharpness * (2 * right - 1), 1))))
            solutions.append(solution(j, right, (rng.random(), score)))
        results.append(result(f"p{i}", solutions))
    return results


def lab_config(*overrides: str) -> Config:
    """The lab's configuration with these overrides. Each is read once."""
    return deepcopy(_loaded(overrides))


@cache
def _loaded(overrides: tuple[str, ...]) -> Config:
    return load(LAB_CONFIG, overrides)


def store(
    directory: Path,
    uri: str,
    config: Config,
    results: Sequence[SearchResult],
    *,
    role: str = "cell",
    runs: Path | None = None,
) -> None:
    """Leave behind what a finished run does: its directory, and an MLflow run. ``runs`` is the directory of
    the runs (None: that of the sweep that ``directory`` is a cell of)."""
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(to_yaml(config))
    usage = Usage()
    for each in results:
        usage += each.usage
    summary = summarise(
        directory.name,
        results,
        usage,
        budget=flops_budget(int(config.budget.flops), len(results)),
        seconds=1.0,
        startup_seconds=1.0,
        utilisation={},
        role=role,
    )
    (directory / "summary.json").write_text(json.dumps(summary.to_dict()))
    write_parquet(results, directory / "results.parquet")
    runs = runs or directory.parent.parent
    tracker = Tracker(
        runs,
        str(directory.relative_to(runs)),
        config.tracking.experiment,
        to_dict(config),
        title=directory.name,
        tags={"ttc.run_id": directory.name, "ttc.role": role},
    )
    for name in ("config.yaml", "summary.json", "results.parquet"):
        tracker.artifact(directory / name)
    tracker.metrics([(name, value, 0) for name, value in metrics(summary).items()])
    failure = tracker.close()
    assert failure is None, failure
