"""Compares the small generator's search with larger generators' greedy answers, at matched FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.estimators import mean_known
from orchestrator.analysis.flops_matched import Answer, Curve, Match, flops_matched
from orchestrator.analysis.options import Option
from orchestrator.analysis.words import with_interval
from orchestrator.report.evidence import Evidence
from orchestrator.report.table import Table
from orchestrator.report.text import model


class NotMeasured(Exception):
    """Raised where the comparison cannot be made; the message is the reason."""


@dataclass(frozen=True)
class LargerModelComparison:
    """The small model's search against one larger model's greedy answers."""

    name: str
    """The larger model."""
    size: float
    """M: its FLOPs per token over the small model's."""
    matches: Sequence[Match]
    """By ratio and bin, the verifier's FLOPs counted."""
    free: Sequence[Match]
    """By ratio and bin, the verifier's FLOPs left out."""


def siblings(evidence: Evidence) -> list[Option]:
    """Returns the other generators' greedy single answers to the same problems, the smallest model first.

    Raises NotMeasured where there are none.
    """
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
    return sorted(found, key=lambda option: float(mean_known(option.cost("generator_flops"))))


@lru_cache(maxsize=2)  # a table, a figure and a claim show it
def against_larger(evidence: Evidence) -> Sequence[LargerModelComparison]:
    """Compares the compute-optimal policy, or best-of-N without one, with each larger model in ``siblings``.

    The largest model is last. Raises NotMeasured where a run that is needed is missing.
    """
    others, main, difficulty = siblings(evidence), evidence.main, evidence.difficulty
    if difficulty is None or main.bins is None:
        raise NotMeasured("it needs a difficulty run, which bins the problems and tells what an answer costs")
    best = main.by_n("best_of_n")
    if evidence.fit is None and not best:
        raise NotMeasured("it needs best_of_n, or a policy")
    small = Answer.of({n: o.cells[0] for n, o in best.items()} or {difficulty.strategy["n"]: difficulty})
    found = []
    for other in others:
        answer = Answer.of({1: other.cells[0]})
        size = answer.per_token / small.per_token
        if size <= 1:
            continue
        right = other.correct(next(r for r in (evidence.rule, "majority") if r in other.cells[0].correct))
        counted, free = (
            flops_matched(
                _curve(evidence, verifier),
                right,
                main.bins,
                answer=small.flops,
                larger_answer=answer.flops,
                size=size,
            )
            for verifier in (True, False)
        )
        name = model(other.cells[0].setting["generator.model"])
        found.append(LargerModelComparison(name, size, counted, free))
    if not found:
        raise NotMeasured("the other generator is no larger")
    return found


def matched_table(evidence: Evidence) -> Table | None:
    """Returns the lead of search in points by larger model, ratio and bin; None where it was not measured."""
    try:
        comparisons = against_larger(evidence)
    except NotMeasured:
        return None
    bins = sorted({match.bin for match in comparisons[0].matches})
    rows = [
        [
            f"{comparison.name}, {comparison.size:.1f} ×",
            f"{ratio:g}",
            verifier,
            *(_lead(match) for b in bins for match in matches if (match.ratio, match.bin) == (ratio, b)),
        ]
        for comparison in comparisons
        for verifier, matches in (("counted", comparison.matches), ("left out", comparison.free))
        for ratio in sorted({match.ratio for match in matches})
    ]
    return Table(
        "Search less a larger model's greedy answers, at matched FLOPs, in points",
        ["larger model", "R", "verifier's FLOPs", *(f"bin {b}" if b else "all" for b in bins)],
        rows,
        3,
        "In brackets the 95 % interval over problems. R: tokens answered over tokens trained on. "
        "↓, ↑: the matched budget is below, or beyond, what was measured; the nearest point is shown.",
    )


def _lead(match: Match) -> str:
    mark = {"measured": "", "below": " ↓", "beyond": " ↑"}[match.reach]
    return with_interval(match.difference, ".0f", scale=100) + mark


def _curve(evidence: Evidence, verifier: bool) -> Curve:
    """Returns the curve of the policy, or of best-of-N without one."""
    if evidence.fit is None:
        return Curve.of(evidence.main.named("best_of_n"), evidence.rule, verifier=verifier)
    estimate = None
    if not verifier:
        assert evidence.difficulty is not None
        estimate = estimate_flops(evidence.difficulty, evidence.fit.policy.samples, "generator_flops")
    return Curve.of_policy(evidence.fit.validated["predicted"], evidence.options, estimate)
