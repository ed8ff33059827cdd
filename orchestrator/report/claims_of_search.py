"""Tests of claims about searches, budgets and allocation. Each function returns the parts of one claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from orchestrator.analysis.estimators import (
    CONFIDENCE,
    Estimate,
    Floats,
    all_and_resamples,
    mean_difference,
    of_resamples,
)
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import accuracy_at
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.larger_model import NotMeasured, against_larger
from orchestrator.report.series import log_ratio
from orchestrator.report.text import model, with_interval, words
from orchestrator.report.verdicts import (
    Part,
    Verdict,
    above,
    at_least,
    near,
    untested,
)

EASY, MEDIUM, HARD = (1, 2), (3, 4), (4, 5)


def beam_at_small_n(evidence: Evidence) -> list[Part]:
    """Compares beam search with best-of-N at small N and at the largest common N."""
    beam = evidence.main.by_n("beam_search", width=4)
    best = evidence.main.by_n("best_of_n")
    both = [n for n in beam if n in best]
    parts = []
    small = [n for n in both if n <= 16]
    what = "beam less best-of-N"
    if small:
        gaps = np.mean([_gap(evidence, beam[n], best[n]) for n in small], axis=0)
        numbers = ", ".join(map(str, small))
        parts.append(above(f"{what}, mean over n = {numbers}", mean_difference(gaps)))
    else:
        parts.append(untested(f"{what} at n ≤ 16", "it needs beam_search (width 4) and best_of_n of one n"))
    if any(n >= 256 for n in both):
        n = max(both)
        parts.append(
            at_least(f"best-of-N less beam at n={n}", mean_difference(_gap(evidence, best[n], beam[n])))
        )
    else:
        parts.append(untested(f"{what} at n = 256", "it was not run"))
    return parts


def beam_by_difficulty(evidence: Evidence) -> list[Part]:
    """Tests the loss of beam search with N on easy bins, its lead on medium bins, its gain on the hardest."""
    group = evidence.main
    beam, best = group.by_n("beam_search", width=4), group.by_n("best_of_n")
    both = [n for n in beam if n in best]
    easy, medium, hardest = group.inside(*EASY), group.inside(*MEDIUM), group.inside(5)
    if easy is None or medium is None or hardest is None or not both or len(beam) < 2:
        needed = "it needs bins, beam_search (width 4) at two n, and best_of_n at one of them"
        return [untested("beam by difficulty", needed)]
    few, many = min(beam), max(beam)
    fall = _gap(evidence, beam[few], beam[many])
    gaps = np.mean([_gap(evidence, beam[n], best[n]) for n in both], axis=0)
    span = f"n={few} to n={many}"
    return [
        above(f"loss on bins 1–2, {span}", mean_difference(fall, easy)),
        above("beam less best-of-N on bins 3–4", mean_difference(gaps, medium)),
        near(f"gain on bin 5, {span}", mean_difference(-fall, hardest)),
    ]


def lookahead_against_beam(evidence: Evidence) -> list[Part]:
    """Compares each lookahead with the beam search of its width whose N is the lookahead's N·(k+1).

    Where no such beam search was run, the comparison is at equal FLOPs, interpolated between beam searches.
    """
    ahead = [o for o in evidence.main.named("lookahead") if o.strategy["k"] > 0]
    pairs, spans = [], []
    for option in ahead:
        width, cost = option.strategy["width"], option.strategy["n"] * (option.strategy["k"] + 1)
        beams = evidence.main.by_n("beam_search", width=width)
        if cost in beams:
            pairs.append(_gap(evidence, beams[cost], option))
        elif len(beams) > 1:
            spans.append((option, list(beams.values())))
    if pairs:
        return [at_least("beam less lookahead at equal N·(k+1)", mean_difference(np.mean(pairs, axis=0)))]
    gaps = [gap for option, beams in spans if (gap := _at_flops(evidence, option, beams)) is not None]
    if gaps:
        mean = of_resamples(-np.mean(gaps, axis=0))
        return [at_least("beam less lookahead at equal FLOPs", mean)]
    return [untested("beam less lookahead", "it needs lookahead (k > 0) and beam_search of comparable cost")]


def sequential_share(evidence: Evidence) -> list[Part]:
    """Compares the best sequential share on easy bins with that on hard bins.

    The share of a chain length is log(length) / log(n); equally accurate lengths count their mean.
    """
    what = "best sequential share on bins 1–2 less that on bins 4–5"
    by_n: dict[int, list[Option]] = {}
    for option in evidence.main.revisions:
        by_n.setdefault(int(option.strategy["n"]), []).append(option)
    found = [(n, o) for n, o in by_n.items() if n > 1 and len(o) > 1]
    easy, hard = evidence.main.inside(*EASY), evidence.main.inside(*HARD)
    if not found or easy is None or hard is None:
        return [untested(what, "it needs bins, and revisions with one n and different lengths")]
    n, options = max(found, key=lambda sized: (len(sized[1]), sized[0]))
    right = np.array([option.correct(evidence.rule) for option in options])
    share = np.array([0.5 + log_ratio(option) / (2 * np.log2(n)) for option in options])

    def best(inside: Floats, seed: int) -> Floats:
        """Returns the best share over the problems ``inside``, then over their resamples."""
        count = int(inside.sum())
        weights = all_and_resamples(count, seed)
        means = weights @ right[:, inside > 0].T
        top = means >= means.max(axis=1, keepdims=True) - 1e-12
        return (top @ share) / top.sum(axis=1)

    for inside, word in ((easy, "1–2"), (hard, "4–5")):
        if np.ptp(right[:, inside > 0].mean(axis=1)) < 1e-12:
            return [untested(what, f"on bins {word} all lengths are equally accurate (n={n})")]
    gap = of_resamples(best(easy, 0) - best(hard, 1))
    return [above(f"{what} (n={n}, {len(options)} lengths)", gap, points=False)]


def compute_optimal(evidence: Evidence) -> list[Part]:
    """Tests the saving at the largest N, with the difficulty estimate's FLOPs and without, and compares
    predicted with oracle bins at the lower half of the budgets."""
    fit = evidence.fit
    if fit is None:
        return [untested("saving", f"no policy could be learned ({evidence.policy})")]
    parts = []
    for paid, comparison in (("charged", fit.charged), ("free, as Snell counts", fit.uncharged)):
        saving = max(comparison["predicted"].savings, key=lambda saving: saving.baseline_flops)
        what = f"best-of-N's FLOPs over the policy's at {saving.baseline}, estimate {paid}"
        part = above(f"{what} (at least)" if saving.at_least else what, saving.factor, 2.0, points=False)
        if saving.at_least and part.verdict == "does not hold":  # the true factor may be larger
            part = replace(part, verdict="not decided")
        parts.append(part)
    oracle, predicted = fit.validated["oracle"], fit.validated["predicted"]
    low = max(1, len(oracle.levels) // 2)
    gaps = (predicted.accuracy - oracle.accuracy)[:low].mean(axis=0)
    parts.append(near("predicted less oracle bins at the lower budgets", mean_difference(gaps)))
    return parts


def crossover(evidence: Evidence) -> list[Part]:
    """Tests that the lead of search over a larger model at matched FLOPs falls with R and with difficulty."""
    try:
        matches = against_larger(evidence)[-1].matches
    except NotMeasured as reason:
        return [untested("against a larger model", str(reason))]
    by = {(m.ratio, m.bin): m.difference for m in matches}
    ratios = sorted({ratio for ratio, _ in by})
    low, high = ratios[0], ratios[-1]
    bins = sorted({number for _, number in by if number})
    easy, hard = by[high, bins[0]], by[high, bins[-1]]
    unsure = sorted({(m.reach, m.ratio) for m in matches if m.reach != "measured"})
    note = "".join(f", R = {ratio:g} {reach} what was measured" for reach, ratio in unsure)
    return [
        above(f"lead at R = {low:g} less lead at R = {high:g}{note}", _less(by[low, 0], by[high, 0])),
        above(f"lead on the easiest bin less the hardest, R = {high:g}", _less(easy, hard)),
    ]


def rebase(evidence: Evidence) -> list[Part]:
    """Compares REBASE with best-of-N of 7 times its FLOPs, at the largest N where that was measured."""
    what = "REBASE less weighted best-of-N of 7× its FLOPs"
    best = list(evidence.main.by_n("best_of_n").values())
    for option in reversed(list(evidence.main.by_n("rebase").values())):
        gap = _at_flops(evidence, option, best, times=7.0) if len(best) > 1 else None
        if gap is not None:
            return [at_least(f"{what} (n={option.strategy['n']})", of_resamples(gap))]
    return [untested(what, "it needs rebase, and best_of_n below and above 7 times its FLOPs")]


def best_method_flips(evidence: Evidence) -> list[Part]:
    """Looks for a pair of strategies of which one is better with one verifier (or generator) and the other
    one with another.

    Each strategy counts at its largest budget. Intervals are widened for the number of pairs (Bonferroni).
    """
    parts = []
    for word in ("verifier", "generator"):
        key = f"{word}.model"
        pairs = [
            (one, two)
            for one, two in combinations(evidence.groups, 2)
            if one.models[key] != two.models[key]
            and all(other.startswith(f"{word}.") for other in apart((one, two)))
            and len(set(_dearest(one)) & set(_dearest(two))) > 1
        ]
        if not pairs:
            needed = f"it needs two strategies that were each run with two {word}s"
            parts.append(untested(f"flips with the {word}", needed))
            continue
        parts.append(_flip(evidence, pairs, key, word))
    return parts


def elimination(evidence: Evidence) -> list[Part]:
    """Compares every other allocation with the uniform one, at the same strategy and budget."""
    pairs = [
        (other, uniform)
        for other in evidence.main.options
        if allocation_of(other) != UNIFORM
        for uniform in evidence.main.named(other.strategy["name"])
        if uniform.strategy == other.strategy
        and _reviser(uniform) == _reviser(other)
        and abs(uniform.budget / other.budget - 1) < 0.01
    ]
    if not pairs:
        return [untested("coverage", "it needs a strategy under another allocation and the uniform one")]
    covered = np.mean([other.covered - uniform.covered for other, uniform in pairs], axis=0)
    right = np.mean([_gap(evidence, *pair) for pair in pairs], axis=0)
    names = ", ".join(sorted({allocation_of(other) for other, _ in pairs}))
    return [
        at_least(f"{names} less uniform, coverage", mean_difference(covered)),
        above(f"{names}: gain in coverage less gain in accuracy", mean_difference(covered - right)),
    ]


def _reviser(option: Option) -> dict[str, Any]:
    return {k: v for k, v in option.cells[0].extras.items() if k.startswith("reviser.")}


def _gap(evidence: Evidence, one: Option, other: Option) -> Floats:
    """Returns ``one``'s accuracy less ``other``'s on each problem, means over seeds."""
    return one.correct(evidence.rule) - other.correct(evidence.rule)


def _at_flops(
    evidence: Evidence, option: Option, others: Sequence[Option], times: float = 1.0
) -> Floats | None:
    """Returns the option's accuracy less that of the others at ``times`` its FLOPs, interpolated in log
    FLOPs.

    Entry 0 is over all problems, the others over resamples. It is None where the others were not measured at
    such FLOPs.
    """
    problems = len(evidence.main.problems)
    weights = all_and_resamples(problems)
    cost, right = weights @ option.cost(), weights @ option.correct(evidence.rule)
    flops = weights @ np.array([other.cost() for other in others]).T
    accuracy = weights @ np.array([other.correct(evidence.rule) for other in others]).T
    if not flops[0].min() <= times * cost[0] <= flops[0].max():
        return None
    at = [accuracy_at(np.array([times * c]), f, a)[0] for c, f, a in zip(cost, flops, accuracy, strict=True)]
    return np.asarray(right - np.array(at))


def _less(one: Estimate, other: Estimate) -> Estimate:
    """Returns the difference of two estimates as if they were independent: their half-widths add in squares
    (MOVER, Newcombe 1998). The interval is too wide where the estimates share problems."""
    value = one.value - other.value
    down = np.hypot(one.value - one.low, other.high - other.value)
    up = np.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, float(value - down), float(value + up))


def _dearest(group: Group) -> dict[str, Option]:
    """Returns each strategy's option at the largest budget that all strategies of the group had, by the
    strategy's name and parameters without ``n``."""
    found: dict[str, list[Option]] = {}
    for option in group.options:
        if allocation_of(option) == UNIFORM:
            fixed = {key: value for key, value in option.strategy.items() if key != "n"}
            found.setdefault(words(fixed), []).append(option)
    most = min((max(option.budget for option in options) for options in found.values()), default=0.0)
    return {
        name: max(fits, key=lambda option: (option.budget, option.strategy.get("n", 0)))
        for name, options in found.items()
        if (fits := [option for option in options if option.budget <= 1.01 * most])
    }


def _flip(evidence: Evidence, pairs: Sequence[tuple[Group, Group]], key: str, word: str) -> Part:
    """Returns the part of the pair of groups and strategies that flips most clearly.

    It does not hold where in every pair one strategy is significantly better with both models.
    """
    looked = [
        (one, two, a, b)
        for one, two in pairs
        for a, b in combinations(sorted(set(_dearest(one)) & set(_dearest(two))), 2)
    ]
    level = 1 - (1 - CONFIDENCE) / (2 * len(looked))
    seen = []
    for one, two, a, b in looked:
        gaps = []
        for group in (one, two):
            rule, best = evidence.rule_of(group), _dearest(group)
            values = best[a].correct(rule) - best[b].correct(rule)
            gaps.append(mean_difference(values, confidence=level))
        strength = min(
            max(gaps[0].low, -gaps[0].high) if gaps[0].value * gaps[1].value < 0 else -1.0,
            max(gaps[1].low, -gaps[1].high),
        )
        seen.append((strength, one, two, a, b, gaps))
    strength, one, two, a, b, gaps = max(seen, key=lambda pair: pair[0])
    flipped = strength > 0
    settled = all(g[0].low * g[0].high > 0 and g[1].low * g[1].high > 0 for *_, g in seen) and not flipped
    names = [model(group.models[key]) for group in (one, two)]
    other = with_interval(gaps[1], "+.1f", scale=100)
    compared = f"{a} less {b} with {names[0]}, against {other} with {names[1]}"
    verdict: Verdict = "holds" if flipped else "does not hold" if settled else "not decided"
    test = f"of opposite signs, each beyond doubt at {100 * level:.1f} %"
    return Part(f"flips with the {word}: {compared}", verdict, gaps[0], test)
