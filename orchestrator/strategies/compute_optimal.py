"""The compute-optimal strategy: it tells how hard the problem is, then runs what is best for that.

Source: Snell et al. 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean

from orchestrator.allocation.policy import COMPUTE_OPTIMAL, SAMPLES, Policy, read_policy, same_model
from orchestrator.errors import BadInput
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import RunFacts, Strategy, strategy

_read = lru_cache(read_policy)


def within(policy: str) -> list[str]:
    """Returns the names of the strategies that a policy may run."""
    return [choice["name"] for choice in read_policy(policy).strategies]


def check_run(facts: RunFacts, policy: str) -> None:
    """Raises BadInput unless the policy was fitted with the run's models and aggregation.

    A policy tells how hard problems are for one generator, by the scores of one verifier.
    """
    fitted = read_policy(policy)
    allowed = f"strategy.policy ({policy}) was fitted with another; allowed: "
    if not same_model(fitted.generator, facts.generator):
        raise BadInput("generator.model", facts.generator, allowed + fitted.generator)
    if not same_model(fitted.verifier, facts.verifier):
        raise BadInput("verifier.model", facts.verifier, allowed + fitted.verifier)
    if fitted.aggregation != facts.aggregation:
        raise BadInput("verifier.aggregation", facts.aggregation, allowed + fitted.aggregation)


def compute_optimal_among(find: Callable[[object], Strategy]) -> Strategy:
    """Returns the strategy that runs what a policy chooses; ``find`` gives a strategy by its name."""

    def check(policy: str) -> None:
        """Raises BadInput unless every strategy of the policy is known and its parameters can be used."""
        for choice in read_policy(policy).strategies:
            params = {key: value for key, value in choice.items() if key != "name"}
            if choice.get("name") == COMPUTE_OPTIMAL:
                raise BadInput("strategy.policy", policy, "a policy cannot choose itself")
            try:
                chosen = find(choice.get("name"))
                chosen.parameters(chosen.as_stored(params))
            except BadInput as error:
                raise BadInput("strategy.policy", policy, f"it chooses {choice}: {error}") from error

    @strategy(check=check, check_run=check_run, needs_verifier=True, begins="solutions", within=within)
    async def compute_optimal(ops: Operations, *, policy: str = "policy.yaml") -> Sequence[Node]:
        """Samples a few solutions to the end; their mean final score gives the problem's bin; then runs what
        the policy (from ``ttc fit``) has for that bin and for the largest budget that can still be paid.

        That budget is what is left of the problem's share, or what ``allocation: compute_optimal`` gives it
        then. The solutions of the estimate are returned with the strategy's: they are paid for, they are
        independent samples of the same generator scored by the same verifier, and selection loses nothing
        by hearing them. Where the choice is best-of-N they are the first of its N.
        """
        learned: Policy = _read(policy)
        estimate = await ops.sample(ops.root, learned.samples, until="end")
        paid = ops.usage.flops
        choice = learned.choice(fmean(map(ops.value, estimate)), await ops.funds(), paid)
        ops.chosen = choice.words
        chosen = find(choice.strategy["name"])
        params = {key: value for key, value in choice.strategy.items() if key != "name"}
        if chosen.name == SAMPLES:
            params["n"] = max(0, params["n"] - len(estimate))
        found = await chosen.search(ops, **chosen.as_stored(params))
        sampled = {node.key for node in estimate}  # a strategy may return all that is finished
        return [*estimate, *(node for node in found if node.key not in sampled)]

    return compute_optimal
