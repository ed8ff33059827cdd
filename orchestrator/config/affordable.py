"""What a budget buys: the price of a solution, and whether any search can begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.allocation.policy import COMPUTE_OPTIMAL
from orchestrator.budget.flops import CostModel
from orchestrator.budget.units import Budget, Price
from orchestrator.config.schema import Config
from orchestrator.config.selection import kept_of
from orchestrator.config.verifier import PreparedVerifier
from orchestrator.errors import BadInput, counted, one_of
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import view_of
from orchestrator.strategies.definition import Strategy


def prices(
    config: Config,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
    codec: Codec,
    generator: CostModel,
    verifier: PreparedVerifier | None,
    new: int,
) -> list[Price]:
    """Returns the price of each problem, with solutions of ``new`` tokens."""

    def price(problem: Problem, prompt: tuple[int, ...]) -> Price:
        if verifier is None or verifier.format is None:
            costs, kind = (verifier.costs if verifier is not None else None), config.verifier.kind or "prm"
            return Price.of(len(prompt), new, generator, costs, kind)
        # A text's tokens are not known before it is written: what is granted for it is its price.
        ratio = config.verifier.token_ratio
        view = view_of(problem, prompt, codec, verifier.costs, verifier.format, ratio=ratio)
        written = Price.of(len(prompt), new, generator, None)
        once = verifier.costs.prefill(view.opening)
        return Price(written.prompt + once, written.solution + view.worst(Node("", prompt), new))

    return [price(problem, prompt) for problem, prompt in zip(problems, prompts, strict=True)]


def check_affordable(
    config: Config,
    strategy: Strategy,
    budget: Budget,
    whole: Sequence[int],
    begins: Callable[[], Sequence[int]],
) -> None:
    """Raises BadInput where no search can begin: none can pay its prompt with a first solution, or a first
    step.

    ``whole`` is what a problem's prompt and its longest solution cost, in FLOPs; ``begins`` gives what its
    prompt and what the strategy begins with cost.
    """
    shares: Sequence[int] = [budget.flops] * len(whole)
    if config.allocation.name == "uniform":
        shares = [share - kept_of(config.selection, share) for share in budget.shares]
    if any(share >= cost for share, cost in zip(shares, whole, strict=True)):
        return
    key = f"budget.{budget.unit}"
    if config.allocation.name != "uniform":
        needed = f"the cheapest longest solution costs {min(whole):.3g} FLOPs; allowed: that or more"
        raise BadInput(key, budget.amount, needed)
    costs = begins()
    if all(share < cost for share, cost in zip(shares, costs, strict=True)):
        what = "a longest solution" if strategy.begins == "solutions" else "a longest step"
        bought = affordable(budget.flops, costs)
        others = [f"problems.limit={bought} or less"] if bought else []
        others += ["allocation.name=adaptive"] if may_move(strategy) and budget.flops >= min(whole) else []
        of = f"of {counted(len(costs), 'equal share')} ({max(shares):.3g} FLOPs)"
        raise BadInput(
            key,
            budget.amount,
            f"{of} none buys {what} with its prompt ({min(costs):.3g} or more); "
            f"{one_of([f'{len(costs) * min(costs):.3g} FLOPs', *others])}",
        )


def may_move(strategy: Strategy) -> bool:
    """Tells whether few FLOPs that move between the problems (``allocation.name=adaptive``) buy solutions.

    They are granted a solution at a time. A strategy that begins with the steps of many paths spends them on
    first steps, and ends no path; compute_optimal asks once and takes no more.
    """
    return strategy.begins == "solutions" and strategy.name != COMPUTE_OPTIMAL


def affordable(flops: int, costs: Sequence[int]) -> int:
    """Returns how many of the first problems can have an equal share that pays what each costs."""
    count = most = 0
    for number, cost in enumerate(costs, start=1):
        most = max(most, cost)
        if number * most > flops:
            break
        count = number
    return count
