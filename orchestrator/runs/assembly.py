"""Assembles what runs the searches of a configuration: the controller, on engines that are up."""

from __future__ import annotations

from collections.abc import Mapping

from actors.deployment import Deployment
from orchestrator.allocation.adaptive import Adaptive
from orchestrator.allocation.compute_optimal import ComputeOptimal
from orchestrator.allocation.policy import COMPUTE_OPTIMAL, read_policy
from orchestrator.allocation.rounds import Allocator
from orchestrator.budget.ledger import Lease
from orchestrator.config.generator import confidence_of, sampling_of
from orchestrator.config.preparation import Prepared, revision_prompt
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import Grader
from orchestrator.runs.choosing import Chooser
from orchestrator.runs.controller import Controller
from orchestrator.runs.function_verifier import FunctionVerifier
from orchestrator.runs.judging import ModelJudge
from orchestrator.search.context import SearchContext, Transport
from orchestrator.search.selection import rules


def judge_of(prepared: Prepared, deployment: Deployment, journal: Journal) -> ModelJudge | None:
    """Returns what asks the run's judge; None where no model judges answers."""
    if prepared.judge is None:
        return None
    judged = len(prepared.problems) * (2 if prepared.config.baseline else 1)  # its answers are judged too
    return ModelJudge(prepared.judge, deployment.judge, journal, judged)


def controller_of(
    prepared: Prepared,
    engine: Transport,
    journal: Journal,
    judge: ModelJudge | None = None,
    *,
    chooses: bool = True,
    times: Mapping[str, dict[str, tuple[float, float]]] | None = None,
) -> Controller:
    """Returns what runs a configuration's searches on these engines; without ``chooses`` the generator picks
    no solution, whatever the configuration says, and nothing is kept for it. ``times`` are those of
    ``SearchContext``."""
    config, verifier = prepared.config, prepared.verifier
    if verifier is not None and verifier.function is not None:
        engine = FunctionVerifier(engine, verifier.function)
    context = SearchContext(
        engine=engine,
        codec=prepared.codec,
        generator=prepared.generator,
        verifier=verifier.costs if verifier is not None else None,
        reviser=prepared.reviser,
        revision_prompt=revision_prompt(config, prepared.codec),
        sampling=sampling_of(config.generator),
        verifier_kind=config.verifier.kind or "prm",
        verifier_format=verifier.format if verifier is not None else None,
        verifier_ratio=config.verifier.token_ratio,
        verifier_limit=verifier.limit if verifier is not None else None,
        aggregation=config.verifier.aggregation,
        confidence=confidence_of(config.generator),
        seed=config.seed,
        journal=journal,
        times=times or {},
    )
    return Controller(
        context,
        Grader(prepared.checker, end_of_thinking=config.generator.end_of_thinking, judge=judge),
        Lease(prepared.budget.flops),
        shares=prepared.budget.shares,
        pass_on=config.allocation.pass_on,
        allocator=_allocator(prepared),
        rules=rules(
            scored=prepared.verifier is not None,
            chains=prepared.strategy.strategy.needs_reviser,
            confidence=config.generator.confidence is not None,
        ),
        searches_at_once=config.max_searches,
        chooser=Chooser(prepared.selection, context) if prepared.selection is not None and chooses else None,
    )


def _allocator(prepared: Prepared) -> Allocator | None:
    """None where each problem has a share."""
    allocation = prepared.config.allocation
    if allocation.name == "uniform":
        return None
    if allocation.name == COMPUTE_OPTIMAL:
        return ComputeOptimal(read_policy(prepared.strategy.params["policy"]))
    return Adaptive(
        allocation.confidence,
        allocation.round,
        allocation.parallel,
        allocation.exploration,
        allocation.min_gain,
    )
