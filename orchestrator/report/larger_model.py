"""The evidence of a larger generator that answers greedily, against the small one that searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.difficulty import estimate_flops
from orchestrator.analysis.flops_matched import Answer, Curve, Match, flops_matched
from orchestrator.analysis.options import Option
from orchestrator.report.evidence import Evidence
from orchestrator.report.tables import Table, model


class NotMeasured(Exception):
    """The comparison cannot be made, and why."""


@dataclass(frozen=True)
class Comparison:
    """The small model's search against ``name``'s greedy answers: ``size`` is M, ``matches`` by ratio and
    bin, with the verifier's FLOPs and (``free``) without."""

    name: str
    size: float
    matches: Sequence[Match]
    free: Sequence[Match]


def siblings(evidence: Evidence) -> list[Option]:
    """Every other generator's greedy single answers to the same problems, the smallest first. Raises
    NotMeasured where there are none."""
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
    return sorted(found, key=lambda option: float(option.cost("generator_flops").mean()))


def against_larger(evidence: Evidence) -> list[Comparison]:
    """The compute-optimal policy (best-of-N where none was learned) against each of ``siblings`` that is
    larger, at matched FLOPs, by bin; the largest last. Raises NotMeasured."""
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
            flops_matched(_curve(evidence, verifier), right, main.bins, answer=small.flops, size=size)
            for verifier in (True, False)
        )
        found.append(Comparison(model(other.cells[0].setting["generator.model"]), size, counted, free))
    if not found:
        raise NotMeasured("the other generator is no larger")
    return found


def matched_table(evidence: Evidence) -> Table | None:
    """By how many points search leads, for each larger model, ratio and bin; None where it cannot be made."""
    try:
        comparisons = against_larger(evidence)
    except NotMeasured:
        return None
    bins = sorted({match.bin for match in comparisons[0].matches})
    rows = [
        [
            f"{one.name}, {one.size:.1f} ×",
            f"{ratio:g}",
            verifier,
            *(_lead(match) for b in bins for match in matches if (match.ratio, match.bin) == (ratio, b)),
        ]
        for one in comparisons
        for verifier, matches in (("counted", one.matches), ("left out", one.free))
        for ratio in sorted({match.ratio for match in matches})
    ]
    return Table(
        "Search less a larger model's greedy answers, at matched FLOPs, in points",
        ["larger model", "R", "verifier's FLOPs", *(f"bin {b}" if b else "all" for b in bins)],
        rows,
        3,
        "In brackets 95 % of a paired bootstrap over problems. R: tokens answered over tokens trained on. "
        "↓, ↑: the matched budget is below, or beyond, what was measured; the nearest point is shown.",
    )


def _lead(match: Match) -> str:
    mark = {"measured": "", "below": " ↓", "beyond": " ↑"}[match.reach]
    value, low, high = (
        f"{100 * x:.0f}" for x in (match.difference.value, match.difference.low, match.difference.high)
    )
    return f"{value} [{low}, {high}]{mark}"


def _curve(evidence: Evidence, verifier: bool) -> Curve:
    if evidence.fit is None:
        return Curve.of(evidence.main.named("best_of_n"), evidence.rule, verifier=verifier)
    estimate = None
    if not verifier:
        assert evidence.difficulty is not None
        estimate = estimate_flops(evidence.difficulty, evidence.fit.policy.samples, "generator_flops")
    return Curve.of_policy(evidence.fit.validated["predicted"], evidence.options, estimate)
