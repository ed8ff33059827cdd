"""Runs of scripted engines that ``ttc explore`` reads: searches, their journal, and their results on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.budget.ledger import Lease
from orchestrator.durability.journal import Journal
from orchestrator.explore.run import RunReader
from orchestrator.grading.grader import grader
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.results import summarise
from orchestrator.runs.results_file import write_parquet
from orchestrator.search.selection import rules
from orchestrator.strategies.registry import find
from tests.support.scripted import CODEC, SMALL, ScriptedEngine, flops_budget, setting

PROBLEMS = (
    Problem("p", "1+1?", "aaa\nbbb\nccc", 3.0, attributes=(("level", 2),)),
    Problem("q/1", "2+2?", "x"),
)


async def searched(
    directory: Path,
    strategy: str,
    engine: ScriptedEngine | None = None,
    *,
    problems: Sequence[Problem] = PROBLEMS,
    budget: int = 10**9,
    codec: Codec = CODEC,
    answers: str = "exact",
    context: dict[str, Any] | None = None,
    **params: Any,
) -> list[SearchResult]:
    """Searches with a strategy, whose ``params`` are those of ``SMALL`` unless given, and leaves a finished
    run in ``directory``. ``answers`` names the checker; ``context`` are fields of the search context."""
    directory.mkdir(parents=True)  # noqa: ASYNC240
    engine = engine or ScriptedEngine()
    search = find(strategy)
    params = SMALL.get(strategy, {}) | params
    journal = Journal(directory / "journal.sqlite")
    made = replace(setting(engine, journal=journal), codec=codec, **(context or {}))
    chains = strategy == "revisions"
    controller = Controller(made, grader(answers), Lease(budget), rules(scored=True, chains=chains))
    prompts = [codec.encode(problem.prompt) for problem in problems]
    try:
        results = await controller.run(problems, prompts, lambda ops: search(ops, **params))
    finally:
        journal.close()
    write_parquet(results, directory / "results.parquet")
    summary = summarise(
        directory.name,
        results,
        controller.usage,
        budget=flops_budget(budget, len(problems)),
        seconds=1.0,
        startup_seconds=1.0,
        utilisation={},
    )
    (directory / "summary.json").write_text(json.dumps(summary.to_dict()))
    return results


def reader(directory: Path, strategy: str = "beam_search", codec: Codec = CODEC, **known: Any) -> RunReader:
    """Reads a run of ``searched``."""
    config = {"strategy": {"name": strategy, "n": 8}, "generator": {"model": "scripted"}, "seed": 0}
    return RunReader(directory, config, codec, **known)
