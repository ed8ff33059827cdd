"""Every strategy once on real engines: the lab's models on vLLM."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import MagicMock

from orchestrator.budget.ledger import Lease
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.grading.grader import grader
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.session import pool_specs
from orchestrator.search.context import Sampling, SearchContext
from orchestrator.search.revision import FORMATS, RevisionPrompt
from orchestrator.strategies.registry import REGISTRY, find
from tests.support.paths import LAB_CONFIG as CONFIG
from tests.support.scripted import POLICY
from tests.support.shared_engines import LAB

THINKING = {"min_thinking_tokens": 20, "max_thinking_tokens": 30, "max_extensions": 3, "wait": "\n"}
"""A row of the grid is a thought. In place of its suppressed end another newline: so rows follow."""
PARAMETERS = {"n": 8, "width": 4, "length": 4, "k": 1, "answer_prefix": "", **THINKING}
BUDGET = 10**11
WITH_ORM = "revisions, with an orm"


async def every_strategy(lab_session: Any) -> dict[str, tuple[Lease, list[SearchResult]]]:
    overrides = ["strategy.name=revisions", "reviser.format=lab"]
    prepared = prepare(load(CONFIG, [*overrides, *LAB, "problems.limit=6"]))
    found = {}
    async with lab_session(pool_specs(prepared), prepared.config.cluster, MagicMock()) as session:
        setting = SearchContext(
            session.deployment,
            prepared.codec,
            prepared.generator,
            prepared.verifier and prepared.verifier.costs,
            reviser=prepared.generator,
            revision_prompt=RevisionPrompt(prepared.codec, FORMATS["lab"]),
            sampling=Sampling(max_step_tokens=8, max_tokens=48),
        )
        for name in sorted(REGISTRY):
            strategy = find(name)
            given = {"policy": POLICY} if name == "compute_optimal" else {}
            known = strategy.parameters(given)
            taken = given | {key: value for key, value in PARAMETERS.items() if key in known}
            controller = Controller(replace(setting), grader("exact"), Lease(BUDGET))
            search = partial(strategy.search, **strategy.parameters(taken))
            found[name] = controller.budget, await controller.run(prepared.problems, prepared.prompts, search)
        # The verifier as an ORM, which reads the earlier attempts too: what it says of them does not matter.
        controller = Controller(replace(setting, verifier_kind="orm"), grader("exact"), Lease(BUDGET))
        search = partial(REGISTRY["revisions"].search, n=8, length=4)
        found[WITH_ORM] = controller.budget, await controller.run(prepared.problems, prepared.prompts, search)
    return found


def test_every_strategy_searches_with_real_models(lab_session):
    found = asyncio.run(every_strategy(lab_session))
    assert sorted(found) == sorted([*REGISTRY, WITH_ORM])
    for name, (budget, results) in found.items():
        assert [result.error for result in results] == [None] * 6, name
        assert 0 < budget.settled == sum(result.usage.flops for result in results) < BUDGET, name
        assert any(result.covered for result in results), f"{name} solves none of six problems"
        for result in results:
            if name == "mcts":  # its solutions are different ones
                assert len(result.solutions) == len({solution.text for solution in result.solutions}) > 0
            elif name != "early_rejection":  # it may reject all of a hard problem
                assert len(result.solutions) >= 4, name
            if name == "budget_forcing":  # two extensions: three thoughts, two given texts, the answer
                assert {solution.path.count(".") for solution in result.solutions} == {6}
            for solution in result.solutions:
                assert solution.score is not None, name
                assert len(solution.step_scores) >= 1, name
    tokens = {name: sum(r.usage.verifier_tokens for r in found[name][1]) for name in ("revisions", WITH_ORM)}
    assert tokens[WITH_ORM] > 2 * tokens["revisions"]
    assert all(len(s.step_scores) == 1 for result in found[WITH_ORM][1] for s in result.solutions)
