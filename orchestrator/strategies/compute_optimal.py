"""The compute-optimal strategy (Snell §3): tell how hard the problem is, then run what is best for that."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from orchestrator.allocation.policy import SAMPLES, Policy, read_policy
from orchestrator.errors import BadInput
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import Strategy, strategy

_read = lru_cache(read_policy)


def find(name: object) -> Strategy:
    from orchestrator.strategies.registry import find  # the registry, which holds this strategy too

    return find(name)


def within(policy: str) -> list[str]:
    """The names of the strategies that a policy may run."""
    return [each["name"] for each in read_policy(policy).strategies]


def check(policy: str) -> None:
    """Every strategy of the policy is known, and its parameters are usable."""
    for each in read_policy(policy).strategies:
        params = {key: value for key, value in each.items() if key != "name"}
        if each.get("name") == compute_optimal.name:
            raise BadInput("strategy.policy", policy, "a policy cannot choose itself")
        try:
            find(each.get("name")).parameters(params)
        except BadInput as error:
            raise BadInput("strategy.policy", policy, f"it chooses {each}: {error}") from error


@strategy(check=check, needs_verifier=True, within=within)
async def compute_optimal(ops: Operations, *, policy: str = "policy.yaml") -> Sequence[Node]:
    """Sample a few solutions to the end; their mean final score gives the problem's bin; run what the
    policy (from ``ttc fit``) has for that bin and for the largest budget that can still be paid: by what is
    left of the problem's share, or by what ``allocation: compute_optimal`` gives it then.

    The estimate's solutions are returned with the strategy's: they are paid for, they are independent
    samples of the same generator scored by the same verifier, and selection loses nothing by hearing
    them. Where the choice is best-of-N they are the first of its N.
    """
    learned: Policy = _read(policy)
    estimate = await ops.sample(ops.root, learned.samples, until="end")
    paid = ops.usage.flops
    choice = learned.choice(fmean(map(ops.value, estimate)), await ops.funds(), paid)
    params = {key: value for key, value in choice.strategy.items() if key != "name"}
    name = choice.strategy["name"]
    if name == SAMPLES:
        params["n"] = max(0, params["n"] - len(estimate))
    found = await find(name)(ops, **params)
    sampled = {node.key for node in estimate}  # a strategy may return all that is finished
    return [*estimate, *(node for node in found if node.key not in sampled)]
