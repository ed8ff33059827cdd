"""Samples each problem beside its search: what a run's strategy is compared with.

The samples are independent and not scored. One of them is what the model gives without any search; their
majority is self-consistency (Wang et al. 2023). They are paid beside the run's budget, so the search finds
the same with them and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.analysis.baseline import Baseline, BaselineByProblem
from orchestrator.analysis.estimators import mean_over_problems, wilson
from orchestrator.budget.ledger import Lease
from orchestrator.budget.units import Price
from orchestrator.problems.problem import Problem, beside
from orchestrator.runs.controller import Controller
from orchestrator.search.selection import rules
from orchestrator.strategies.best_of_n import best_of_n
from orchestrator.strategies.definition import BoundStrategy

MAJORITY = "majority"


async def sample_baseline(
    controller: Controller, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], samples: int
) -> tuple[Baseline, BaselineByProblem]:
    """Samples each problem ``samples`` times on the engines of ``controller``, and judges the answers.

    The samples are journaled under the names of their own problems, so a run that goes on has them.
    """
    context = replace(controller.context, verifier=None, confidence=None)
    prices = [
        Price.of(len(prompt), context.sampling.max_tokens, context.generator, None) for prompt in prompts
    ]
    shares = [price.of_samples(samples) for price in prices]
    sampler = Controller(
        context,
        controller.grader,
        Lease(sum(shares), "baseline"),
        rules(scored=False, chains=False),
        controller.searches_at_once,
        shares,
    )
    apart = [replace(problem, id=beside("baseline", problem.id)) for problem in problems]
    results = await sampler.run(apart, prompts, BoundStrategy(best_of_n, {"n": samples}))
    by_problem = BaselineByProblem(
        np.array([sum(solution.correct for solution in result.solutions) / samples for result in results]),
        np.array([result.correct[MAJORITY] for result in results]),
    )
    spent, prefill = sampler.usage.flops, sum(price.prompt for price in prices)
    whole = Baseline(
        samples,
        mean_over_problems(by_problem.one),
        wilson(int(by_problem.majority.sum()), len(results)),
        spent,
        ((spent - prefill) / samples + prefill) / len(results),
        spent / len(results),
    )
    return whole, by_problem
