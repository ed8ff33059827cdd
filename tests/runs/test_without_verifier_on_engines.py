"""Search without a verifier on real engines: stopping by answers, confidence, the generator's own choice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.assembly import controller_of
from orchestrator.runs.controller import SearchResult
from orchestrator.runs.session import pool_specs
from tests.support.paths import LAB_CONFIG
from tests.support.shared_engines import LAB

GIVEN = [
    *LAB,
    "problems.limit=8",
    "verifier.model=null",
    "strategy={name: adaptive_self_consistency, n: 16, width: 4}",
    "budget.flops=1e11",
    "generator.confidence=mean",
    "selection.generative=true",
    # The lab's generator has no words: it writes a grid after any question, which names no solution.
    "selection.template='{problem}{solutions}'",
    "selection.group=2",
    "selection.candidates=4",
    "selection.max_tokens=8",
]


async def searched(lab_session: Any, directory: Path) -> tuple[int, int, int, list[SearchResult]]:
    run = prepare(load(LAB_CONFIG, [*GIVEN, f"runs={directory}"]))
    async with lab_session(pool_specs(run), run.config.cluster, MagicMock()) as session:
        journal = Journal(directory / "journal.sqlite")
        control = controller_of(run, session.deployment, journal)
        results = await control.run(run.problems, run.prompts, run.strategy)
        journal.close()
    return control.budget.spent, control.budget.reserved, control.usage.replayed, results


@pytest.mark.engine
def test_a_search_without_a_verifier_stops_early_knows_its_confidence_and_chooses(lab_session, tmp_path):
    spent, reserved, replayed, results = asyncio.run(searched(lab_session, tmp_path))
    assert [result.error for result in results] == [None] * 8
    assert (reserved, replayed) == (0, 0)
    assert spent == sum(result.usage.flops for result in results) < 10**11
    sizes = {len(result.solutions) for result in results}
    assert sizes <= {4, 8, 12, 16}
    assert min(sizes) < 16, "some are not in doubt"
    assert all(0 < solution.confidence < 1 for result in results for solution in result.solutions)
    assert set(results[0].selected) == {"majority", "confident", "confidence_weighted", "generative"}
    asked = sum(result.usage.choices for result in results)
    assert asked == sum(result.usage.unread_choices for result in results) > 0
    assert sum(result.usage.unmade_choices for result in results) == 0
    for result in results:
        assert (result.usage.selection_flops > 0) == (result.usage.choices > 0)

    again_spent, _, again_replayed, again = asyncio.run(searched(lab_session, tmp_path))
    assert [told(result) for result in again] == [told(result) for result in results]
    assert again_spent == spent
    assert again_replayed == sum(result.usage.operations for result in results), "nothing is asked twice"


def told(result: SearchResult) -> Any:
    """What is the same each time: not the seconds, nor what engines computed."""
    return result.problem.id, result.solutions, dict(result.selected), result.usage.flops
