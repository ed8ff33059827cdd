"""The evidence of a larger generator that answers greedily, against the small one that searches."""

from __future__ import annotations

from orchestrator.analysis.cells import Option
from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.evidence import Evidence
from orchestrator.analysis.matched import Curve, Match, answer_flops, flops_matched, size_ratio


class NotMeasured(Exception):
    """The comparison cannot be made, and why."""


def greedy(evidence: Evidence) -> Option:
    """The largest other generator's greedy single answers to the same problems. Raises NotMeasured."""
    main = evidence.main
    found = [
        option
        for group in evidence.groups
        if group.problems == main.problems
        and group.models["generator.model"] != main.models["generator.model"]
        and group.models["generator.temperature"] == 0
        for option in group.options
        if option.strategy.get("n", 1) == 1
    ]
    if not found:
        raise NotMeasured(
            "it needs a run of another generator with n = 1 at temperature 0, on the same problems"
        )
    return max(found, key=lambda option: float(option.cost("generator_flops").mean()))


def against_larger(evidence: Evidence, *, verifier: bool = True) -> tuple[float, list[Match]]:
    """M, and the compute-optimal policy (best-of-N where none was learned) against ``greedy`` at matched
    FLOPs, by bin. ``verifier``: whether its FLOPs count. Raises NotMeasured."""
    other, main, difficulty = greedy(evidence), evidence.main, evidence.difficulty
    if difficulty is None or main.bins is None:
        raise NotMeasured("it needs a difficulty run, which bins the problems and tells what an answer costs")
    if evidence.fit is None:
        best = main.named("best_of_n")
        if not best:
            raise NotMeasured("it needs best_of_n, or a policy")
        curve = Curve.of(best, evidence.rule, verifier=verifier)
    else:
        samples = evidence.fit.policy.samples
        estimate = None if verifier else estimate_flops(difficulty, samples, "generator_flops")
        curve = Curve.of_policy(evidence.fit.validated["predicted"], evidence.options, estimate)
    size = size_ratio(difficulty, other.cells[0])
    if size <= 1:
        raise NotMeasured("the other generator is no larger")
    right = other.correct(next(r for r in (evidence.rule, "majority") if r in other.cells[0].correct))
    matches = flops_matched(curve, right, main.bins, answer=answer_flops(difficulty), size=size)
    return size, matches
