"""Tests of claims about searches, budgets and allocation. Each function returns the parts of one claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from orchestrator.analysis.estimators import (
    CONFIDENCE,
    Estimate,
    Floats,
    independent_difference,
    mean_difference,
    mean_known,
)
from orchestrator.analysis.options import Option
from orchestrator.analysis.savings import read_at
from orchestrator.analysis.words import with_interval
from orchestrator.report.evidence import UNIFORM, Evidence, Group, allocation_of, apart
from orchestrator.report.larger_model import NotMeasured, against_larger
from orchestrator.report.series import log_ratio
from orchestrator.report.text import model, words
from orchestrator.report.verdicts import (
    SAME,
    Part,
    Verdict,
    above,
    at_least,
    near,
    untested,
)

EASY, MEDIUM, HARD = (1, 2), (3, 4), (4, 5)
ELIMINATION = "adaptive"
"""The allocation that gives no more to problems that it takes for solved or hopeless."""


def beam_at_small_n(evidence: Evidence) -> list[Part]:
    """Compares beam search with best-of-N at small N and at the largest common N.

    The paper's budget is N; a beam that searches no thought twice spends less of it, so the comparison is at
    the beam's FLOPs where best-of-N was measured around them.
    """
    beam = evidence.main.by_n("beam_search", width=4)
    best = evidence.main.by_n("best_of_n")
    both = [n for n in beam if n in best]
    parts = []
    small = [n for n in both if n <= 16]
    what = "beam less best-of-N"
    if small:
        gaps = np.mean([_lead(evidence, beam[n], best) for n in small], axis=0)
        numbers = ", ".join(map(str, small))
        parts.append(above(f"{what} at its FLOPs, mean over n = {numbers}", mean_difference(gaps)))
    else:
        parts.append(untested(f"{what} at n ≤ 16", "it needs beam_search (width 4) and best_of_n of one n"))
    if any(n >= 256 for n in both):
        n = max(both)
        parts.append(
            at_least(
                f"best-of-N less beam, at the FLOPs of the beam of n={n}",
                mean_difference(-_lead(evidence, beam[n], best)),
            )
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
    gaps = np.mean([_lead(evidence, beam[n], best) for n in both], axis=0)
    span = f"n={few} to n={many}"
    gain = f"gain on bin 5, {span}"
    if mean_difference(np.zeros(int(hardest.sum()))).high >= SAME:
        gain += f" ({int(hardest.sum())} problems are too few to show that it is flat)"
    return [
        above(f"loss on bins 1–2, {span}", mean_difference(fall, easy)),
        above("beam less best-of-N at its FLOPs, on bins 3–4", mean_difference(gaps, medium)),
        near(gain, mean_difference(-fall, hardest)),
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
    gaps = [gap for option, beams in spans if (gap := _at_flops(evidence, option, beams)) is not None]
    if pairs:
        return [at_least("beam less lookahead at equal N·(k+1)", mean_difference(np.mean(pairs, axis=0)))]
    if gaps:
        return [at_least("beam less lookahead at equal FLOPs", mean_difference(-np.mean(gaps, axis=0)))]
    return [untested("beam less lookahead", "it needs lookahead (k > 0) and beam_search of comparable cost")]


def sequential_share(evidence: Evidence) -> list[Part]:
    """Compares what a larger sequential share gains on easy bins with what it gains on hard bins.

    The gain is that of one chain over all chains parallel along the line of each problem's accuracy against
    the log of the ratio. The share of highest accuracy itself is no test: on few problems it is chance.
    """
    what = "gain from all parallel to all sequential on bins 1–2 less that on bins 4–5"
    by_n: dict[int, list[Option]] = {}
    for option in evidence.main.revisions:
        by_n.setdefault(int(option.strategy["n"]), []).append(option)
    found = [(n, o) for n, o in by_n.items() if n > 1 and len({log_ratio(one) for one in o}) > 1]
    easy, hard = evidence.main.inside(*EASY), evidence.main.inside(*HARD)
    if not found or easy is None or hard is None:
        return [untested(what, "it needs bins, and revisions with one n and different lengths")]
    n, options = max(found, key=lambda sized: (len(sized[1]), sized[0]))
    ratios = np.array([log_ratio(option) for option in options])
    weights = (ratios - ratios.mean()) * np.ptp(ratios) / ((ratios - ratios.mean()) ** 2).sum()
    gains = weights @ np.array([option.correct(evidence.rule) for option in options])
    gap = independent_difference(mean_difference(gains, easy), mean_difference(gains, hard))
    return [above(f"{what} (n={n}, {len(options)} lengths)", gap)]


def compute_optimal(evidence: Evidence) -> list[Part]:
    """Tests the saving near best-of-N's highest accuracy, with the difficulty estimate's FLOPs and without,
    and compares predicted with oracle bins at the lower half of the budgets."""
    fit = evidence.fit
    if fit is None:
        return [untested("saving", f"no policy could be learned ({evidence.policy})")]
    parts = []
    for paid, comparison in (("charged", fit.charged), ("free, as Snell counts", fit.uncharged)):
        saving = comparison["predicted"].near_best
        what = f"best-of-N's FLOPs over the policy's at {saving.baseline}, estimate {paid}"
        part = above(f"{what} (at least)" if saving.at_least else what, saving.factor, 2.0, points=False)
        if saving.at_least and part.verdict == "does not hold":  # the true factor may be larger
            part = replace(part, verdict="not decided")
        parts.append(part)
    oracle, predicted = fit.validated["oracle"], fit.validated["predicted"]
    low = max(1, len(oracle.levels) // 2)
    gaps = mean_known((predicted.accuracy - oracle.accuracy)[:low])
    parts.append(near("predicted less oracle bins at the lower budgets", mean_difference(gaps)))
    return parts


def crossover(evidence: Evidence) -> list[Part]:
    """Tests that the lead of search over a larger model at matched FLOPs falls with R and with difficulty."""
    try:
        matches = against_larger(evidence)[-1].matches
    except NotMeasured as reason:
        return [untested("against a larger model", str(reason))]
    by = {(m.ratio, m.bin): m for m in matches}
    ratios = sorted({ratio for ratio, _ in by})
    low, high = ratios[0], ratios[-1]
    bins = sorted({number for _, number in by if number})
    unsure = sorted({(m.reach, m.ratio) for m in matches if m.reach != "measured"})
    note = "".join(f", R = {ratio:g} {reach} what was measured" for reach, ratio in unsure)
    what = f"lead at R = {low:g} less lead at R = {high:g}{note}"
    ends = {by[low, 0].reach, by[high, 0].reach}
    if len(ends) == 1 and ends != {"measured"}:
        part = untested(what, "both matched budgets lie at the same end of what was measured")
    else:
        part = above(what, mean_difference(by[low, 0].leads - by[high, 0].leads))
    easy, hard = by[high, bins[0]].difference, by[high, bins[-1]].difference
    harder = f"lead on the easiest bin less the hardest, R = {high:g}"
    # The bins are the small model's own, so that any other model is a little better on its hardest.
    harder += " (the bins are by the small model's samples, as in the paper, which favours this)"
    return [part, above(harder, independent_difference(easy, hard))]


def rebase(evidence: Evidence) -> list[Part]:
    """Compares REBASE with best-of-N of 7 times its FLOPs, at the largest N where that was measured."""
    what = "REBASE less weighted best-of-N of 7× its FLOPs"
    best = list(evidence.main.by_n("best_of_n").values())
    for option in reversed(list(evidence.main.by_n("rebase").values())):
        gap = _at_flops(evidence, option, best, times=7.0) if len(best) > 1 else None
        if gap is not None:
            return [at_least(f"{what} (n={option.strategy['n']})", mean_difference(gap))]
    return [untested(what, "it needs rebase, and best_of_n below and above 7 times its FLOPs")]


def best_method_flips(evidence: Evidence) -> list[Part]:
    """Looks for a pair of strategies of which one is better with one verifier (or generator) and the other
    one with another.

    Two models are compared at the largest n at which two strategies were run with both. Intervals are widened
    for the number of pairs (Bonferroni).
    """
    parts = []
    for word in ("verifier", "generator"):
        key = f"{word}.model"
        pairs = [
            (one, two, shared)
            for one, two in combinations(evidence.groups, 2)
            if one.models[key] != two.models[key]
            and all(other.startswith(f"{word}.") for other in apart((one, two)))
            and len(shared := _at_common_n(one, two)) > 1
        ]
        if not pairs:
            needed = f"it needs two strategies that were each run with two {word}s at one n"
            parts.append(untested(f"flips with the {word}", needed))
            continue
        parts.append(_flip(evidence, pairs, key, word))
    return parts


def elimination(evidence: Evidence) -> list[Part]:
    """Compares the adaptive allocation with the uniform one, at the same strategy and budget."""
    pairs = [
        (other, uniform)
        for other in evidence.main.options
        if allocation_of(other) == ELIMINATION
        for uniform in evidence.main.named(other.strategy["name"])
        if uniform.strategy == other.strategy
        and _reviser(uniform) == _reviser(other)
        and abs(uniform.budget / other.budget - 1) < 0.01
    ]
    if not pairs:
        needed = f"it needs a strategy under the {ELIMINATION} allocation and under the uniform one"
        return [untested("coverage", needed)]
    covered = np.mean([other.covered - uniform.covered for other, uniform in pairs], axis=0)
    right = np.mean([_gap(evidence, *pair) for pair in pairs], axis=0)
    return [
        at_least(f"{ELIMINATION} less uniform, coverage", mean_difference(covered)),
        above(f"{ELIMINATION}: gain in coverage less gain in accuracy", mean_difference(covered - right)),
    ]


def _reviser(option: Option) -> dict[str, Any]:
    return {k: v for k, v in option.cells[0].extras.items() if k.startswith("reviser.")}


def _gap(evidence: Evidence, one: Option, other: Option) -> Floats:
    """Returns ``one``'s accuracy less ``other``'s on each problem, means over seeds."""
    return one.correct(evidence.rule) - other.correct(evidence.rule)


def _lead(evidence: Evidence, option: Option, others: Mapping[int, Option]) -> Floats:
    """Returns the option's accuracy less that of the others at its FLOPs, on each problem; less that of its
    own n where they were not measured at such FLOPs."""
    gap = _at_flops(evidence, option, list(others.values())) if len(others) > 1 else None
    return _gap(evidence, option, others[option.strategy["n"]]) if gap is None else gap


def _at_flops(
    evidence: Evidence, option: Option, others: Sequence[Option], times: float = 1.0
) -> Floats | None:
    """Returns the option's accuracy less that of the others at ``times`` its FLOPs, on each problem.

    It is None where the others were not measured at such FLOPs. The FLOPs themselves, means over all
    problems, are taken as known.
    """
    flops = np.array([other.cost() for other in others])
    accuracy = np.array([other.correct(evidence.rule) for other in others])
    right, reach = read_at(times * option.flops, flops, accuracy)
    return option.correct(evidence.rule) - right if reach == "measured" else None


Shared = dict[str, tuple[Option, Option]]
"""By strategy and parameters: the options of two groups."""


def _at_common_n(one: Group, two: Group) -> Shared:
    """Returns the strategies that both groups ran at the largest n that two strategies have in common; empty
    where there is no such n."""
    by_n: dict[int, Shared] = {}
    first, second = _sized(one), _sized(two)
    for size, strategy in set(first) & set(second):
        by_n.setdefault(size, {})[strategy] = first[size, strategy], second[size, strategy]
    return by_n[max(sizes)] if (sizes := [n for n, found in by_n.items() if len(found) > 1]) else {}


def _sized(group: Group) -> dict[tuple[int, str], Option]:
    """Returns a group's options by ``n`` and by the strategy with its other parameters; of several budgets
    the largest, which cuts a search least."""
    found = {}
    for option in sorted(group.options, key=lambda option: option.budget):
        fixed = {key: value for key, value in option.strategy.items() if key != "n"}
        if allocation_of(option) == UNIFORM and "n" in option.strategy:
            found[int(option.strategy["n"]), words(fixed)] = option
    return found


def _flip(evidence: Evidence, pairs: Sequence[tuple[Group, Group, Shared]], key: str, word: str) -> Part:
    """Returns the part of the pair of groups and strategies that flips most clearly.

    It does not hold where, for every pair of models, one strategy is beyond doubt the best of all that were
    run with both.
    """
    looked = [
        (one, two, shared, a, b) for one, two, shared in pairs for a, b in combinations(sorted(shared), 2)
    ]
    level = 1 - (1 - CONFIDENCE) / (2 * len(looked))

    def gaps(one: Group, two: Group, shared: Shared, a: str, b: str) -> list[Estimate]:
        return [
            mean_difference(
                shared[a][i].correct(evidence.rule_of(group)) - shared[b][i].correct(evidence.rule_of(group)),
                confidence=level,
            )
            for i, group in enumerate((one, two))
        ]

    def clarity(found: list[Estimate]) -> float:
        """Returns by how much two gaps are apart from 0, to opposite sides; at most 0 where they are not."""
        return max(min(found[0].low, -found[1].high), min(found[1].low, -found[0].high))

    def settled(one: Group, two: Group, shared: Shared) -> bool:
        return any(
            all(gap.low > 0 for b in shared if b != a for gap in gaps(one, two, shared, a, b)) for a in shared
        )

    one, two, shared, a, b = max(looked, key=lambda pair: clarity(gaps(*pair)))
    found = gaps(one, two, shared, a, b)
    flipped = clarity(found) > 0
    names = [model(group.models[key]) for group in (one, two)]
    other = with_interval(found[1], "+.1f", scale=100)
    compared = f"{a} less {b} with {names[0]}, against {other} with {names[1]}"
    verdict: Verdict = "holds" if flipped else "not decided"
    if not flipped and all(settled(*pair) for pair in pairs):
        verdict = "does not hold"
    test = f"of opposite signs, each beyond doubt at {100 * level:.1f} %"
    return Part(f"flips with the {word}: {compared}", verdict, found[0], test)
