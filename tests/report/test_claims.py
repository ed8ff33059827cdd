"""Each claim on synthetic runs whose truth is known: where it holds, where it does not, where it cannot be
told, and where it was not tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.cells import Cell
from orchestrator.analysis.estimators import Estimate, mean_difference
from orchestrator.analysis.options import options
from orchestrator.analysis.solutions import Solutions
from orchestrator.report.claims import CLAIMS, findings
from orchestrator.report.evidence import Evidence, Group
from tests.support.stored import cell

P = 400
BINS = np.arange(P) * 5 // P + 1


def right(*by_bin: float, shift: int = 0) -> np.ndarray:
    """Correct on this share of each bin's problems, spread over them; ``shift`` moves which ones."""
    share = np.repeat(by_bin if len(by_bin) == 5 else by_bin * 5, P // 5)
    return ((np.arange(P) * 37 + shift) % 100) < 100 * share


def run(
    name: str,
    n: int,
    correct: Mapping[str, np.ndarray] | np.ndarray,
    *,
    flops: float | None = None,
    covered: np.ndarray | None = None,
    solutions: Solutions | None = None,
    config: Mapping[str, Any] | None = None,
    role: str = "cell",
    **parameters: Any,
) -> Cell:
    by_rule = correct if isinstance(correct, Mapping) else {"weighted": correct, "majority": correct}
    base = cell(
        by_rule["weighted"],
        flops or 100.0 * n,
        strategy={"name": name, "n": n, **parameters},
        budget=200.0 * n,
    )
    made = replace(
        base,
        role=role,
        correct=dict(by_rule),
        covered=base.covered if covered is None else covered,
        config={**base.config, **(config or {})},
        results=None if solutions is None else Path("stored"),
    )
    if solutions is not None:
        made.__dict__["solutions"] = solutions
    return made


def gathered(*cells: Cell, others: Sequence[Sequence[Cell]] = (), difficulty: Cell | None = None) -> Evidence:
    groups = [Group(group[0].models, options(group), BINS) for group in (cells, *others)]
    return Evidence("study", "weighted", groups, "no difficulty run", difficulty=difficulty)


def verdict(number: int, found: Evidence) -> str:
    return findings(found)[number - 1].verdict


def sampled(per_problem: Sequence[Sequence[tuple[str, bool, float, Sequence[float]]]], chain: bool = False):
    """Solutions of every problem: (answer, correct, score, step scores), one chain or independent."""
    flat = [(i, j, s) for i, found in enumerate(per_problem) for j, s in enumerate(found)]
    return Solutions(
        np.array([i for i, _, _ in flat]),
        [".".join(["0"] * (j + 1)) if chain else str(j) for _, j, _ in flat],
        [s[0] for _, _, s in flat],
        np.array([s[1] for _, _, s in flat]),
        np.array([s[2] for _, _, s in flat]),
        np.ones(len(flat), dtype=int),
        [s[3] for _, _, s in flat],
        np.full(len(flat), np.nan),
    )


def beams(small: float, large: float) -> Evidence:
    best = [run("best_of_n", n, right(0.5)) for n in (16, 256)]
    return gathered(
        *best,
        run("beam_search", 16, right(small), width=4),
        run("beam_search", 256, right(large), width=4),
    )


def test_a_beam_that_spends_half_is_compared_with_best_of_n_at_half():
    """best-of-N of 4, 16 and 64 is right on 20, 40 and 60 %; the beam of 16 with 8's FLOPs on 35."""
    best = [run("best_of_n", n, right(share)) for n, share in ((4, 0.2), (16, 0.4), (64, 0.6))]
    half = run("beam_search", 16, right(0.35), flops=800.0, width=4)
    part, _ = findings(gathered(*best, half))[0].parts
    assert part.estimate.value == pytest.approx(0.35 - 0.3, abs=0.02)


def by_bin(easy: float, medium: float, hard: float) -> Evidence:
    return gathered(
        *(run("best_of_n", n, right(0.9, 0.9, 0.5, 0.5, 0.1)) for n in (4, 64)),
        run("beam_search", 4, right(0.9, 0.9, 0.5, 0.5, 0.1), width=4),
        run("beam_search", 64, right(easy, easy, medium, medium, hard), width=4),
    )


def lookahead(ahead: float) -> Evidence:
    beam = [run("beam_search", n, right(0.5), width=4) for n in (8, 32)]
    return gathered(*beam, run("lookahead", 16, right(ahead), width=4, k=1))


def aggregated(scores: Mapping[bool, Sequence[float]]) -> Evidence:
    """Two solutions a problem, one of them correct, with these step scores."""
    both = [("r", True, scores[True][-1], scores[True]), ("w", False, scores[False][-1], scores[False])]
    chosen = sampled([both] * P)
    return gathered(run("best_of_n", 2, right(0.5), solutions=chosen))


def selected(weighted: float, best: float) -> Evidence:
    by_rule = {"weighted": right(weighted), "best": right(best), "majority": right(0.5)}
    return gathered(run("best_of_n", 16, by_rule))


def ratios(one_chain: Sequence[float], parallel: Sequence[float]) -> Evidence:
    return gathered(
        run("revisions", 16, right(*one_chain), length=16), run("revisions", 16, right(*parallel), length=1)
    )


def chained(flipped: float, score: float) -> Evidence:
    """Chains of two attempts, the first correct and scored ``score``, the second wrong in this share."""
    lost = np.arange(P) < flipped * P
    chains = [[("r", True, score, ()), ("w" if x else "r", not x, 0.5, ())] for x in lost]
    return gathered(run("revisions", 2, right(0.5), solutions=sampled(chains, chain=True), length=2))


def test_each_reviser_has_its_own_share_of_flips():
    runs = []
    for reviser, flipped in (("careful", 0.1), ("hasty", 0.4)):
        lost = np.arange(P) < flipped * P
        chains = [[("r", True, 0.9, ()), ("w" if x else "r", not x, 0.5, ())] for x in lost]
        made = {"reviser": {"model": reviser}}
        solutions = sampled(chains, chain=True)
        runs.append(run("revisions", 2, right(0.5), solutions=solutions, config=made, length=2))
    shares = {
        str(p).split(":")[0]: p.estimate.value for p in findings(gathered(*runs))[6].parts if "flip" in str(p)
    }
    assert findings(gathered(*runs))[6].verdict == "holds", "for one of them"
    assert shares == {
        "share of correct attempts that flip, careful": pytest.approx(0.1),
        "share of correct attempts that flip, hasty": pytest.approx(0.4),
    }


def test_a_chain_that_two_runs_of_a_seed_share_counts_once_and_at_its_longest():
    flips = [("r", True, 0.9, ()), ("r", True, 0.9, ()), ("w", False, 0.5, ())]
    short = run("revisions", 2, right(0.5), solutions=sampled([flips[:2]] * P, chain=True), length=2)
    long = run("revisions", 3, right(0.5), solutions=sampled([flips] * P, chain=True), length=3)
    share, _ = findings(gathered(short, long))[6].parts
    assert share.estimate.value == pytest.approx(1 / 2), "of two correct attempts of one chain, one flips"


def plateau(selection: float, coverage: float) -> Evidence:
    return gathered(
        run("best_of_n", 4, right(0.5), covered=right(0.5)),
        run("best_of_n", 64, right(selection), covered=right(coverage)),
    )


def voted(few: float, many: float) -> Evidence:
    """The mode of every problem is right."""
    mode = run("best_of_n", 3, right(1.0), solutions=sampled([[("r", True, 1.0, ())] * 3] * P))
    cells = [run("best_of_n", n, right(share)) for n, share in ((4, few), (64, many))]
    return gathered(*cells, difficulty=mode)


def rebased(share: float) -> Evidence:
    best = [run("best_of_n", n, right(0.5)) for n in (16, 64, 256)]
    return gathered(*best, run("rebase", 32, right(share)))


def flipping(strong: float, weak: float) -> Evidence:
    """Beam search against best-of-N (one half) with two verifiers and with two generators."""
    setting = {"generator": {"model": "g"}, "verifier": {"model": "v", "aggregation": "last"}}

    def pair(share: float, **config: Any) -> list[Cell]:
        how = {**setting, **config}
        return [
            run("best_of_n", 16, right(0.5), config=how),
            run("beam_search", 16, right(share), config=how, width=4),
        ]

    other = {"model": "w", "aggregation": "last"}
    return gathered(
        *pair(strong), others=[pair(weak, verifier=other), pair(weak, generator={"model": "larger"})]
    )


def allocated(accuracy: float, coverage: float) -> Evidence:
    uniform = run("best_of_n", 16, right(0.5), covered=right(0.5))
    adaptive = run(
        "best_of_n",
        16,
        right(accuracy),
        covered=right(coverage),
        config={"allocation": {"name": "adaptive"}},
    )
    return gathered(uniform, adaptive)


def verified(*gains: float) -> Evidence:
    groups = [
        [
            run(
                "best_of_n",
                8,
                {"weighted": right(0.5 + gain), "majority": right(0.5), "best": right(0.5)},
                config={"verifier": {"model": f"v{i}", "aggregation": "last"}},
            )
        ]
        for i, gain in enumerate(gains)
    ]
    return gathered(*groups[0], others=groups[1:])


CASES = [
    (1, beams(0.7, 0.4), beams(0.4, 0.4)),
    (2, by_bin(0.7, 0.8, 0.1), by_bin(0.9, 0.8, 0.5)),
    (3, lookahead(0.4), lookahead(0.6)),
    (4, aggregated({True: (0.1, 0.9), False: (0.5, 0.5)}), aggregated({True: (0.9, 0.5), False: (0.1, 0.6)})),
    (5, selected(0.6, 0.5), selected(0.5, 0.6)),
    (
        6,
        ratios([0.9, 0.9, 0.5, 0.2, 0.1], [0.7, 0.7, 0.5, 0.4, 0.3]),
        ratios([0.7, 0.7, 0.5, 0.4, 0.3], [0.9, 0.9, 0.5, 0.2, 0.1]),
    ),
    (7, chained(0.38, 0.9), chained(0.05, 0.9)),
    (10, plateau(0.5, 0.8), plateau(0.7, 0.8)),
    (11, voted(0.7, 0.95), voted(0.95, 0.7)),
    (12, rebased(0.5), rebased(0.4)),
    (13, flipping(0.8, 0.2), flipping(0.8, 0.7)),
    (14, allocated(0.6, 0.8), allocated(0.5, 0.3)),
    (15, verified(0.3, 0.0), verified(0.3, 0.2)),
]


@pytest.mark.parametrize(("number", "true", "false"), CASES, ids=[f"claim{n}" for n, *_ in CASES])
def test_a_claim_holds_where_it_is_true_and_does_not_where_it_is_false(number, true, false):
    assert verdict(number, true) == "holds"
    assert verdict(number, false) == "does not hold"


def test_a_policy_that_saves_much_and_one_that_saves_nothing(evidence):
    found = evidence
    learned = found.fit
    assert learned is not None

    def saving(factor: float) -> Evidence:
        def with_factor(comparison):
            near_best = replace(comparison.near_best, factor=Estimate(factor, 0.9 * factor, 1.1 * factor))
            return replace(comparison, near_best=replace(near_best, at_least=False))

        kinds = [
            {k: with_factor(c) for k, c in each.items()} for each in (learned.charged, learned.uncharged)
        ]
        same = {"oracle": learned.validated["oracle"], "predicted": learned.validated["oracle"]}
        return replace(found, policy=replace(learned, charged=kinds[0], uncharged=kinds[1], validated=same))

    assert verdict(8, saving(3.0)) == "holds"
    assert verdict(8, saving(1.2)) == "does not hold"
    assert verdict(8, saving(2.0)) == "not decided"


@pytest.mark.parametrize(
    ("cheap", "said"),
    [([1.0, 1.0, 0.5, 0.1, 0.0], "holds"), ([0.0, 0.1, 0.5, 1.0, 1.0], "does not hold")],
    ids=["easy", "hard"],
)
def test_ground_is_lost_against_a_larger_model_as_r_and_difficulty_rise(cheap, said):
    """With few FLOPs search solves the easy problems, or the hard ones; with many all of them."""
    chosen = sampled([[("r", True, 1.0, ())] * 4] * P)
    difficulty = run("best_of_n", 4, right(1.0), solutions=chosen, role="difficulty")
    costs = {**difficulty.costs, "generator_tokens": np.full(P, 8), "generator_flops": np.full(P, 200.0)}
    difficulty = replace(difficulty, costs=costs)
    difficulty.__dict__["solutions"] = chosen
    few, many = (run("best_of_n", n, each) for n, each in ((1, right(*cheap)), (10_000, right(1.0))))
    larger = run(
        "best_of_n",
        1,
        right(0.5),
        flops=2000.0,
        config={"generator": {"model": "larger", "temperature": 0}},
    )
    larger = replace(larger, costs={**larger.costs, "generator_tokens": np.full(P, 2)})
    assert verdict(9, gathered(few, many, others=[[larger]], difficulty=difficulty)) == said


def test_a_search_that_falls_with_its_budget_does_not_lose_ground_as_r_rises():
    """The lead is read on the curve as it is, and not on the best of it so far, which cannot fall."""
    chosen = sampled([[("r", True, 1.0, ())] * 4] * P)
    difficulty = run("best_of_n", 4, right(1.0), solutions=chosen, role="difficulty")
    costs = {**difficulty.costs, "generator_tokens": np.full(P, 8), "generator_flops": np.full(P, 200.0)}
    difficulty = replace(difficulty, costs=costs)
    difficulty.__dict__["solutions"] = chosen
    falling = (run("best_of_n", n, right(share)) for n, share in ((1, 0.6), (10_000, 0.45)))
    other = {"generator": {"model": "larger", "temperature": 0}}
    larger = run("best_of_n", 1, right(0.5), flops=2000.0, config=other)
    larger = replace(larger, costs={**larger.costs, "generator_tokens": np.full(P, 2)})
    found = findings(gathered(*falling, others=[[larger]], difficulty=difficulty))[8]
    assert found.parts[0].verdict == "does not hold"
    assert found.parts[0].estimate.value < -0.02


def test_models_are_compared_at_one_n_so_that_a_flip_with_n_is_none_with_the_model():
    """Beam search is better at n = 16 and worse at n = 64, with both generators."""

    def pair(n: int, share: float, **config: Any) -> list[Cell]:
        how = {"generator": {"model": "g"}, "verifier": {"model": "v", "aggregation": "last"}, **config}
        return [run("best_of_n", n, right(0.5), config=how), run("beam_search", n, right(share), config=how)]

    larger = pair(16, 0.8, generator={"model": "larger"})
    found = findings(gathered(*pair(16, 0.8), *pair(64, 0.2), others=[larger]))[12]
    (part,) = [part for part in found.parts if part.estimate is not None]
    assert "with the generator" in part.what
    assert part.verdict == "does not hold", "at n = 16 beam search is the better one with both"


def test_that_no_method_flips_is_not_said_while_the_best_one_is_not_known():
    def runs(**config: Any) -> list[Cell]:
        how = {"generator": {"model": "g"}, "verifier": {"model": "v", "aggregation": "last"}, **config}
        shares = {"best_of_n": right(0.3), "beam_search": right(0.6), "dvts": right(0.6, shift=50)}
        return [run(name, 16, share, config=how) for name, share in shares.items()]

    found = findings(gathered(*runs(), others=[runs(generator={"model": "larger"})]))[12]
    assert {part.verdict for part in found.parts} == {"not decided", "not tested"}


def test_a_policys_own_allocation_is_no_elimination():
    uniform, other = (run("best_of_n", 16, right(0.5)) for _ in range(2))
    other = replace(other, config={**other.config, "allocation": {"name": "compute_optimal"}})
    assert verdict(14, gathered(uniform, other)) == "not tested"


def test_a_verifier_of_whole_solutions_is_no_process_reward_model():
    found = verified(-0.2)
    kind = {"model": "v0", "aggregation": "last", "kind": "orm"}
    cells = [replace(c, config={**c.config, "verifier": kind}) for c in found.main.options[0].cells]
    assert verdict(15, found) == "holds"
    assert verdict(15, gathered(*cells)) == "not tested"


def test_coverage_of_a_few_more_problems_is_no_rise():
    few = right(0.5)
    more = few.copy()
    more[np.flatnonzero(~few)[:4]] = True
    cells = [run("best_of_n", n, few, covered=c) for n, c in ((4, few), (64, more))]
    assert findings(gathered(*cells))[9].parts[0].verdict == "not decided"


def test_a_problem_whose_search_broke_is_left_out_of_both_sides():
    best, beam = run("best_of_n", 16, right(0.5)), run("beam_search", 16, right(0.5), width=4)
    broken = np.arange(P) < 10
    lost = replace(
        beam,
        correct={rule: np.where(broken, ~values, values) for rule, values in beam.correct.items()},
        errors=["ValueError: no" if b else None for b in broken],
    )
    (part, _) = findings(gathered(best, lost))[0].parts
    assert part.estimate == mean_difference(np.zeros(P - 10))
    whole = replace(lost, errors=())
    assert findings(gathered(best, whole))[0].parts[0].estimate != part.estimate


def test_nothing_is_tested_without_what_it_needs():
    found = findings(gathered(run("mcts", 4, right(0.5))))
    assert [f.number for f in found] == list(range(1, 16)) == [claim.number for claim in CLAIMS]
    assert {f.verdict for f in found} == {"not tested"}
    assert all(part.why for f in found for part in f.parts)


def test_a_chain_without_a_verifier_has_nothing_to_select_by():
    lost = np.arange(P) < 0.38 * P
    chains = [[("r", True, np.nan, ()), ("w" if x else "r", not x, np.nan, ())] for x in lost]
    unscored = {"majority": right(0.5)}
    base = run("revisions", 2, right(0.5), solutions=sampled(chains, chain=True), length=2)
    made = replace(base, correct=unscored)
    made.__dict__["solutions"] = base.solutions
    found = replace(gathered(made), rule="majority")
    share, selection = findings(found)[6].parts
    assert share.verdict == "holds"
    assert "flip, the generator: " in str(share)
    assert selection.verdict == "not tested"
    assert "verifier" in selection.why


def test_what_lies_in_the_noise_is_not_decided():
    by_chance = right(0.5, shift=50)
    assert (by_chance != right(0.5)).mean() > 0.5, "other problems, as many of them"
    best, beam = run("best_of_n", 16, right(0.5)), run("beam_search", 16, by_chance, width=4)
    parts = findings(gathered(best, beam))[0].parts
    assert parts[0].verdict == "not decided"
