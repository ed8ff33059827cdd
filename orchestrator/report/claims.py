"""The claims of the literature that an experiment can test.

A claim's test is a pure function from the evidence to its parts, each with a measurement; ``verdicts``
decides them. Sources: Snell et al. 2024, "Scaling LLM Test-Time Compute Optimally can be More Effective than
Scaling Model Parameters"; Brown et al. 2024, "Large Language Monkeys"; Wu et al. 2024, "Inference Scaling
Laws"; Liu et al. 2025, "Can 1B LLM Surpass 405B LLM?"; Zuo & Zhu 2025, "Strategic Scaling of Test-Time
Compute"; Qwen: Zhang et al. 2025, "The Lessons of Developing Process Reward Models in Mathematical
Reasoning".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.report import claims_of_search, claims_of_selection
from orchestrator.report.evidence import Evidence
from orchestrator.report.table import Table
from orchestrator.report.verdicts import Part, Verdict, either, together


@dataclass(frozen=True)
class Claim:
    """A statement of the literature and the test of it."""

    number: int
    statement: str
    source: str
    """First author of the paper, or its group."""
    test: Callable[[Evidence], list[Part]]
    """Measures the claim's parts."""
    verdict: Callable[[Sequence[Part]], Verdict] = together
    """Decides the claim from its parts."""


@dataclass(frozen=True)
class Finding:
    """A claim with the measurements of its parts and the verdict."""

    number: int
    statement: str
    source: str
    parts: Sequence[Part]
    verdict: Verdict


def findings(evidence: Evidence) -> list[Finding]:
    """Tests every claim and returns the findings in the order of ``CLAIMS``."""
    tested = [(claim, claim.test(evidence)) for claim in CLAIMS]
    return [Finding(c.number, c.statement, c.source, parts, c.verdict(parts)) for c, parts in tested]


def claims_table(evidence: Evidence) -> Table:
    """Returns every claim with its verdict, a row a measured part; a claim without one has a row too."""
    rows: list[tuple[str, ...]] = []
    for finding in findings(evidence):
        measured = [part for part in finding.parts if part.estimate is not None]
        of_claim = (f"{finding.number}. {finding.statement} ({finding.source})", finding.verdict)
        rows += [(*of_claim, str(part), part.verdict) for part in measured] or [(*of_claim, "", "")]
    return Table("The literature's claims", ("claim", "verdict", "part", "of the part"), rows, names=4)


def _of_one_reviser(parts: Sequence[Part]) -> Verdict:
    """Returns the verdict on a claim about revisers of one kind of training, which a configuration does not
    say: it holds if both of its parts hold for one of the revisers that were run."""
    revisers = [together(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    if "holds" in revisers:
        return "holds"
    return revisers[0] if len(set(revisers)) == 1 else "not decided"


search, selection = claims_of_search, claims_of_selection
CLAIMS = (
    Claim(
        1,
        "Beam search (M = 4) beats weighted best-of-N at N ≤ 16, and is no better at N = 256",
        "Snell",
        search.beam_at_small_n,
    ),
    Claim(
        2,
        "Beam search falls with N on bins 1–2, beats best-of-N on bins 3–4; on bin 5 nothing helps",
        "Snell",
        search.beam_by_difficulty,
    ),
    Claim(
        3,
        "Lookahead is no better than beam search at equal N·(k+1)",
        "Snell",
        search.lookahead_against_beam,
    ),
    Claim(
        4,
        "A PRM of Monte-Carlo soft labels: the last step's score selects better than min or product",
        "Snell, Qwen",
        selection.last_step_best,
    ),
    Claim(
        5,
        "Weighted best-of-N is no worse than plain best-of-N",
        "Snell",
        selection.weighted_against_plain,
    ),
    Claim(
        6,
        "The best sequential share of revisions falls as difficulty rises",
        "Snell",
        search.sequential_share,
    ),
    Claim(
        7,
        "About 38 % of correct attempts flip to incorrect in the next revision, of a reviser that saw no "
        "correct attempts in its training; selection over the chain recovers them",
        "Snell",
        selection.flips,
        _of_one_reviser,
    ),
    Claim(
        8,
        "Compute-optimal matches best-of-N with 2–4× fewer FLOPs; "
        "at small budgets predicted bins do as well as oracle bins",
        "Snell",
        search.compute_optimal,
    ),
    Claim(
        9,
        "Against a larger model, test-time compute loses ground as R and difficulty rise",
        "Snell",
        search.crossover,
    ),
    Claim(
        10,
        "Coverage goes on rising for 10× more samples after majority and reward selection are level",
        "Brown",
        selection.coverage_after_plateau,
    ),
    Claim(
        11,
        "Majority voting tends to whether the most likely answer is right",
        "Wu",
        selection.mode,
    ),
    Claim(
        12,
        "REBASE is no worse than weighted best-of-N of 7× its FLOPs (32 against 256)",
        "Wu",
        search.rebase,
    ),
    Claim(
        13,
        "The best method flips with the verifier, and with the generator's size",
        "Liu",
        search.best_method_flips,
    ),
    Claim(
        14,
        "Elimination covers no less than uniform allocation at an equal budget; accuracy gains less",
        "Zuo",
        search.elimination,
    ),
    Claim(
        15,
        "A Monte-Carlo PRM may fail to beat majority@8",
        "Qwen",
        selection.verifier_against_majority,
        either,
    ),
)
