"""Tests of claims about selection, verifiers and coverage. Each function returns the parts of one claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from orchestrator.analysis.cells import Cell, correct_by_aggregation
from orchestrator.analysis.estimators import (
    CONFIDENCE,
    Floats,
    mean_difference,
    share_over_problems,
)
from orchestrator.analysis.options import Option
from orchestrator.report.evidence import Evidence, Group
from orchestrator.report.text import group_words, model
from orchestrator.report.verdicts import (
    SLACK,
    Part,
    above,
    at_least,
    near,
    no_more,
    untested,
)
from orchestrator.search.selection import Candidate, weighted

Attempts = list[tuple[bool, Candidate]]
"""The attempts of a chain in their order: whether each is right, and the candidate that it is."""


def last_step_best(evidence: Evidence) -> list[Part]:
    """Compares aggregations of step scores under weighted selection, on the largest best-of-N."""
    what = "last step against {}"
    option = _largest(evidence.main)
    if option is None or any(cell.results is None for cell in option.cells):
        return [untested("last, min and product", "it needs best_of_n with n > 1")]
    chosen = [correct_by_aggregation(cell) for cell in option.cells]
    if ("weighted", "last") not in chosen[0]:
        return [untested("last, min and product", "nothing is scored")]
    if not _of_steps(evidence.main):
        return [untested("last, min and product", "its verifier scores whole solutions, not steps")]
    by_cell = dict(zip(option.cells, chosen, strict=True))
    by = {
        way: option.mean(lambda cell, way=way: by_cell[cell]["weighted", way])  # type: ignore[misc]
        for way in ("last", "min", "prod")
    }
    who = f"{model(evidence.main.models['verifier.model'])}, n={option.strategy['n']}"
    return [
        above(f"{what.format(way)} ({who})", mean_difference(by["last"] - by[way])) for way in ("min", "prod")
    ]


def weighted_against_plain(evidence: Evidence) -> list[Part]:
    """Compares weighted with plain best-of-N, over all n > 1."""
    what = "weighted less plain"
    found = [o for n, o in evidence.main.by_n("best_of_n").items() if n > 1]
    if not found or not {"weighted", "best"} <= set(evidence.main.rules):
        return [untested(what, "it needs best_of_n with n > 1 and a verifier")]
    gaps = np.mean([option.correct("weighted") - option.correct("best") for option in found], axis=0)
    return [at_least(f"{what}, mean over n = {_numbers(found)}", mean_difference(gaps))]


def flips(evidence: Evidence) -> list[Part]:
    """Measures, for each reviser, how often the revision of a correct attempt is incorrect, and the lead of
    weighted selection within a chain over the chain's last attempt.

    The share depends on the reviser's training: one that never saw a correct attempt in its context, as that
    of Snell et al. 2024, learned always to change the answer. It is enough that the claim holds for one
    reviser, so the intervals of the lead are widened for their number (Bonferroni).
    """
    parts = []
    revised = [
        [c for o in options if o.strategy["length"] > 1 for c in o.cells if c.results is not None]
        for options in evidence.main.by_reviser
    ]
    for cells in filter(None, revised):
        parts += _flips_of(cells, "weighted" in evidence.main.rules, len(revised))
    return parts or [untested("flips", "it needs revisions with length > 1")]


def _flips_of(cells: Sequence[Cell], scored: bool, revisers: int) -> list[Part]:
    """Returns the parts for one reviser's runs, which are on the same problems."""
    problems = len(cells[0].problems)
    kept, lost, gain, chains = (np.zeros(problems) for _ in range(4))
    for problem, attempts in _longest_chains(cells):
        right = [correct for correct, _ in attempts]
        kept[problem] += sum(a and b for a, b in pairwise(right))
        lost[problem] += sum(a and not b for a, b in pairwise(right))
        answer = weighted([candidate for _, candidate in attempts])
        picked = any(c for c, candidate in attempts if candidate.answer == answer and answer is not None)
        gain[problem] += picked - right[-1]
        chains[problem] += 1
    reviser = cells[0].extras["reviser.model"]
    who = "the generator" if reviser is None else model(reviser)
    share_of = f"share of correct attempts that flip, {who}"
    recovered = f"selection over the chain less its last attempt, {who}"
    parts = []
    if np.count_nonzero(kept + lost) < 2:
        parts.append(untested(share_of, "hardly any correct attempt was revised"))
    else:
        share = share_over_problems(lost, kept + lost)
        parts.append(near(share_of, share, 0.38, 0.10, points=False))
    if not scored:  # without scores the choice is no choice
        return [*parts, untested(recovered, "nothing is scored: it needs a verifier")]
    gains = gain[chains > 0] / chains[chains > 0]
    return [*parts, above(recovered, mean_difference(gains, confidence=_widened(revisers)))]


def coverage_after_plateau(evidence: Evidence) -> list[Part]:
    """Measures the gain in coverage and in accuracy from the largest n of which 10·n was run too, to that.

    The samples of the smaller n are the first of the larger, so coverage cannot fall: it has to rise by more
    than the points that selection may still gain.
    """
    by_n = evidence.main.by_n("best_of_n")
    pairs = [(n, most) for n in by_n for most in by_n if most >= 10 * n and n > 1]
    if not pairs:
        return [untested("coverage after the plateau", "it needs best_of_n at n > 1 and at 10 times as many")]
    n, most = max(pairs)
    few, many = by_n[n], by_n[most]
    span = f"from n={n} to n={most}"
    parts = [above(f"coverage, {span}", mean_difference(many.covered - few.covered), SLACK)]
    for rule in dict.fromkeys(("majority", evidence.rule)):
        gain = mean_difference(many.correct(rule) - few.correct(rule))
        parts.append(no_more(f"{rule}, {span}", gain))
    return parts


def mode(evidence: Evidence) -> list[Part]:
    """Tests that more samples bring majority voting closer to the difficulty run's most frequent answers.

    Agreement is the share of problems where majority is right exactly if the most frequent answer is right.
    """
    what = "agreement with the mode"
    found = {n: option for n, option in evidence.main.by_n("best_of_n").items() if n > 1}
    cell = evidence.difficulty
    if cell is None or cell.results is None or len(found) < 2:
        return [untested(what, "it needs a difficulty run, and best_of_n at two different n > 1")]
    right = _mode_right(cell)
    agreement = {n: 1 - abs(option.correct("majority") - right) for n, option in found.items()}
    few, many = min(found), max(found)
    more = mean_difference(agreement[many] - agreement[few])
    return [above(f"{what}, n={many} ({100 * np.nanmean(agreement[many]):.0f} %) less n={few}", more)]


def verifier_against_majority(evidence: Evidence) -> list[Part]:
    """Compares weighted selection with majority for each verifier of steps, on the best-of-N closest to n=8.

    It is enough that the claim holds for one verifier, so the intervals are widened for their number
    (Bonferroni).
    """
    parts = []
    scored = [group for group in evidence.groups if "weighted" in group.rules and _of_steps(group)]
    sizes = [{n: o for n, o in group.by_n("best_of_n").items() if n > 2} for group in scored]
    for group, by_n in zip(scored, sizes, strict=True):
        if not by_n:
            continue
        n = min(by_n, key=lambda n: abs(np.log2(n / 8)))
        gaps = by_n[n].correct("weighted") - by_n[n].correct("majority")
        gain = mean_difference(gaps, confidence=_widened(sum(map(bool, sizes))))
        what = f"{group_words(group, scored)}, weighted less majority at n={n}"
        parts.append(no_more(what, gain))
    return parts or [untested("weighted less majority", "it needs best_of_n near n = 8, scored")]


def _widened(count: int) -> float:
    """Returns the confidence of each of so many intervals of which one is enough."""
    return 1 - (1 - CONFIDENCE) / max(1, count)


def _of_steps(group: Group) -> bool:
    return group.models["verifier.kind"] in (None, "prm")


def _largest(group: Group) -> Option | None:
    by_n = {n: option for n, option in group.by_n("best_of_n").items() if n > 1}
    return by_n[max(by_n)] if by_n else None


def _numbers(found: Iterable[Option]) -> str:
    return ", ".join(str(option.strategy["n"]) for option in found)


def _longest_chains(cells: Sequence[Cell]) -> Iterable[tuple[int, Attempts]]:
    """Yields (problem, attempts) for each different chain of the searches that did not fail.

    Runs of one seed begin the same chains, whatever their number and length: each counts once, at its
    longest.
    """
    longest: dict[tuple[int, int, str], Attempts] = {}
    for cell in cells:
        for problem, first, attempts in _chains(cell):
            chain = (cell.seed, problem, first)
            if not cell.failed[problem] and len(attempts) > len(longest.get(chain, ())):
                longest[chain] = attempts
    for (_, problem, _), attempts in longest.items():
        yield problem, attempts


def _chains(cell: Cell) -> Iterable[tuple[int, str, Attempts]]:
    """Yields (problem, first step of the path, attempts) for each chain of two or more attempts."""
    chains: dict[tuple[int, str], list[tuple[int, bool, Candidate]]] = {}
    s = cell.solutions
    for problem, path, answer, correct, score in zip(
        s.problem, s.path, s.answer, s.correct, s.score, strict=True
    ):
        first, _, rest = path.partition(".")
        candidate = Candidate(answer, None if np.isnan(score) else float(score), first, path=path)
        chains.setdefault((int(problem), first), []).append((len(rest), bool(correct), candidate))
    for (problem, first), attempts in chains.items():
        if len(attempts) > 1:
            attempts.sort(key=lambda attempt: attempt[0])
            yield problem, first, [(correct, candidate) for _, correct, candidate in attempts]


def _mode_right(cell: Cell) -> Floats:
    """Returns 1 for each problem whose most frequent answer is correct, else 0."""
    counts: list[Counter[str]] = [Counter() for _ in cell.problems]
    correct: list[set[str]] = [set() for _ in cell.problems]
    s = cell.solutions
    for problem, answer, right in zip(s.problem, s.answer, s.correct, strict=True):
        if answer is not None:
            counts[problem][answer] += 1
            if right:
                correct[problem].add(answer)
    modes = [count.most_common(1)[0][0] if count else None for count in counts]
    return np.array([float(mode in right) for mode, right in zip(modes, correct, strict=True)])
